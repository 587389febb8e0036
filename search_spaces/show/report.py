"""A network as text: its stages and their exact cost."""

from __future__ import annotations

from search_spaces.architecture import Architecture, kernels_text
from search_spaces.cost import Cost, blocks_cost, cost
from search_spaces.show.run import ShowResult
from vbs.console import print_out


def show_result(result: ShowResult) -> None:
    """Print the network stage by stage."""
    print_out(*lines(result.architecture))


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
            what = f"{stage.layers} x {stage.op} {kernels_text(stage)} s{stage.stride}"
            what += f" e{stage.expand}"
            what += f" se{stage.se:g}" if stage.se else ""
            what += f" {stage.activation}" if stage.activation else ""
            what += f" {stage.skip}" if stage.skip not in ("identity",) else ""
        into = f"{first.in_channels}x{first.in_size}²"
        out = f"{last.out_channels}x{last.out_size}²"
        shown.append(f"{label:11}{what:30}{into:>12}{out:>14}{part.flops:>16,}{part.params:>13,}")
    total: Cost = cost(architecture)
    shown.append(f"{'total':11}{architecture.key:30}{'':26}{total.flops:>16,}{total.params:>13,}")
    return shown
