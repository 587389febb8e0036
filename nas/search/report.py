"""Tables and pictures of a finished search."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich.box

from nas.evaluators.base import Evaluator
from nas.history import History
from nas.search import front_figure, record
from nas.search.config import SearchConfig
from nas.search.doubts import advised, doubt_about
from nas.search.result import SearchResult
from nas.search.rows import Row, reference_rows, rows
from nas.strategies.base import feasible_share
from search_spaces.cost import MEASURED
from train.suggested import recipe_words
from vbs import signals
from vbs.command import python_command
from vbs.config import code_values, flag
from vbs.console import print_err, print_results
from vbs.figure import draw_picture
from vbs.folder import write_json, write_whole
from vbs.tables import Console, Table
from vbs.text import counted, csv_cell, shell_command, shell_word
from vbs.units import percent, short, short_seconds

ENDINGS = {
    "finished": "finished",
    "exhausted": "finished early, nothing new within the limits is left",
    "out of time": "finished, the time is up",
    "interrupted": "interrupted, the result so far is saved",
    "failed": "stopped, the result so far is saved",
}


def write(folder: Path, config: SearchConfig, history: History) -> None:
    """The results of a search that its record does not hold: best.json and pareto.csv."""
    names = ("space", "evaluator", "strategy", "seed")
    best = record.best_record(history, history.best())
    write_json(folder / "best.json", {**best, **{name: getattr(config, name) for name in names}})
    write_whole(folder / "pareto.csv", lambda path: _write_front(path, history))


def draw(folder: Path, history: History, evaluator: Evaluator) -> None:
    """pareto.png; one that cannot be drawn is a warning."""
    draw_picture(folder / "pareto.png", lambda path: _draw_front(path, history, evaluator))


def _write_front(path: Path, history: History) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = history.space.cost_names
        header = [*names, "accuracy", "accuracy_std", "reward", *history.space.choices]
        writer.writerow(map(csv_cell, header))
        for row in history.front():
            costs = [history.costs.get(name)[row].item() for name in names]
            numbers = history.summary(row)[:3]
            choices = history.space.choices_of(history.genotypes[row]).values()
            cells = [*costs, *(f"{number:.6f}" for number in numbers), *choices]
            writer.writerow(map(csv_cell, cells))


def _draw_front(path: Path, history: History, evaluator: Evaluator) -> None:
    front_figure.draw(path, history, evaluator, reference_rows(history, evaluator))


def show_result(result: SearchResult) -> None:
    """Print what was found, beside what is known, what can be done next, and what went wrong."""
    with signals.deferred():
        if result.found:
            _show(result)
        if result.reason:
            print_err(f"nas.search: {result.reason}")


def _show(result: SearchResult) -> None:
    console = Console(piped_width=130)
    narrow = console.width < 100
    folder, history, evaluator = result.folder, result.history, result.evaluator
    console.print(_ending(history, evaluator, status=result.status, seconds=result.seconds))
    table = Table(box=None if narrow else rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("network", no_wrap=True)
    for header in _cells(None, history.space.cost_names, evaluator, narrow=narrow):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows(history, evaluator):
        table.add_row(
            row.name, *_cells(row, history.space.cost_names, evaluator, narrow=narrow).values()
        )
    console.print(table)
    for line in certainty(history, evaluator):
        console.print(line)
    console.print(f"top-1: {evaluator.unit}.")
    if evaluator.measured is not None:
        console.print("nearest: decisions that differ from the nearest measured network.")
    steps = next_commands(folder, result.config, result.status, history, evaluator)
    print_results(folder, (*record.FILES, "study.db"), steps)


def certainty(history: History, evaluator: Evaluator) -> list[str]:
    """How sure the choice is, and what ± means, where that can be said, in lines."""
    lines = []
    if evaluator.scored_on:
        lines.append(
            f"±: one standard deviation, of {evaluator.scored_on:,} held-out images and, where a "
            "network was trained again, of its seeds."
        )
    if evaluator.scored_on or history.networks < len(history):
        lead = str(history.lead())
        lines += [f"{lead} (reward, paired error on the same images)."] if lead else []
    doubt = doubt_about(history, evaluator)
    return [*lines, f"warning: {advised(doubt, evaluator)}."] if doubt else lines


def _ending(history: History, evaluator: Evaluator, *, status: str, seconds: float) -> str:
    """How the search ended, in a sentence."""
    text = f"{ENDINGS[status]}: {counted(history.networks, 'network')} evaluated in {seconds:.1f} s"
    if repeats := len(history) - history.networks:
        text += f", and the best ones {repeats} time{'s' * (repeats > 1)} again"
    if stopped := int((history.fidelity < 1).sum()):
        text += f", {stopped:,} stopped early"
    if failed := int((history.error != "").sum()):
        text += f", {failed:,} of them failed"
    space, objective = history.space, history.objective
    if evaluator.pooled and evaluator.measured is not None:
        share = float(objective.feasible(space.costs(evaluator.measured.genotypes)).mean())
        whole = "the measured networks"
    else:
        share = feasible_share(space, objective, np.random.default_rng(0))
        whole = f"space {space.name!r}"
    return f"{text}; {percent(share)} of {whole} is within the limits"


def _cells(
    row: Row | None, names: Sequence[str], evaluator: Evaluator, *, narrow: bool
) -> dict[str, str]:
    """Header -> text of a network's cell; of None: "", to get the headers."""
    columns = ["top-1 %", "measured", "FLOPs", "params", *MEASURED, "reward", "nearest"]
    columns = [name for name in columns if name not in MEASURED or name in names]
    if evaluator.measured is None:
        columns = [name for name in columns if name not in ("measured", "nearest")]
    if narrow:
        columns.remove("reward")
    if row is None:
        return dict.fromkeys(columns, "")
    known = not np.isnan(row.accuracy)
    spread = "" if np.isnan(row.std) else f" ± {row.std:.2f}"
    flops, params = row.costs["flops"], row.costs["params"]
    texts = {
        "top-1 %": f"{row.accuracy:.2f}{spread}" if known else "-",
        "measured": "-" if np.isnan(row.measured) else f"{row.measured:.2f}",
        "FLOPs": short(flops) if narrow else f"{flops:,}",
        "params": short(params) if narrow else f"{params:,}",
        **{name: short_seconds(row.costs[name]) for name in MEASURED if name in row.costs},
        "reward": "-" if np.isnan(row.reward) else f"{row.reward:.2f}",
    }
    if evaluator.measured is not None:
        texts["nearest"] = str(evaluator.measured.nearest(row.genotype[None])[0][0])
    return {name: texts[name] for name in columns}


def next_commands(
    folder: Path, config: SearchConfig, status: str, history: History, evaluator: Evaluator
) -> list[str]:
    """Commands worth running now."""
    images, evaluated = evaluator.train_images, history.networks
    python = shell_word(python_command())
    commands = []
    if (folder / "best.json").is_file():  # it could not be written to a full disk
        commands.append(f"{python} -m search_spaces.show {shell_word(str(folder / 'best.json'))}")
    if commands and config.data is not None and status in ("finished", "exhausted", "out of time"):
        network, data = (shell_word(str(each)) for each in (folder / "best.json", config.data))
        root = config.data_root
        where = f" --data-root {shell_word(root)}" if root else ""
        how = recipe_words(images, recipe=config.recipe, changes=config.changes)
        commands.append(
            f"{python} -m train.run {network} --data {data}{where} {shell_command(how)}"
        )
    if status != "exhausted":
        broken = status in ("interrupted", "failed")
        assert config.budget is not None  # a search that ran has one
        more = config.budget if broken else 4 * max(config.budget, evaluated)
        quoted = shell_word(str(folder))
        code = code_values(config)  # which a resumed search does not take from its record
        again = "".join(f" {flag(name)} {shell_word(text)}" for name, text in code.items())
        commands.append(f"{python} -m nas.search --resume --out {quoted} --budget {more}{again}")
    return commands
