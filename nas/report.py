"""Tables and pictures of a finished search."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas import record
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import pareto_front
from nas.strategies.base import feasible_share
from nas.units import short
from search_spaces.cost import Cost, Costs

ENDINGS = {
    "finished": "finished",
    "exhausted": "finished early, nothing new within the limits is left",
    "interrupted": "interrupted, the result so far is saved",
}


class Row(NamedTuple):
    """One network beside the others; accuracies in percent, NaN where unknown."""

    name: str
    genotype: np.ndarray
    accuracy: float
    std: float
    measured: float
    costs: Cost
    reward: float


def write(
    folder: Path, settings: Mapping[str, Any], history: History, evaluator: Evaluator
) -> None:
    """All result files of a search: best.json, pareto.csv, pareto.png, history.parquet."""
    record.write_history(folder, history)
    names = ("space", "evaluator", "strategy", "seed")
    best = record.best_record(history, history.best())
    record.write_json(folder / "best.json", {**best, **{name: settings[name] for name in names}})
    record.write_whole(folder / "pareto.csv", lambda path: _write_front(path, history))
    record.write_whole(
        folder / "pareto.png", lambda path: _draw(path, settings, history, evaluator)
    )


def _write_front(path: Path, history: History) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Cost._fields, "accuracy", "accuracy_std", "reward",
                         *history.space.choices])  # fmt: skip
        for row in history.front():
            costs = [int(getattr(history.costs, name)[row]) for name in Cost._fields]
            numbers = [history.accuracy[row], history.std[row], history.reward[row]]
            choices = history.space.choices_of(history.genotypes[row]).values()
            writer.writerow([*costs, *(f"{number:.6f}" for number in numbers), *choices])


def rows(history: History, evaluator: Evaluator) -> list[Row]:
    """What was found, published networks of the space, and the best measured ones."""
    found = {"best reward": history.best()}
    front = history.front()
    found["most accurate"] = int(front[-1])
    references = reference_rows(history, evaluator)
    for reference in references:
        within = front[history.costs.flops[front] <= reference.costs.flops]
        if len(within):
            found[f"best at or under {reference.name}"] = int(within[-1])
    listed, seen = [], set()
    for name, row in found.items():
        if row not in seen:
            seen.add(row)
            listed.append(_row(f"found: {name}", history.genotypes[row], history, evaluator))
    return [*listed, *references, *measured_rows(history, evaluator)]


def reference_rows(history: History, evaluator: Evaluator) -> list[Row]:
    """The published networks of the space, as the evaluator sees them."""
    space = history.space
    return [
        _row(name, space.encode(choices), history, evaluator)
        for name, choices in space.references.items()
    ]


def measured_rows(history: History, evaluator: Evaluator, *, count: int = 3) -> list[Row]:
    """The measured networks of highest reward within the limits."""
    if evaluator.measured is None:
        return []
    genotypes, accuracy = evaluator.measured.genotypes, evaluator.measured.accuracy
    costs = history.space.costs(genotypes)
    reward = history.objective.reward(accuracy, costs)
    reward[~history.objective.feasible(costs)] = -np.inf
    best = np.argsort(-reward, kind="stable")[:count]
    return [
        _row("best measured", genotypes[row], history, evaluator)
        for row in best
        if np.isfinite(reward[row])
    ]


def _row(name: str, genotype: np.ndarray, history: History, evaluator: Evaluator) -> Row:
    costs = history.space.costs(genotype[None])
    answer = evaluator.evaluate(history.space, genotype[None])
    measured = np.nan
    if evaluator.measured is not None:
        same = (evaluator.measured.genotypes == genotype).all(1)
        measured = float(evaluator.measured.accuracy[same].mean()) if same.any() else np.nan
    accuracy = float(answer.accuracy[0])
    reward = float(history.objective.reward(answer.accuracy, costs)[0])
    return Row(
        name, genotype, accuracy, float(answer.std[0]), measured, _first(costs), reward
    )  # fmt: skip


def _first(costs: Costs) -> Cost:
    return Cost(*(int(getattr(costs, name)[0]) for name in Cost._fields))


def show(
    folder: Path, settings: Mapping[str, Any], history: History, evaluator: Evaluator,
    *, status: str, seconds: float,
) -> None:  # fmt: skip
    """Print what was found, beside what is known, and what can be done next."""
    import rich.box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 130
    count = len(history)
    failed = int((history.error != "").sum())
    console.print(
        f"{ENDINGS[status]}: {count:,} networks evaluated in {seconds:.1f} s"
        + (f", {failed:,} of them failed" if failed else "")
        + f"; {_share(history):.2g}% of space '{history.space.name}' is within the limits"
    )
    table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1))
    for header in ("network", "top-1 %", "measured %", "FLOPs", "params", "reward", "nearest"):
        table.add_column(header, justify="left" if header == "network" else "right", no_wrap=True)
    for row in rows(history, evaluator):
        table.add_row(*_cells(row, evaluator))
    console.print(table)
    console.print(f"top-1: {evaluator.unit}.")
    if evaluator.measured is not None:
        console.print("nearest: decisions that differ from the nearest measured network.")
    console.print(
        f"\nresults: {folder}/ (best.json, pareto.csv, pareto.png, history.parquet)\nnext:"
    )
    for command in next_commands(folder, settings, status):
        console.print(f"  {command}", soft_wrap=True)


def _share(history: History) -> float:
    return 100 * feasible_share(history.space, history.objective, np.random.default_rng(0))


def _cells(row: Row, evaluator: Evaluator) -> list[str]:
    nearest = ""
    if evaluator.measured is not None:
        nearest = str(evaluator.measured.distance(row.genotype[None])[0])
    known = not np.isnan(row.accuracy)
    return [
        row.name,
        f"{row.accuracy:.2f} ± {row.std:.2f}" if known else "-",
        "-" if np.isnan(row.measured) else f"{row.measured:.2f}",
        f"{row.costs.flops:,}",
        f"{row.costs.params:,}",
        f"{row.reward:.2f}" if known else "-",
        nearest,
    ]


def next_commands(folder: Path, settings: Mapping[str, Any], status: str) -> list[str]:
    """Commands worth running now."""
    more = settings["budget"] if status == "interrupted" else 4 * settings["budget"]
    return [
        f"python -m search_spaces.show {folder / 'best.json'}",
        f"python -m nas.search --resume --out {folder} --budget {more}",
    ]


def _draw(path: Path, settings: Mapping[str, Any], history: History, evaluator: Evaluator) -> None:
    from matplotlib.figure import Figure  # pyplot would take twice as long to import

    figure = Figure(figsize=(8, 5), dpi=120)
    axes = figure.add_subplot()
    _draw_evaluated(axes, history)
    if evaluator.measured is not None and not evaluator.pooled:
        genotypes, accuracy = evaluator.measured.genotypes, evaluator.measured.accuracy
        flops = history.space.costs(genotypes).flops
        front = pareto_front(accuracy, flops)
        axes.plot(flops[front] / 1e6, accuracy[front], "s", ms=4, c="tab:green",
                  label="best measured networks")  # fmt: skip
    for reference in reference_rows(history, evaluator):
        if not np.isnan(reference.accuracy):
            axes.plot(reference.costs.flops / 1e6, reference.accuracy, "*", ms=13, c="tab:red",
                      label=reference.name, zorder=5)  # fmt: skip
    best = history.best()
    axes.plot(history.costs.flops[best] / 1e6, history.accuracy[best], "D", ms=8, mfc="none",
              mec="black", mew=1.6, label="best reward", zorder=6)  # fmt: skip
    target = settings["target_flops"]
    axes.axvline(target / 1e6, c="0.3", ls=":", lw=1, label=f"target {short(target)}")
    axes.set_xlabel("FLOPs: multiply-adds of one image, in millions")
    axes.set_ylabel(evaluator.axis)
    axes.set_title(f"{len(history):,} networks of space {history.space.name}")
    axes.legend(loc="lower right", framealpha=0.95)
    axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, format="png")


def _draw_evaluated(axes: Any, history: History) -> None:
    """A sample of what was evaluated, and the front as a staircase."""
    valid = np.flatnonzero(~np.isnan(history.accuracy))
    shown = np.random.default_rng(0).choice(valid, min(4000, len(valid)), replace=False)
    flops, accuracy = history.costs.flops / 1e6, history.accuracy
    axes.plot(flops[shown], accuracy[shown], ".", ms=2, c="0.75", label="evaluated (a sample)")
    front = history.front()
    axes.step(flops[front], accuracy[front], where="post", c="tab:blue", lw=1.8,
              label="Pareto front")  # fmt: skip
    low = min(accuracy[front].min(), np.percentile(accuracy[shown], 20))
    axes.set_ylim(bottom=low - 0.3)
