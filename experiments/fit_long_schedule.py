"""Fit the model of ImageNet top-1 under a longer schedule that ships with the surrogate.

Data: 80 networks of Accel-NASBench (Ahmad et al., DAC 2024; Apache-2.0), each trained with three
seeds under the short schedule of the surrogate's measurements and under one that is 5.7 times
longer. None of them is among the 4,623 networks of the surrogate, so its predictions are those of
new networks. The inputs are the predictions of the surrogate and not the measured short accuracies,
because a search has only predictions.

Writes nas/evaluators/imagenet_long_schedule.json, results/long_schedule.json and a figure. Reported
for leave-one-out and for repeated tenfold cross-validation: errors, coverage of the intervals,
extrapolation (fitted without the best quarter), and the calibration of the probability that one
network is better than another. Goals: MAE at most .35, 95% intervals cover 90 to 99%. Time: a
minute.

    python -m experiments.fit_long_schedule
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.fit_imagenet_surrogate import ROOT, SHARED, SOURCE
from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, run_experiment, settings_of_machine
from experiments.lib.surrogate_scores import NORMAL_68, NORMAL_95, kendall_tau
from nas.evaluators.long_schedule import (
    LongSchedule,
    OwnAccuracy,
    design,
    read_long_schedule,
    write_long_schedule,
)
from nas.evaluators.ranking import probability_better
from nas.evaluators.stage_tables import Tables
from nas.evaluators.surrogate import read_surrogate
from search_spaces.catalog import space as space_named
from search_spaces.space import SearchSpace
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

UNIT = (
    "ImageNet top-1 in percent under a training schedule 5.7 times longer than the short one "
    "(EfficientNet-B0: about 72.5), not its 350 epochs"
)
LONGER = 5.7
# percent; the deviation between seeds is proportional to the distance from it: .0128, .0144, .0150
# and .0143 of the distance in the four quarters of the networks
CEILING = 80.0
SEEDS = (1, 2, 3)
# prior deviations of the weights in points, for inputs of deviation 1: constant and slope are free
PRIOR = np.array([1e3, 1e3, 0.5, 1.0, 1.0, 1.0, 1.0])
GOAL_MAE, GOAL_95 = 0.35, (0.90, 0.99)


def surrogate_tables() -> Tables:
    """Return the shipped tables of the short schedule."""
    return read_surrogate(ROOT / "nas" / "evaluators" / "imagenet_surrogate.npz").tables


class Trainings(NamedTuple):
    """Networks under both schedules.

    genotypes  int8 [n, decisions]; short and long: [n, 3] top-1 by seed, percent.
    predicted  short accuracy without seed noise, as predicted by the surrogate; logs: [n, 4] of
               `Tables.logs`.
    """

    genotypes: np.ndarray
    short: np.ndarray
    long: np.ndarray
    predicted: OwnAccuracy
    logs: np.ndarray

    def rows(self, chosen: np.ndarray) -> Trainings:
        """Return the chosen networks."""
        predicted = OwnAccuracy(self.predicted.mean[chosen], self.predicted.std[chosen])
        return Trainings(
            self.genotypes[chosen],
            self.short[chosen],
            self.long[chosen],
            predicted,
            self.logs[chosen],
        )


def read_trainings(path: Path, space: SearchSpace) -> Trainings:
    """Read the table of both schedules; raises ValueError if it does not exist."""
    if not path.is_file():
        raise ValueError(f"trainings: {path} does not exist; use --trainings FILE")
    import pandas

    table = pandas.read_parquet(path)
    columns = [
        [options.index(type(options[0])(value)) for value in table[name]]
        for name, options in space.choices.items()
    ]
    genotypes = np.array(columns, np.int8).T
    tables = surrogate_tables()
    short, long = (
        table[[f"{schedule}_top1_seed{seed}" for seed in SEEDS]].to_numpy()
        for schedule in ("short", "long")
    )
    own = OwnAccuracy(*tables.predict_own(genotypes))
    return Trainings(genotypes, short, long, own, tables.logs(genotypes))


def fit_long(data: Trainings) -> LongSchedule:
    """Fit the model: weighted least squares with a prior on all weights but constant and slope.

    The remaining deviation, beyond the uncertainty of the surrogate and of the seeds, maximises the
    marginal likelihood.
    """
    from scipy.optimize import minimize_scalar

    inputs = np.column_stack([data.predicted.mean, data.logs])
    center, scale = inputs.mean(0), inputs.std(0)
    columns = design((inputs - center) / scale)
    means = data.long.mean(1)
    distance = CEILING - means
    seeds = float(np.sqrt((data.long.var(1, ddof=1) / distance**2).mean()))
    slope = np.polyfit(data.predicted.mean, means, 1)[0]
    passed_on = (slope * data.predicted.std) ** 2

    def posterior(left: float) -> tuple[float, np.ndarray, np.ndarray]:
        variance = passed_on + (left**2 + seeds**2 / len(SEEDS)) * distance**2
        weighted = columns / variance[:, None]
        precision = weighted.T @ columns + np.diag(PRIOR**-2)
        covariance = np.linalg.inv(precision)
        weights = covariance @ (weighted.T @ means)
        residual = means - columns @ weights
        fit = (residual**2 / variance).sum() + ((weights / PRIOR) ** 2).sum()
        evidence = -(fit + np.log(variance).sum() + np.linalg.slogdet(precision)[1]) / 2
        return evidence, weights, covariance

    best = minimize_scalar(
        lambda log: -posterior(float(np.exp(log)))[0], bounds=(-9, -1), method="bounded"
    )
    left = float(np.exp(best.x))
    _, weights, covariance = posterior(left)
    return LongSchedule(
        unit=UNIT,
        source=SOURCE,
        longer=LONGER,
        center=center,
        scale=scale,
        weights=weights,
        covariance=covariance,
        ceiling=CEILING,
        left=left,
        seeds=seeds,
        fitted=(float(data.predicted.mean.min()), float(data.predicted.mean.max())),
    )


class Held(NamedTuple):
    """Predictions of held-out networks, percent: accuracy without noise, deviation of seeds [n]."""

    own: OwnAccuracy
    seeds: np.ndarray


def predicted_by(model: LongSchedule, data: Trainings) -> Held:
    """Return the model's predictions for some trainings."""
    return Held(*model.predict(*data.predicted, data.logs))


def cross_validated(data: Trainings, fold: np.ndarray) -> Held:
    """Return the predictions of each fold by a model of the other folds."""
    mean, std, seeds = (np.empty(len(fold)) for _ in range(3))
    for index in np.unique(fold):
        held = fold == index
        own, spread = predicted_by(fit_long(data.rows(~held)), data.rows(held))
        mean[held], std[held], seeds[held] = own.mean, own.std, spread
    return Held(OwnAccuracy(mean, std), seeds)


def scores(data: Trainings, held: Held) -> dict[str, Any]:
    """Return errors in points against the mean of the seeds, and the coverage of the intervals."""
    error = held.own.mean - data.long.mean(1)
    mean_std = np.hypot(held.own.std, held.seeds / np.sqrt(len(SEEDS)))
    one_std = np.hypot(held.own.std, held.seeds)[:, None]
    each = np.abs(held.own.mean[:, None] - data.long)
    return {
        "networks": len(error),
        "mae": round(float(np.abs(error).mean()), 4),
        "mae_of_one_training": round(float(each.mean()), 4),
        "rmse": round(float(np.sqrt((error**2).mean())), 4),
        "bias": round(float(error.mean()), 4),
        "kendall_tau": round(kendall_tau(held.own.mean, data.long.mean(1)), 4),
        "std_of_one_training": round(float(one_std.mean()), 4),
        "coverage_68": round(float((each <= NORMAL_68 * one_std).mean()), 4),
        "coverage_95": round(float((each <= NORMAL_95 * one_std).mean()), 4),
        "coverage_95_of_the_mean": round(float((np.abs(error) <= NORMAL_95 * mean_std).mean()), 4),
    }


def pairs(data: Trainings, held: Held, chosen: np.ndarray) -> list[dict[str, Any]]:
    """Return how often the network with a given probability of being better had the better mean.

    The uncertainty of the means of three seeds is added to the deviations.
    """
    std = np.hypot(held.own.std, held.seeds / np.sqrt(len(SEEDS)))
    left, right = np.triu_indices(len(chosen), 1)
    left, right = chosen[left], chosen[right]
    mean, measured = held.own.mean, data.long.mean(1)
    chance = probability_better(mean[left], std[left], mean[right], std[right])
    won = (measured[left] > measured[right]) == (chance >= 0.5)
    sure = np.maximum(chance, 1 - chance)
    edges = [0.5, 0.6, 0.7, 0.8, 0.9, 0.98, 1.0 + 1e-9]
    rows = []
    for low, high in itertools.pairwise(edges):
        part = (sure >= low) & (sure < high)
        if part.any():
            said, was = float(sure[part].mean()), float(won[part].mean())
            rows.append({"pairs": int(part.sum()), "said": round(said, 3), "was": round(was, 3)})
    return rows


def baselines(data: Trainings) -> list[dict[str, Any]]:
    """Return the leave-one-out MAE of simpler models and of models of measured short accuracies."""
    means = data.long.mean(1)

    def error(columns: np.ndarray) -> float:
        columns = np.column_stack([np.ones(len(means)), columns])
        hat = columns @ np.linalg.pinv(columns)
        return float(np.abs((means - hat @ means) / (1 - np.diag(hat))).mean())

    tried = {
        "one measured short training, straight line": data.short[:, 0],
        "mean of three measured short trainings, straight line": data.short.mean(1),
        "surrogate, straight line": data.predicted.mean,
        "surrogate, log FLOPs and log params": np.column_stack(
            [data.predicted.mean, data.logs[:, :2]]
        ),
        "surrogate and all four logs, least squares": np.column_stack(
            [data.predicted.mean, data.logs]
        ),
    }
    return [{"model": name, "mae": round(error(columns), 4)} for name, columns in tried.items()]


def draw(path: Path, data: Trainings, held: Held, model: LongSchedule) -> None:
    """Draw held-out predictions, and the deviation inside and outside the fitted range."""
    figure = new_figure(10, 4.4)
    left, right = figure.subplots(1, 2)
    means = data.long.mean(1)
    std = np.hypot(held.own.std, held.seeds)
    left.errorbar(held.own.mean, means, xerr=std, fmt=".", markersize=4, linewidth=0.5)
    low, high = means.min() - 0.5, means.max() + 0.5
    left.plot([low, high], [low, high], "k-", linewidth=0.8)
    left.set(
        title=f"Leave one out: MAE {np.abs(held.own.mean - means).mean():.3f} points",
        xlabel="predicted top-1, 5.7 times longer schedule (%)",
        ylabel="measured, mean of three seeds (%)",
    )
    short = np.linspace(48, 72, 100)
    own, seeds = model.predict(short, np.zeros(100), np.tile(model.center[1:], (100, 1)))
    right.plot(short, np.hypot(own.std, seeds), label="one training, short accuracy known")
    right.axvspan(*model.fitted, alpha=0.1, label="fitted networks")
    right.set(
        title="Deviation of a prediction",
        xlabel="own top-1, short schedule (%)",
        ylabel="standard deviation (points)",
        ylim=(0, None),
    )
    right.legend()
    save_png(figure, path)


def report(data: Trainings, model: LongSchedule, fold_seeds: Sequence[int]) -> dict[str, Any]:
    """Return the content of the result file."""
    count = len(data.long)
    everyone = np.arange(count)
    held = cross_validated(data, everyone)
    best = np.argsort(-data.long.mean(1))[: count // 4]
    below = np.ones(count, bool)
    below[best] = False
    beyond = predicted_by(fit_long(data.rows(below)), data.rows(best))
    tenfold = {}
    for seed in fold_seeds:
        fold = np.random.default_rng(seed).permutation(everyone) % 10
        tenfold[str(seed)] = scores(data, cross_validated(data, fold))
    predicted_top = np.argsort(-held.own.mean)[:30]
    top = data.rows(predicted_top)
    top_held = Held(OwnAccuracy(*(x[predicted_top] for x in held.own)), held.seeds[predicted_top])
    b0 = space_named("efficientnet")
    genotype = b0.encode(b0.references["EfficientNet-B0"])[None]
    tables = surrogate_tables()
    own, seeds = model.predict(*tables.predict_own(genotype), tables.logs(genotype))
    return {
        "leave_one_out": scores(data, held),
        "tenfold": tenfold,
        "fitted_without_the_best_quarter": scores(data.rows(best), beyond),
        "the_30_predicted_best": scores(top, top_held),
        "pairs": pairs(data, held, everyone),
        "pairs_of_the_30_predicted_best": pairs(data, held, predicted_top),
        "baselines": baselines(data),
        "surrogate_of_short": {
            "mae_of_three_seeds": round(
                float(np.abs(data.predicted.mean - data.short.mean(1)).mean()), 4
            ),
            "own_std": round(float(data.predicted.std.mean()), 4),
        },
        "efficientnet_b0": {
            "predicted": round(float(own.mean[0]), 2),
            "std_of_one_training": round(float(np.hypot(own.std, seeds)[0]), 2),
        },
        "model": {
            "left": round(model.left, 5),
            "seeds": round(model.seeds, 5),
            "slope_at_center": round(float(model.slope(model.center[:1])[0]), 4),
            "weights": [round(float(weight), 4) for weight in model.weights],
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = experiment_arguments(__doc__)
    parser.add_argument(
        "--trainings",
        type=Path,
        default=SHARED / "imagenet_measurements" / "two_schedules.parquet",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "nas" / "evaluators" / "imagenet_long_schedule.json"
    )
    parser.add_argument("--results", type=Path, default=RESULTS / "long_schedule.json")
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(argv)
    start = time.perf_counter()
    data = read_trainings(args.trainings, space_named("efficientnet"))
    write_long_schedule(args.out, fit_long(data))
    model = read_long_schedule(args.out)
    found = report(data, model, args.fold_seeds)
    held = cross_validated(data, np.arange(len(data.long)))
    draw_picture(args.results.with_suffix(".png"), lambda path: draw(path, data, held, model))
    goals = {"mae_at_most": GOAL_MAE, "coverage_95_within": list(GOAL_95)}
    settings = {"networks": len(data.long), "seeds": len(SEEDS), "fold_seeds": args.fold_seeds}
    settings |= {"ceiling": CEILING, "prior": PRIOR.tolist()}
    write_json(
        args.results,
        {"unit": UNIT, "source": SOURCE, "settings": settings, "goals": goals}
        | settings_of_machine()
        | found
        | {"seconds": round(time.perf_counter() - start, 1)},
    )
    print_out(*(f"{key}: {found[key]}" for key in ("leave_one_out", "pairs", "efficientnet_b0")))
    return 0


if __name__ == "__main__":
    run_experiment("experiments.fit_long_schedule")
