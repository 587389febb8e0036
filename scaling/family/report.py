"""Result of a family, and its printed table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scaling.compound import PUBLISHED, Coefficients
from scaling.family.config import (
    FIGURE,
    MEMBERS,
    OBJECTIVES,
    OWN_FACTORS,
    RECORD,
    TIMED,
    FamilyConfig,
)
from scaling.family.members import Member
from scaling.family.predicted import shown_top1
from scaling.family.times import first_doubt, remedy, shown_setting, shown_time
from search_spaces.architecture import Architecture
from vbs.command import python_command
from vbs.console import print_results
from vbs.page.parts import REPORT
from vbs.tables import Console, Table
from vbs.text import shell_command, shell_word

if TYPE_CHECKING:
    from scaling.family.inherited import Cut

TIMES = ("predicted_latency", "predicted_step_time")  # predicted by tables of block times


@dataclass(frozen=True)
class FamilyResult:
    """Result of a family.

    folder        folder of all files.
    config        config with all defaults resolved, so that it repeats the family.
    coefficients  None: the published factors.
    rows          values of each member as plain data, in the order of `members`.
    notes         basis of the predicted accuracies, and why members have none.
    cut           parent of the members; None if they inherit no weights.
    """

    folder: Path
    config: FamilyConfig
    base: Architecture
    coefficients: Coefficients | None
    members: Sequence[Member]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    cut: Cut | None = None
    exit_code: ClassVar[int] = 0


def show_result(result: FamilyResult) -> None:
    """Print the table of the members, notes, and the commands to run next."""
    config, rows = result.config, result.rows
    console = Console(piped_width=150)
    console.print(*_title(result), "")
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    times = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name in TIMES or name.startswith(("measured_", "time_on_"))
    ]
    for name in (
        "member",
        "px",
        "layers",
        "params",
        "FLOPs",
        "FLOPs / base",
        "by formula",
        "activations",
        *(("test px", "test FLOPs") if config.test_resolution else ()),
        f"memory, batch {config.batch}",
        *(_heading(time) for time in times),
        *_LAST[result.cut is not None],
    ):
        table.add_column(name, justify="left" if name == "member" else "right", no_wrap=True)

    base_flops = rows[0]["formula_flops"] / _growth(rows[0])
    for row in rows:
        spent = [shown_time(row.get(time)) for time in times]
        table.add_row(
            row["name"],
            str(row["resolution"]),
            str(row["layers"]),
            f"{row['params']:,}",
            f"{row['flops']:,}",
            f"{row['flops'] / base_flops:.3f}",
            f"{_growth(row):.3f}",
            f"{row['activations']:,}",
            *_tested(row),
            f"{row['training_memory'] / 1e9:.2f} GB",
            *spent,
            *_accuracies(row, result.cut),
        )

    console.print(table)
    lines = [line for line in (shown_setting(config), *result.notes) if line]
    if lines:
        console.print("", *lines)
    if doubt := first_doubt(rows):
        console.print(f"! unreliable times: {doubt}; {remedy(config)}")
    files = (RECORD, FIGURE, REPORT, f"{MEMBERS}/")
    print_results(result.folder, files, _next_commands(result))


def _title(result: FamilyResult) -> list[str]:
    """Return a description of the family, in lines."""
    config, coefficients, rows = result.config, result.coefficients, result.rows
    how = "published factors" if coefficients is None else f"(alpha, beta, gamma) = {coefficients}"
    if config.rules in OWN_FACTORS:
        how = "factors of 2^phi"
    elif coefficients is None and any(row["phi"] < 0 for row in rows):
        how += f", for negative phi {PUBLISHED}^phi"
    grows = {"flops": "real cost"}.get(config.objective, config.objective)
    if config.objective in TIMED:
        grows = f"measured {config.objective}"
    elif config.objective not in OBJECTIVES:
        grows = f"time on {Path(config.objective).stem}"
    exact = "" if config.growth is None else f", {grows} {config.growth:g}^phi"
    if config.targets is not None:
        exact = f", within {config.targets} FLOPs"
    line = f"family of {config.base}: {how}{exact}, rules {config.rules}"
    return [line] if result.cut is None else [f"sub-networks of {result.cut.parent.source}", line]


# headings of accuracies, without and with a parent
_LAST = {False: ("published", "predicted top-1 (95%)"), True: ("inherited minival %",)}


def _accuracies(row: Mapping[str, Any], cut: Cut | None) -> list[str]:
    """Return the accuracy cells of a member."""
    if cut is not None:
        known = row.get("inherited_minival_top1")
        return ["-" if known is None else f"{known:.1f}"]
    published = row["published_top1"]
    return ["-" if published is None else f"{published:.1f}%", shown_top1(row)]


def _tested(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of --test-resolution."""
    return [str(row["test"]["resolution"]), f"{row['test']['flops']:,}"] if "test" in row else []


def _heading(time: str) -> str:
    """Return the heading of a column of times."""
    if time.startswith("time_on_"):
        return f"time on {time.removeprefix('time_on_')}"
    return time.replace("_", " ", 1)


def _next_commands(result: FamilyResult) -> list[str]:
    """Return the commands to run next."""
    folder, rows = result.folder, result.rows
    if "weights" in rows[0]:
        return [_fine_tuning(folder / MEMBERS, row, result.cut) for row in rows[:3]]
    names = shell_command(str(folder / MEMBERS / f"{row['name']}.json") for row in rows[:3])
    first, largest = (
        shell_word(str(folder / MEMBERS / f"{row['name']}.json")) for row in (rows[0], rows[-1])
    )
    commands = [
        f"{python_command()} -m search_spaces.show {largest}",
        f"{python_command()} -m train.ray_tune --architectures {names} --data DATA",
    ]
    if "test" in rows[0]:
        side = rows[0]["test"]["resolution"]
        tested = f"--set eval_resolution={side}"
        commands[1] = f"{python_command()} -m train.run {first} --data DATA {tested}"
    return commands


def _fine_tuning(members: Path, row: Mapping[str, Any], cut: Cut | None) -> str:
    """Return the command that fine-tunes a member from its inherited weights."""
    network, weights = (
        shell_word(str(members / name)) for name in (f"{row['name']}.json", row["weights"])
    )
    search = None if cut is None else cut.search
    data = "DATA" if search is None else shell_word(str(search.config.data))
    distilled = "" if search is None else f" --set {shell_word(f'teacher={search.teacher}')}"
    return (
        f"{python_command()} -m train.run {network} --init {weights} --data {data} "
        f"--recipe finetune{distilled}"
    )


def _growth(row: Mapping[str, Any]) -> float:
    factors = row["factors"]
    return factors["depth"] * factors["width"] ** 2 * factors["resolution"] ** 2
