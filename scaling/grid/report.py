"""Result of a grid, its preview before it starts, and its printed table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.evaluators.proxy import used_images
from nas.lengths import length_lines
from scaling.certainty import certainty
from scaling.compound import GREEK, Coefficients
from scaling.grid.choice import chosen, fitted_surface
from scaling.grid.config import FIGURE, RECORD, GridConfig
from scaling.grid.figure import draw
from scaling.grid.growth import Candidate
from scaling.grid.page import page
from scaling.grid.published import PublishedGrid, show_published
from scaling.grid.record import Record
from scaling.grid.verdict import SEEDS, verdict
from scaling.training_result import Result
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from vbs.command import FAILED, python_command
from vbs.config import code_values
from vbs.console import print_err, print_out, print_results
from vbs.figure import draw_picture
from vbs.options import option_words
from vbs.page.parts import REPORT, write_page
from vbs.tables import Console, Table
from vbs.text import counted, shell_command, shell_word
from vbs.units import minutes, short

if TYPE_CHECKING:
    from scaling.trainings import Trainings


def print_preview(
    config: GridConfig, trainings: Trainings, base: Architecture, found: Sequence[Candidate]
) -> None:
    """Print the planned trainings, the expected time, and the results folder to stderr."""
    from scaling.trainings import expected_seconds

    measuring, places, folder = trainings.measuring, trainings.places, trainings.folder
    assert places is not None
    own, controls = cost(base), sum(each.is_control for each in found)
    images = used_images(measuring.fidelity, measuring.data.train)
    length, warning = length_lines(
        measuring.recipe, measuring.fidelity, images=measuring.data.train
    )
    total = len(found) * config.seeds
    lines = [
        f"base {config.base}, as a proxy of {short(own.flops)} FLOPs at {base.resolution} px",
        f"{len(found) - controls} candidates and {controls} controls, each about "
        f"{config.growth:g} times its {config.objective}; {counted(config.seeds, 'seed')} each",
        f"a training: {length}, of {images:,} images by recipe "
        f"{measuring.recipe.name}, scored on {measuring.data.minival:,} held out",
        *([warning] if warning else []),
    ]
    if config.address is None:
        each = expected_seconds(
            [one.architecture for one in found],
            measuring,
            device=config.device,
            threads=max(1, int(places.cpus)),
        )
        if not math.isnan(each):
            lines.append(
                f"about {each:.0f} s a training, {places.slots} at once: about "
                f"{minutes(total * each / places.slots)} for all {total}"
            )
    lines.append(f"results go to {shell_word(f'{folder}/')}; its study gets every training at once")
    print_err(*lines)


def table(
    found: Sequence[Candidate], known: Mapping[str, Result], *, marked: Collection[str] = ()
) -> None:
    """Print the candidates on stdout, best first if they were trained; * for marked ones."""
    console = Console(piped_width=150)
    shown = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in (
        "(alpha, beta, gamma)",
        "growth",
        "depth",
        "width",
        "resolution",
        "layers",
        "px",
        "FLOPs",
        "params",
    ):
        left = name.startswith("(")
        shown.add_column(name, justify="left" if left else "right", no_wrap=True)
    if known:
        shown.add_column("minival top-1", justify="right", no_wrap=True)
        shown.add_column("seeds", justify="right")

    def place(each: Candidate) -> float:
        mean = known[each.name].mean if each.name in known else math.nan
        return math.inf if math.isnan(mean) else -mean

    for each in sorted(found, key=place) if known else found:
        network, spent = each.architecture, cost(each.architecture)
        name = f"{each.name} alone" if each.is_control else each.name
        cells = [
            name + " *" * (each.name in marked),
            f"{each.growth:.3f}",
            *(f"{factor:.3f}" for factor in each.real),
            str(sum(stage.layers for stage in network.stages)),
            str(network.resolution),
            f"{spent.flops:,}",
            f"{spent.params:,}",
        ]
        if known:
            cells += _accuracy(known.get(each.name))
        shown.add_row(*cells)
    console.print(shown)


def _accuracy(result: Result | None) -> list[str]:
    if result is None or not result.accuracies:
        return ["failed" if result is not None and result.errors else "-", "0"]
    error = "" if math.isnan(result.error) else f" ± {result.error:.2f}"
    return [f"{result.mean:.2f}%{error}", str(len(result.accuracies))]


@dataclass(frozen=True)
class GridResult:
    """Result of a grid.

    known      results of each candidate, by name.
    outcome    the choice as plain data: "chosen" contains alpha, beta and gamma, and is absent if
               no candidate could be trained.
    certainty  lines about the certainty of the comparison.
    """

    folder: Path
    config: GridConfig
    candidates: Sequence[Candidate]
    known: Mapping[str, Result]
    outcome: Mapping[str, Any]
    certainty: Sequence[str]

    @property
    def coefficients(self) -> Coefficients:
        """alpha, beta and gamma of the choice; ValueError if there is none."""
        if "chosen" not in self.outcome:
            raise ValueError("grid: no candidate could be trained")
        return Coefficients(*(self.outcome["chosen"][name] for name in GREEK))

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if no candidate could be trained."""
        return 0 if "chosen" in self.outcome else FAILED


def finished(record: Record, known: Mapping[str, Result]) -> GridResult:
    """Choose, and write the record, the figure and the page."""
    folder, config, found = record.folder, record.config, record.found
    surface = fitted_surface(config, found, known)
    outcome = chosen(config, found, known, surface)
    if "chosen" in outcome:
        record.write(known, "finished", surface)
        draw_picture(folder / FIGURE, lambda path: draw(path, config, found, known, surface))
        write_page(folder, lambda: page(folder))
    else:
        record.write(known, "failed")
    return GridResult(folder, config, found, known, outcome, certainty(known, record.scored))


def show_result(result: GridResult | PublishedGrid | int) -> None:
    """Print the table, the choice, and the commands to run next; nothing after a dry run."""
    if isinstance(result, int):
        return
    if isinstance(result, PublishedGrid):
        show_published(result)
        return
    folder, found, known = result.folder, result.candidates, result.known
    table(found, known)
    if "chosen" not in result.outcome:
        for line in ("no candidate could be trained", *_failures(result)):
            print_err(f"scaling.grid: {line}")
        return
    lines = [*verdict(found, known, result.outcome), *result.certainty]
    print_out("", *lines, *_failures(result))
    print_results(
        folder, (RECORD, FIGURE, REPORT, "study.db"), _next(folder, result.config, result.outcome)
    )


def _failures(result: GridResult) -> list[str]:
    """Return a line about failed trainings and the options that repeat them."""
    errors = [f"{name}: {why}" for name, one in result.known.items() for why in one.errors.values()]
    if not errors:
        return []
    return [
        f"{counted(len(errors), 'training')} failed, such as {errors[-1]}; "
        f"{_resume(result.folder, result.config)} --retry-failed trains them again"
    ]


def _resume(folder: Path, config: GridConfig) -> str:
    """Return the options that resume the grid, and those that name user code in its record."""
    words = ["--resume", "--out", str(folder), *option_words(GridConfig, code_values(config))]
    return shell_command(words)


def _next(folder: Path, config: GridConfig, outcome: Mapping[str, Any]) -> list[str]:
    """Return the commands to run next."""
    python, base = python_command(), shell_word(config.base)
    where = shell_word(str(folder / RECORD))
    growth = f" --growth {config.growth:g}"
    if config.rules != "compound":
        growth += f" --rules {config.rules}"
    if config.round_to is not None:
        growth += f" --round-to {config.round_to}"
    if config.objective != "flops":
        growth += (
            f" --objective {config.objective} --measure-batch {config.measure_batch}"
            f" --device {config.device}"
        )
        if config.runtime != "torch":
            growth += f" --runtime {config.runtime}"
    commands = [f"{python} -m scaling.family --base {base} --coefficients {where}{growth}"]
    surface, seeds = outcome.get("surface"), config.seeds
    if surface is not None and surface["hidden_by_noise"]:
        seeds = SEEDS if surface["seed_noise"] is None else seeds + (surface["more_seeds"] or 0)
    if seeds > config.seeds:
        commands.append(f"{python} -m scaling.grid {_resume(folder, config)} --seeds {seeds}")
    return commands
