"""`python -m search_spaces.show NETWORK`: a network stage by stage, with its exact cost.

NETWORK is a name of the zoo, or a JSON file: an architecture, or a best.json of a search.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from vbs.command import run_program

    run_program("search_spaces.show", "search_spaces.show", "main")

from pathlib import Path

from search_spaces.architecture import Architecture
from search_spaces.catalog import NETWORKS, zoo
from search_spaces.cost import Cost, blocks_cost, cost
from vbs.command import Parser, run_command
from vbs.console import print_out
from vbs.json_text import parse_json


def load(text: str) -> Architecture:
    """The architecture of a zoo name or a JSON file; ValueError says what is wrong with it."""
    path = Path(text)
    if not path.is_file():
        if path.suffix == ".json":
            raise ValueError(f"{text}: no such file")
        if path.is_dir() and text not in NETWORKS:
            raise ValueError(f"{text} is a folder; name a file in it, such as {path / 'best.json'}")
        return zoo(text)
    try:
        fields = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{text}: cannot be read as JSON ({error})") from None
    if isinstance(fields, dict) and "architecture" in fields:
        fields = fields["architecture"]
    if fields is None:
        raise ValueError(f"{text}: its network is not an Architecture, only choices")
    try:
        return Architecture.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None


def lines(architecture: Architecture) -> list[str]:
    """The network as text: a line for the stem, each stage, head and classifier."""
    blocks = list(architecture.blocks())
    shown = [f"{'':11}{'layers':30}{'input':>12}{'output':>14}{'FLOPs':>16}{'params':>13}"]
    groups: dict[tuple[str, int], list] = {}
    for block in blocks:
        groups.setdefault((block.op if block.stage < 0 else "stage", block.stage), []).append(block)
    for (name, index), members in groups.items():
        first, last, part = members[0], members[-1], blocks_cost(members)
        if index < 0:
            label, what = name, f"{first.kernel}x{first.kernel} stride {first.stride}"
        else:
            stage = architecture.stages[index]
            label = f"stage {index}"
            what = f"{stage.layers} x {stage.op} k{stage.kernel} s{stage.stride} e{stage.expand}"
            what += f" se{stage.se:g}" if stage.se else ""
            what += f" {stage.skip}" if stage.skip not in ("identity",) else ""
        into = f"{first.in_channels}x{first.in_size}²"
        out = f"{last.out_channels}x{last.out_size}²"
        shown.append(f"{label:11}{what:30}{into:>12}{out:>14}{part.flops:>16,}{part.params:>13,}")
    total: Cost = cost(architecture)
    shown.append(f"{'total':11}{architecture.key:30}{'':26}{total.flops:>16,}{total.params:>13,}")
    return shown


def main(argv: list[str] | None = None) -> int:
    """Print the network; 2 where it cannot be read."""
    parser = Parser(prog="python -m search_spaces.show", description=__doc__)
    parser.add_argument("network", metavar="NETWORK")

    def show() -> int:
        print_out(*lines(load(parser.parse_args(argv).network)))
        return 0

    return run_command("search_spaces.show", show)
