"""Tables and figure of `experiments.fewer_trainings`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.replay import evaluations_to, unpacked
from experiments.lib.replay_curves import (
    SEARCHES,
    regret_at,
    seconds_known,
    seconds_to_each,
    seconds_to_mean,
)
from experiments.lib.replay_jobs import (
    BUDGETS,
    CLUSTERS,
    GRID,
    GRID_WORKERS,
    RUNGS,
    WORKERS,
    RecordedCurves,
)
from vbs.figure import new_figure, save_png

Run = dict[str, Any]
REACHED = (50, 80, 100)  # evaluations of the predictor with one worker
RESAMPLED = 300  # bootstrap draws of the seeds, for the standard errors


def summary(runs: list[Run], curves: RecordedCurves) -> dict[str, Any]:
    """Return all numbers of the tables, without arms that some seeds lack."""
    return {
        "asynchronous": asynchronous(runs),
        "curves": stopped_early(runs, curves),
        "asha_grid": grid(runs, curves),
    }


def own(runs: list[Run], part: str, name: str, workers: int, rungs: Any = None) -> list[Run]:
    """Return the runs of one arm, by seed."""
    wanted = None if rungs is None else [rungs[0], rungs[1]]
    found = [
        run
        for run in runs
        if (run["part"], run["strategy"], run["workers"]) == (part, name, workers)
        and run["rungs"] == wanted
    ]
    return sorted(found, key=lambda run: run["seed"])


def asynchronous(runs: list[Run]) -> dict[str, Any]:
    """Return by strategy and workers: accuracy after REACHED, evaluations needed, loss, hours."""
    alone = own(runs, "async", "predictor", 1)
    if not alone:
        return {}
    reference = accuracies(alone)
    table: dict[str, Any] = {}
    for name in BUDGETS:
        for workers in (1, WORKERS):
            arm = own(runs, "async", name, workers)
            if not arm:
                continue
            curves = accuracies(arm)
            row: dict[str, Any] = {"seeds": len(arm), "evaluations_to": {}, "loss": {}}
            row["accuracy"] = {n: round(float(curves[:, n - 1].mean()), 3) for n in REACHED}
            row["hours_of_100"] = round(
                float(np.mean([unpacked(run["seconds"])[:100].max() for run in arm])) / 3600, 2
            )
            for n in REACHED:
                needed, error = evaluations_needed(reference, curves, n)
                row["evaluations_to"][n] = needed
                row["loss"][n] = None if needed is None else round(needed / n - 1, 3)
                row.setdefault("delay", {})[n] = round((workers - 1) / n, 3)
                row.setdefault("loss_standard_error", {})[n] = error
            table[f"{name}, {workers} at once"] = row
    return table


def accuracies(runs: list[Run]) -> np.ndarray:
    """Return the accuracy [seeds, evaluations]."""
    return np.array([unpacked(run["accuracy"]) for run in runs])


def evaluations_needed(
    reference: np.ndarray, curves: np.ndarray, count: int
) -> tuple[float | None, float | None]:
    """Return the evaluations after which an accuracy is reached, and the error of their ratio.

    The accuracy is that of the reference after `count` evaluations; None if it is never reached.
    The error is the standard error of evaluations / count, by bootstrap over seeds.
    """
    goal = np.maximum.accumulate(reference.mean(0))[count - 1]
    needed = evaluations_to(curves.mean(0), goal)
    if math.isinf(needed):
        return None, None
    rng = np.random.default_rng(0)
    paired = min(len(reference), len(curves))
    draws = []
    for _ in range(RESAMPLED):
        seeds = rng.integers(0, paired, paired)
        goal = np.maximum.accumulate(reference[seeds].mean(0))[count - 1]
        draws.append(min(evaluations_to(curves[seeds].mean(0), goal), curves.shape[1]) / count)
    return round(needed, 1), round(float(np.std(draws)), 3)


def stopped_early(runs: list[Run], curves: RecordedCurves) -> dict[str, Any]:
    """Return the three costs by strategy, workers and ASHA, and their ratio to those without."""
    table: dict[str, Any] = {}
    for name in SEARCHES:
        for workers in CLUSTERS:
            full = own(runs, "curves", name, workers)
            if not full:
                continue
            for rungs in (None, RUNGS):
                arm = own(runs, "curves", name, workers, rungs)
                if arm:
                    label = f"{name}, {workers} at once" + (", ASHA" if rungs else "")
                    table[label] = costs(arm, full, curves)
    return table


def costs(arm: list[Run], full: list[Run], curves: RecordedCurves) -> dict[str, Any]:
    """Return training seconds of an arm for the same result, and relative to those without ASHA."""
    half = float(np.mean([seconds_known(run, curves.networks // 2) for run in full]))
    regret = float(regret_at(full, np.array([half]))[0])
    within = curves.seed_noise_sd or 0.0
    found = seconds_to_each(arm, within, curves.seconds)
    whole = float(np.mean([run["total"] for run in arm]))
    row = {
        "seeds": len(arm),
        "regret_of_half": round(regret, 3),
        "seconds_to_regret_of_half": finite(seconds_to_mean(arm, regret)),
        "seconds_to_best": round(float(found.mean()), 1),
        "never_found": sum(bool(unpacked(run["regret"])[-1] > within) for run in arm),
        "seconds_whole_pool": round(whole, 1),
        "hours_whole_pool": round(float(np.mean([run["wall"] for run in arm])) / 3600, 3),
        "regret_left": round(float(np.mean([unpacked(run["regret"])[-1] for run in arm])), 3),
    }
    same = seconds_to_mean(full, regret)
    row["share_to_regret_of_half"] = finite(seconds_to_mean(arm, regret) / same, 3)
    best = seconds_to_each(full, within, curves.seconds).mean()
    row["share_to_best"] = round(float(found.mean() / best), 3)
    row["share_whole_pool"] = round(whole / float(np.mean([run["total"] for run in full])), 3)
    return row


def finite(value: float, digits: int = 1) -> float | None:
    """Return the rounded value; None if it is infinite."""
    return None if math.isinf(value) else round(value, digits)


def grid(runs: list[Run], curves: RecordedCurves) -> dict[str, Any]:
    """Return the predictor's costs with every first rung and factor that was tried."""
    full = own(runs, "curves", "predictor", GRID_WORKERS)
    table = {}
    for rungs in GRID:
        arm = own(runs, "curves", "predictor", GRID_WORKERS, rungs)
        if arm and full:
            table[f"first {rungs[0]}, factor {rungs[1]:g}"] = costs(arm, full, curves)
    return table


def markdown(table: dict[str, Any]) -> str:
    """Return the summary as Markdown tables."""
    lines = [
        "| search | "
        + " | ".join(f"accuracy at {n}" for n in REACHED)
        + " | "
        + " | ".join(f"needed for {n} (loss)" for n in REACHED)
        + " | hours of 100 |",
        "|---" * (2 + 2 * len(REACHED)) + "|",
    ]
    for name, row in table["asynchronous"].items():
        needed = [
            "more"
            if row["evaluations_to"][n] is None
            else f"{row['evaluations_to'][n]:.0f} ({row['loss'][n]:+.0%})"
            for n in REACHED
        ]
        cells = [*(f"{row['accuracy'][n]:.2f}" for n in REACHED), *needed]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {row['hours_of_100']:.1f} |")
    heads = (
        "search",
        "seconds to regret of half",
        "share",
        "seconds to best",
        "share",
        "seconds for all",
        "share",
        "regret left",
    )
    for part in ("curves", "asha_grid"):
        lines += ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        lines += [curve_row(name, row) for name, row in table[part].items()]
    return "\n".join(lines)


def curve_row(name: str, row: dict[str, Any]) -> str:
    """Return one line of the tables about early stopping."""
    cells: list[str] = []
    for seconds, share in (
        ("seconds_to_regret_of_half", "share_to_regret_of_half"),
        ("seconds_to_best", "share_to_best"),
        ("seconds_whole_pool", "share_whole_pool"),
    ):
        known = row[seconds] is not None
        cells += [f"{row[seconds]:.0f}", f"{row[share]:.2f}"] if known else ["never", ""]
    return f"| {name} | " + " | ".join(cells) + f" | {row['regret_left']:.2f} |"


COLOURS = {
    "predictor": "tab:blue",
    "random": "tab:gray",
    "optuna:tpe": "tab:orange",
    "optuna:tpe-multivariate": "tab:red",
}


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw accuracy against evaluations and against hours; regret against training seconds."""
    figure = new_figure(14, 4.6)
    left, middle, right = figure.subplots(1, 3)
    runs = result["runs"]
    for name in BUDGETS:
        for workers, style in ((1, "-"), (WORKERS, "--")):
            arm = own(runs, "async", name, workers)
            if not arm:
                continue
            accuracy = accuracies(arm).mean(0)
            seconds = np.mean(
                [np.maximum.accumulate(unpacked(run["seconds"])) for run in arm], axis=0
            )
            label = f"{name}, {workers} at once"
            left.plot(
                np.arange(len(accuracy)) + 1, accuracy, style, color=COLOURS[name], label=label
            )
            middle.plot(seconds / 3600, accuracy, style, color=COLOURS[name])
    low, high = 64.0, 66.7
    left.set(
        title="B0 space, 400M FLOPs",
        xlabel="evaluations begun",
        xlim=(0, 120),
        ylabel="accuracy of the best of five (%)",
        ylim=(low, high),
    )
    middle.set(
        title="the same on the cluster's clock", xlabel="hours", xscale="log", ylim=(low, high)
    )
    left.legend(fontsize=8, frameon=False, loc="lower right")
    draw_regret(right, result)
    for panel in (left, middle, right):
        panel.grid(alpha=0.3)
    save_png(figure, path)


def draw_regret(panel: Any, result: dict[str, Any]) -> None:
    """Draw mean regret against training seconds, with and without early stopping."""
    for name in SEARCHES:
        for rungs, style in ((None, "-"), (RUNGS, "--")):
            arm = own(result["runs"], "curves", name, CLUSTERS[1], rungs)
            if arm:
                moments = np.linspace(0, max(run["total"] for run in arm), 400)
                label = name + (", ASHA" if rungs else "")
                panel.plot(
                    moments, regret_at(arm, moments), style, color=COLOURS[name], label=label
                )
    networks = result["settings"]["curves"]["networks"]
    partial = "" if result["complete"] else " (partial)"
    panel.set(
        title=f"{networks} recorded CIFAR-10 curves, {CLUSTERS[1]} at once{partial}",
        xlabel="training seconds",
        ylabel="mean regret (points)",
        ylim=(0, None),
    )
    panel.legend(fontsize=8, frameon=False)
