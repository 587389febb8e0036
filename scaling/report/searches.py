"""Report sections that compare searches: best networks, best reward so far, and Pareto fronts."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scaling.report.runs import DamagedRun, Run, groups
from search_spaces.architecture import Architecture
from search_spaces.listed import LIMITS, listed_network
from vbs.accuracy import standard_error
from vbs.json_text import parse_json
from vbs.page.charts import COLOURS, Axis, Chart, Listed, Point, Series, chart
from vbs.page.parts import note, section, table
from vbs.units import clock, short

MARKS = 20  # points of a mean curve
MOST = 200  # maximum points of the curve of one search


def search_sections(runs: Sequence[Run]) -> list[str]:
    """Return the sections of searches.

    Raises DamagedRun if best.json, pareto.csv or history.parquet of a search cannot be read, and
    other exceptions for other damage.
    """
    bests = [_best(run) for run in runs]
    curves = {run.name: _curve(run) for run in runs}
    targets = {json.dumps([run.settings.get(n) for n in _AIMS], sort_keys=True) for run in runs}
    means = _groups(runs, bests)
    notes = [note("±: standard error over seeds.")] if means else []
    if len(targets) > 1:
        notes.append(note("The targets differ, so rewards of different searches do not compare."))
    return [
        section("Searches", _table(runs, bests, curves), means, *notes),
        section("Best reward so far", chart(_progress(runs, curves))),
        section("Best networks", chart(_networks(runs, bests))),
    ]


_AIMS = ("target_flops", "target_latency", "target_step_time", "target_throughput", "reward")


def _best(run: Run) -> dict[str, Any]:
    """Read best.json of a search."""
    path = run.folder / "best.json"
    try:
        best: dict[str, Any] = parse_json(path.read_bytes())
        float(best["accuracy"]), float(best["reward"]), float(best["flops"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DamagedRun(f"{path} is missing or damaged; resume the search") from None
    return best


def _curve(run: Run) -> np.ndarray:
    """Return the best reward so far after each evaluation, float64 [n]."""
    import pandas

    path = run.folder / "history.parquet"
    try:
        reward = pandas.read_parquet(path, columns=["reward"])["reward"].to_numpy(float)
    except (OSError, ValueError, KeyError) as error:
        raise DamagedRun(f"{path} cannot be read ({error})") from None
    if not len(reward):
        raise DamagedRun(f"{path} holds no evaluation; resume the search")
    return np.maximum.accumulate(np.where(np.isfinite(reward), reward, -np.inf))


def _table(
    runs: Sequence[Run], bests: Sequence[dict[str, Any]], curves: dict[str, np.ndarray]
) -> str:
    rows = [
        (
            run.name,
            run.record["status"],
            f"{len(curves[run.name]):,}",
            clock(float(run.record["outcome"].get("seconds", 0.0))),
            f"{best['accuracy']:.2f}%",
            f"{best['reward']:.2f}",
            f"{best['flops']:,}",
            f"{best['params']:,}",
        )
        for run, best in zip(runs, bests, strict=True)
    ]
    heads = ("search", "status", "evaluations", "time", "top-1", "reward", "FLOPs", "params")
    return table(heads, rows)


def _groups(runs: Sequence[Run], bests: Sequence[dict[str, Any]]) -> str:
    """Return a table of means over searches that differ only in the seed; "" if there are none."""
    known = dict(zip((run.folder for run in runs), bests, strict=True))
    rows = []
    for name, members in groups(runs).items():
        if len(members) > 1:
            texts = [
                mean_text([known[run.folder][what] for run in members])
                for what in ("accuracy", "reward")
            ]
            rows.append((name, str(len(members)), *texts))
    heads = ("mean of", "seeds", "top-1", "reward")
    return table(heads, rows) if rows else ""


def mean_text(values: Sequence[float]) -> str:
    """Format the mean with its standard error."""
    return f"{np.mean(values):.2f} ± {standard_error(values):.2f}"


def _progress(runs: Sequence[Run], curves: dict[str, np.ndarray]) -> Chart:
    """Return a chart of the best reward so far against evaluations, averaged over seeds."""
    series = []
    for place, (name, members) in enumerate(groups(runs).items()):
        each = [curves[run.name] for run in members]
        points = _mean(each) if len(each) > 1 else _single(each[0])
        called = f"{name}, {len(each)} seeds" if len(each) > 1 else members[0].name
        series.append(Series(called, points, "stairs", COLOURS[place % len(COLOURS)]))
    return Chart(
        x=Axis("evaluations"),
        y=Axis("best reward so far"),
        series=series,
        alt="The best reward so far of every search against evaluations.",
    )


def _single(curve: np.ndarray) -> list[Point]:
    """Return the points where a curve rises, and its end."""
    with np.errstate(invalid="ignore"):  # -inf until a network has a reward
        rises = np.flatnonzero(np.diff(curve, prepend=-np.inf) > 0)[-MOST:]
    return [*(Point(row + 1, curve[row]) for row in rises), Point(len(curve), curve[-1])]


def _mean(curves: Sequence[np.ndarray]) -> list[Point]:
    """Return the mean and standard error of curves, up to the end of the shortest."""
    length = min(map(len, curves))
    rows = np.unique(np.linspace(0, length - 1, MARKS).astype(int))
    values = np.stack([curve[rows] for curve in curves])
    with np.errstate(invalid="ignore"):  # -inf until a network has a reward
        errors = values.std(0, ddof=1) / math.sqrt(len(curves))
    known = np.isfinite(values).all(0)
    return [
        Point(row + 1, mean, error)
        for row, mean, error in zip(rows[known], values.mean(0)[known], errors[known], strict=True)
    ]


def _networks(runs: Sequence[Run], bests: Sequence[dict[str, Any]]) -> Chart:
    """Return a chart of the best network of each search and its Pareto front."""
    listed: list[Listed] = []
    series = []
    for place, (run, best) in enumerate(zip(runs, bests, strict=True)):
        colour, index = COLOURS[place % len(COLOURS)], None
        if best.get("architecture"):
            index = len(listed)
            listed.append(
                listed_network(
                    Architecture.from_dict(best["architecture"]),
                    title=f"{run.name}: {best['accuracy']:.2f}%, {short(best['flops'])} FLOPs",
                    figures=[(f"{best['accuracy']:.2f}%", "top-1")],
                )
            )
        point = Point(best["flops"] / 1e6, best["accuracy"], best.get("accuracy_std"), index)
        series.append(Series(f"{run.name}, best", [point], "diamond", colour))
        series.append(Series(f"{run.name}, front", _front(run), "stairs", colour))
    return Chart(
        x=Axis("FLOPs: multiply-adds of one image, in millions"),
        y=Axis("accuracy (%)"),
        series=series,
        alt="The best network and the Pareto front of every search.",
        networks=listed,
        chosen=0 if listed else None,
        limits=LIMITS,
    )


def _front(run: Run) -> list[Point]:
    """Return the points in pareto.csv of a search."""
    path = run.folder / "pareto.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [Point(float(row["flops"]) / 1e6, float(row["accuracy"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise DamagedRun(f"{path} is missing or damaged; resume the search") from None
