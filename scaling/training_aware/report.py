"""Result of a training-aware search, and its printed table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling.training_aware.config import FIGURE, RECORD, TrainingAwareConfig
from scaling.training_aware.networks import BASE, BATCH
from scaling.training_aware.predicted import PredictedAware, show_predicted
from scaling.training_result import Result
from train.suggested import recipe_words
from vbs.command import python_command
from vbs.console import print_results
from vbs.page.parts import REPORT
from vbs.tables import Console, Table
from vbs.text import shell_command, shell_word
from vbs.units import short_seconds

FOUND, MEMBERS = "found", "members"


@dataclass(frozen=True)
class TrainingAwareResult:
    """Result of a training-aware search.

    networks  values of the found network, V2-base and B0 as plain data, by name; empty if the
              search failed.
    members   values of each member, smallest first.
    known     results of the compared trainings, by name.
    certainty lines about the certainty of the comparison.
    images    number of training images.
    """

    folder: Path
    config: TrainingAwareConfig
    networks: Mapping[str, Any] = field(default_factory=dict)
    members: Sequence[Mapping[str, Any]] = ()
    known: Mapping[str, Result] = field(default_factory=dict)
    certainty: Sequence[str] = ()
    images: int = 0
    exit_code: int = 0


def _step(row: Mapping[str, Any]) -> str:
    """Format the seconds of a step with their spread, and ! if they are unreliable."""
    seconds, half = short_seconds(row["step_seconds"]), short_seconds(row["step_spread"] / 2)
    return f"{seconds} ± {half}{'!' if row['step_doubt'] else ''}"


def show_result(result: TrainingAwareResult | PredictedAware) -> None:
    """Print the comparison, the found network, the family, and the commands to run next."""
    if isinstance(result, PredictedAware):
        show_predicted(result)
        return
    if not result.networks:  # the search has reported why
        return
    rows, known, folder = result.networks, result.known, result.folder
    console = Console(piped_width=130)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in (
        "network",
        "minival top-1",
        f"step of {BATCH} images",
        "to V2-base",
        "FLOPs",
        "params",
        "training",
    ):
        table.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for name, row in rows.items():
        one = known[name]
        error = "" if math.isnan(one.error) else f" ± {one.error:.2f}"
        shown = "failed" if math.isnan(one.mean) else f"{one.mean:.2f}%{error}"
        table.add_row(
            name,
            shown,
            _step(row),
            f"{row['step_seconds'] / rows[BASE]['step_seconds']:.2f}",
            f"{row['flops']:,}",
            f"{row['params']:,}",
            short_seconds(one.seconds),
        )
    console.print(table)
    console.print(*result.certainty)
    doubts = [row["step_doubt"] for row in rows.values() if row["step_doubt"]]
    if doubts:
        console.print(f"! unreliable times: {doubts[0]}; --resume measures again")
    console.print("", "stages of the found network:")
    for stage in rows[FOUND]["stages"]:
        se = f" se{stage['se']:g}" if stage["se"] else ""
        console.print(
            f"  stage {stage['stage']}: {stage['layers']} x {stage['op']} "
            f"k{stage['kernel']} e{stage['expand']}{se}"
        )
    console.print("", "family, from the full-size network by V2's rules:")
    for row in result.members:
        console.print(
            f"  {row['name']}: {row['flops'] / 1e9:.2f}G FLOPs, "
            f"{row['params'] / 1e6:.1f}M params, {row['resolution']} px, layers "
            f"{row['layers']}"
        )
    files = (RECORD, FIGURE, REPORT, "search/", "compare/", f"{MEMBERS}/")
    print_results(folder, files, _next(result))


def _next(result: TrainingAwareResult) -> list[str]:
    """Return the commands to run next."""
    config = result.config
    paths = [str(result.folder / MEMBERS / f"{row['name']}.json") for row in result.members]
    data = shell_word(config.data)
    how = recipe_words(
        result.images, recipe=config.recipe, changes=config.changes, large="efficientnetv2"
    )
    return [
        f"{python_command()} -m search_spaces.show {shell_word(paths[0])}",
        f"{python_command()} -m train.ray_tune --architectures {shell_command(paths)} "
        f"--data {data} {shell_command(how)}",
    ]
