"""Fit the regression over published trainings that predicts the gain of growing a network.

Data: 367 published ImageNet trainings in 51 groups of base and recipe, scaled in depth, width and
resolution, collected from papers and repositories with their sources in ../shared/reference/
published_scaling.csv. Recipes differ, no training has a second seed, and in several series the
regularisation grows with the network: the regression describes what growing has gained elsewhere,
not what it causes.

Writes scaling/published/published_scaling.json, results/published_scaling.json and two figures:
published_scaling.png, and published_forecasts.png with the forecasts of the next member of a
series. Reported: errors, order of pairs at equal FLOPs and coverage with whole groups held out (two
tables of the same trainings count as one) and with whole bases held out; B1 to B7 from B0 alone
with every series of B networks held out; Lite, V2-B and ResNet series; forecasts from the first
members; the flatness of the optimum; other ceilings of the response. Goals: MAE at most .75 points,
85% of the pairs, coverage within 5 points of nominal, B1 to B7 within 1 point, forecasts of B4
within 1.
Time: a minute.

    python -m experiments.fit_published_scaling
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.fit_imagenet_surrogate import ROOT, SHARED
from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, run_experiment, settings_of_machine
from experiments.lib.forecast_errors import draw_forecasts, forecast_errors
from experiments.lib.published_table import (
    PAIR_FLOPS,
    PAIR_TOP1,
    Table,
    equal_flops,
    read_table,
)
from experiments.lib.surrogate_scores import NORMAL_68, NORMAL_95
from scaling.published import fit as fitting
from scaling.published import model as response
from scaling.published.fit import Fitted, Trainings, fit_growth
from scaling.published.forecasts import forecast_by
from scaling.published.model import (
    AXES,
    CEILING,
    INTERACTIONS,
    SQUARES,
    GrowthModel,
    Published,
    factors_between,
    latent,
    load_published,
    steepness,
    terms,
    top1_of,
    write_published,
)
from scaling.published.optimum import best_split, flatness
from search_spaces.catalog import zoo
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

NAMES = {"squares": SQUARES, "interactions": INTERACTIONS}
LINEAR = ("d", "w", "r")
B_SERIES = ("efficientnet_b0/", "efficientnet_lite0/")  # groups with B networks, including Lite
CEILINGS = (100.0, 95.0, 92.0, 90.0)
# timm 1.0.31, results-imagenet.csv, tf_efficientnetv2_b0..b3.in1k at 224, 240, 260 and 300 px; not
# among the trainings that the regression is fitted to
V2_SIDES = (224, 240, 260, 300)
GOALS = {
    "mae_at_most": 0.75,
    "pairs_at_least": 0.85,
    "coverage_within": 0.05,
    "b1_to_b7_within": 1.0,
    "b4_forecast_within": 1.0,
}


class Held(NamedTuple):
    """Predicted gains of held-out trainings and their deviations, in points, [n] each."""

    points: np.ndarray
    std: np.ndarray


def predicted(models: Sequence[GrowthModel], logs: np.ndarray, base_top1: np.ndarray) -> Held:
    """Return the gains of networks over their bases, by the mean of the models."""
    base = latent(base_top1)
    points, variance = [], []
    for each in models:
        change, std = each.change(terms(logs, base, each.names))
        reached = top1_of(base + change)
        points.append(reached - base_top1)
        variance.append((steepness(reached) * std) ** 2)
    mean = np.mean(points, axis=0)
    return Held(mean, np.sqrt(np.mean(variance, axis=0) + np.var(points, axis=0)))


def cross_validated(
    data: Trainings, fold: np.ndarray, fits: Mapping[str, Fitted]
) -> dict[str, list[GrowthModel]]:
    """Return for each fold, in order, the models fitted to the other folds."""
    return {
        name: [
            fit_growth(data.rows(fold != index), fit.model.names, start=fit.deviations).model
            for index in np.unique(fold)
        ]
        for name, fit in fits.items()
    }


def held_out(
    data: Trainings, fold: np.ndarray, models: Mapping[str, Sequence[GrowthModel]]
) -> Held:
    """Return the predictions of each fold by the models of the other folds."""
    points, std = np.zeros(len(fold)), np.zeros(len(fold))
    for place, index in enumerate(np.unique(fold)):
        rows = fold == index
        chosen = [each[place] for each in models.values()]
        points[rows], std[rows] = predicted(chosen, data.logs[rows], data.base_top1[rows])
    return Held(points, std)


def scores(table: Table, held: Held) -> dict[str, Any]:
    """Return errors in points, coverage, and the share of pairs at equal FLOPs in order."""
    data, rows = table.trainings, table.scored
    gain = data.top1 - data.base_top1
    error = (held.points - gain)[rows]
    sigmas = np.abs(error) / held.std[rows]
    left, right = equal_flops(table)
    truth = np.sign(gain[left] - gain[right])
    ours = np.sign(held.points[left] - held.points[right])
    flops = np.sign(table.flops[left] - table.flops[right])
    grown = (data.logs[rows] >= 0).all(1)
    return {
        "trainings": int(rows.sum()),
        "mae": round(float(np.abs(error).mean()), 3),
        "median_error": round(float(np.median(np.abs(error))), 3),
        "bias": round(float(error.mean()), 3),
        "mae_of_grown": round(float(np.abs(error[grown]).mean()), 3),
        "mae_of_shrunk": round(float(np.abs(error[~grown]).mean()), 3),
        "coverage_68": round(float((sigmas <= NORMAL_68).mean()), 3),
        "coverage_95": round(float((sigmas <= NORMAL_95).mean()), 3),
        "pairs": len(left),
        "pairs_right": int((ours == truth).sum()),
        "pairs_share": round(float((ours == truth).mean()), 3),
        "pairs_share_by_flops": round(float((flops == truth).mean()), 3),
    }


def widening(table: Table, held: Held) -> float:
    """Return the factor of the deviations with which 68% and 95% intervals have the best coverage.

    The errors have heavier tails than a normal variable, so one factor cannot meet both exactly; it
    minimises the larger of the two differences.
    """
    data, rows = table.trainings, table.scored
    sigmas = np.abs(held.points - data.top1 + data.base_top1)[rows] / held.std[rows]

    def miss(factor: float) -> float:
        inner = float((sigmas <= NORMAL_68 * factor).mean()) - 0.68
        outer = float((sigmas <= NORMAL_95 * factor).mean()) - 0.95
        return max(abs(inner), abs(outer))

    return float(min(np.arange(0.6, 1.4, 0.01), key=miss))


def widened(models: Sequence[GrowthModel], factor: float) -> list[GrowthModel]:
    """Return the models with their deviations multiplied by a factor."""
    return [dataclasses.replace(each, widened=factor) for each in models]


def b_from_b0(table: Table, fits: Mapping[str, Fitted], factor: float) -> dict[str, Any]:
    """Return errors of B1 to B7 and Lite from their bases, with every B series held out."""
    apart = np.array([name.startswith(B_SERIES) for name in table.groups])
    data = table.trainings
    left = data.rows(~apart[data.group])
    models = {
        name: dataclasses.replace(
            fit_growth(left, fit.model.names, start=fit.deviations).model, widened=factor
        )
        for name, fit in fits.items()
    }
    found: dict[str, Any] = {
        "held_out": sorted({n for n in table.groups if n.startswith(B_SERIES)})
    }
    for group in ("efficientnet_b0/en-aa", "efficientnet_lite0/tpu-lite"):
        rows = table.of(group)[1:]
        truth = data.top1[rows]
        part: dict[str, Any] = {"published": truth.tolist()}
        for name, chosen in {
            **{n: [m] for n, m in models.items()},
            "both": [*models.values()],
        }.items():
            held = predicted(chosen, data.logs[rows], data.base_top1[rows])
            error = held.points + data.base_top1[rows] - truth
            part[name] = {
                "predicted": (held.points + data.base_top1[rows]).round(2).tolist(),
                "std": held.std.round(2).tolist(),
                "error": error.round(2).tolist(),
                "largest_error": round(float(np.abs(error).max()), 2),
            }
        found[group] = part
    return found


def by_series(table: Table, held: Held) -> list[dict[str, Any]]:
    """Return one row for each group: errors with the group held out."""
    data, rows = table.trainings, []
    for index, name in enumerate(table.groups):
        chosen = (data.group == index) & table.scored
        error = (held.points - data.top1 + data.base_top1)[chosen]
        sigmas = np.abs(error) / held.std[chosen]
        rows.append(
            {
                "group": name,
                "trainings": int(chosen.sum()),
                "mae": round(float(np.abs(error).mean()), 2),
                "bias": round(float(error.mean()), 2),
                "largest": round(float(np.abs(error).max()), 2),
                "within_95": round(float((sigmas <= NORMAL_95).mean()), 2),
            }
        )
    return rows


def v2_b(timm: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return real factors [4, 3] and top-1 [4] of EfficientNetV2-B0 to B3, which no fit uses."""
    import pandas

    table = pandas.read_csv(timm)
    base = dataclasses.replace(zoo("efficientnetv2_b0"), resolution=V2_SIDES[0])
    factors, top1 = [], []
    for index, side in enumerate(V2_SIDES):
        network = dataclasses.replace(zoo(f"efficientnetv2_b{index}"), resolution=side)
        factors.append(factors_between(base, network))
        named = (table.model == f"tf_efficientnetv2_b{index}.in1k") & (table.img_size == side)
        top1.append(float(table.top1[named].iloc[0]))
    return np.array(factors), np.array(top1)


def forecasts(
    table: Table,
    models: Mapping[str, Sequence[GrowthModel]],
    without_b: Sequence[GrowthModel],
    v2: tuple[np.ndarray, np.ndarray] | None,
) -> list[dict[str, Any]]:
    """Return forecasts of the next member from two or more members, with the group held out."""
    data, rows = table.trainings, []
    series = [name for name in table.groups if len(table.of(name)) >= 3 and _compound(table, name)]
    folds = list(np.unique(table.fold))
    for name in series:
        members = table.of(name)
        members = members[np.argsort(data.logs[members] @ np.array([1.0, 2.0, 2.0]), kind="stable")]
        chosen: Sequence[GrowthModel] = [
            each[folds.index(table.fold[members[0]])] for each in models.values()
        ]
        if name.startswith(B_SERIES):
            chosen = without_b
        rows += _forecast_rows(name, np.exp(data.logs[members]), data.top1[members], chosen)
    if v2 is not None:
        rows += _forecast_rows(
            "efficientnetv2_b0/timm", *v2, list(load_published().models.values())
        )
    return rows


def _compound(table: Table, name: str) -> bool:
    """Return whether a group is one series of growing networks, not a grid."""
    return name.startswith(
        ("efficientnet_b0/en", "efficientnet_b0/pycls", "efficientnet_lite")
    ) or (name.startswith(("resnet50/", "resnet_rs50/")) and "table3" not in name)


def _forecast_rows(
    name: str, factors: np.ndarray, top1: np.ndarray, models: Sequence[GrowthModel]
) -> list[dict[str, Any]]:
    rows = []
    for known in range(2, len(top1)):
        found = forecast_by(models, factors[:known], top1[:known], factors[known : known + 1])
        error = float(found.top1[0] - top1[known])
        rows.append(
            {
                "series": name,
                "from_members": known,
                "published": round(float(top1[known]), 2),
                "predicted": round(float(found.top1[0]), 2),
                "std": round(float(found.std[0]), 2),
                "error": round(error, 2),
                "inside_95": bool(abs(error) <= NORMAL_95 * found.std[0]),
            }
        )
    return rows


def optima(base_top1: float) -> list[dict[str, Any]]:
    """Return the best split of three growths by each model, and how flat the optimum is."""
    rows = []
    for growth, model in itertools.product((2.0, 4.0, 8.0), ("squares", "interactions", "both")):
        found = best_split(growth, base_top1=base_top1, model=model)
        rows.append(
            {
                "growth": growth,
                "model": model,
                "shares": found.shares.round(2).tolist(),
                "coefficients": found.coefficients.round(3).tolist(),
                "intervals_95": found.intervals.round(3).tolist(),
                "gain": round(found.gain, 2),
                "std": round(found.std, 2),
                "losses": {name: round(loss, 3) for name, loss in found.losses.items()},
                "share_ranges_of_ties": found.tie_ranges.round(2).tolist(),
            }
            | {name: round(value, 3) for name, value in flatness(found).items()}
        )
    return rows


def ceilings(table: Table) -> list[dict[str, Any]]:
    """Return errors with other ceilings of the response and without squares, variances fixed."""
    rows: list[dict[str, Any]] = []
    variants = [(ceiling, NAMES) for ceiling in CEILINGS] + [(CEILING, {"linear": LINEAR})]
    for ceiling, names in variants:
        for module in (response, fitting):
            module.CEILING = ceiling  # type: ignore[attr-defined]
        fits = {name: fit_growth(table.trainings, chosen) for name, chosen in names.items()}
        models = cross_validated(table.trainings, table.fold, fits)
        top1 = table.trainings.top1
        density = float(-np.log(steepness(top1)).sum())
        tried = {name: {name: each} for name, each in models.items()}
        if len(models) > 1:
            tried["both"] = models
        for name, chosen in tried.items():
            found = scores(table, held_out(table.trainings, table.fold, chosen))
            kept = ("mae", "median_error", "mae_of_grown", "pairs_share")
            row: dict[str, Any] = {"ceiling": ceiling, "model": name}
            row |= {key: found[key] for key in kept}
            if name in fits:
                row["log_evidence"] = round(fits[name].evidence + density, 1)
            rows.append(row)
    for module in (response, fitting):
        module.CEILING = CEILING  # type: ignore[attr-defined]
    return rows


def draw(path: Path, table: Table, held: Held, base_top1: float) -> None:
    """Draw held-out gains, gains along each axis, and a triangle of the splits at 2x FLOPs."""
    data, rows = table.trainings, table.scored
    figure = new_figure(15, 4.6)
    left, middle, right = figure.subplots(1, 3)
    gain = (data.top1 - data.base_top1)[rows]
    left.errorbar(
        held.points[rows], gain, xerr=held.std[rows], fmt=".", markersize=3, linewidth=0.3
    )
    left.plot([gain.min(), gain.max()], [gain.min(), gain.max()], "k-", linewidth=0.8)
    error = np.abs(held.points[rows] - gain).mean()
    left.set(
        title=f"Held-out groups: MAE {error:.2f} points",
        xlabel="predicted gain over the base (points)",
        ylabel="published",
    )
    growth = np.exp(np.linspace(0, np.log(16), 60))
    base = np.full(60, base_top1)
    models = list(load_published().models.values())
    for index, (axis, power) in enumerate(zip(AXES, (1, 2, 2), strict=True)):
        logs = np.zeros((60, 3))
        logs[:, index] = np.log(growth) / power
        found = predicted(models, logs, base)
        (line,) = middle.plot(growth, found.points, label=f"{axis} alone")
        middle.fill_between(
            growth,
            found.points - found.std,
            found.points + found.std,
            alpha=0.12,
            color=line.get_color(),
        )
    logs = np.log(growth)[:, None] * np.array([1 / 3, 1 / 6, 1 / 6])
    middle.plot(growth, predicted(models, logs, base).points, "k--", label="equal shares")
    middle.set(
        title=f"From {base_top1:g}% (bands: 1 deviation)",
        xlabel="FLOPs over the base",
        ylabel="predicted gain (points)",
        xscale="log",
    )
    middle.legend()
    _draw_triangle(figure, right, base_top1)
    save_png(figure, path)


def _draw_triangle(figure: Any, axes: Any, base_top1: float) -> None:
    """Draw the points that each split of 2x FLOPs loses to the best split."""
    found = best_split(2.0, base_top1=base_top1)
    loss = found.expected.max() - found.expected
    x = found.places[:, 1] + found.places[:, 2] / 2
    points = axes.scatter(x, found.places[:, 2] * 0.866, c=loss, s=12, cmap="viridis_r")
    tied = found.ties
    axes.plot(
        x[tied], found.places[tied, 2] * 0.866, "r.", markersize=1.5, label="within 0.3 points"
    )
    figure.colorbar(points, ax=axes, label="points below the best")
    for text, place in (
        ("depth", (-0.02, -0.07)),
        ("width", (0.92, -0.07)),
        ("resolution", (0.4, 0.9)),
    ):
        axes.annotate(text, place)
    axes.set(
        title="Splits of 2x FLOPs", xticks=[], yticks=[], xlim=(-0.08, 1.08), ylim=(-0.12, 1.0)
    )
    axes.legend(loc="upper left", fontsize=7)


def report(table: Table, out: Path, timm: Path, picture: Path) -> dict[str, Any]:
    """Fit, cross-validate and write the models, draw the figure; return the result file."""
    data = table.trainings
    fits = {name: fit_growth(data, names) for name, names in NAMES.items()}
    models = cross_validated(data, table.fold, fits)
    factor = widening(table, held_out(data, table.fold, models))
    models = {name: widened(each, factor) for name, each in models.items()}
    held = held_out(data, table.fold, models)
    ranges = {
        axis: (float(values.min()), float(values.max()))
        for axis, values in zip(AXES, np.exp(data.logs).T, strict=True)
    }
    base_top1 = data.base_top1[data.first]
    ranges["base_top1"] = (float(base_top1.min()), float(base_top1.max()))
    write_published(
        out,
        Published(
            {name: dataclasses.replace(fit.model, widened=factor) for name, fit in fits.items()},
            ranges,
            len(data.top1),
            len(table.groups),
            table.sources,
        ),
    )
    load_published.cache_clear()
    bases = np.unique(table.base, return_inverse=True)[1]
    by_base = {
        name: widened(each, factor) for name, each in cross_validated(data, bases, fits).items()
    }
    apart = np.array([name.startswith(B_SERIES) for name in table.groups])[data.group]
    without_b = widened(
        [
            fit_growth(data.rows(~apart), fit.model.names, start=fit.deviations).model
            for fit in fits.values()
        ],
        factor,
    )
    v2 = v2_b(timm) if timm.is_file() else None
    found: dict[str, Any] = {
        "groups_held_out": {
            **{
                name: scores(table, held_out(data, table.fold, {name: models[name]}))
                for name in NAMES
            },
            "both": scores(table, held),
        },
        "bases_held_out": scores(table, held_out(data, bases, by_base)),
        "b_from_b0": b_from_b0(table, fits, factor),
        "series_held_out": by_series(table, held),
        "forecasts": forecasts(table, models, without_b, v2),
        "optimum_of_b0": optima(77.1),
        "ceilings": ceilings(table),
        "models": {
            name: {
                "weights": dict(
                    zip(fit.model.names, fit.model.weights.round(3).tolist(), strict=True)
                ),
                "recipe_deviation": dict(
                    zip(fit.model.names, np.sqrt(fit.model.spread).round(3).tolist(), strict=True)
                ),
                "noise": round(float(np.sqrt(fit.model.noise)), 4),
                "log_evidence": round(fit.evidence, 1),
            }
            for name, fit in fits.items()
        },
        "widened": round(factor, 2),
        "ranges": {name: [round(end, 3) for end in ends] for name, ends in ranges.items()},
    }
    found["forecast_errors"] = forecast_errors(found["forecasts"])
    if v2 is not None:
        found["v2_b_from_b0"] = _v2_rows(v2)
    draw_picture(picture, lambda path: draw(path, table, held, 77.1))
    return found


def _v2_rows(v2: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    factors, top1 = v2
    held = predicted(
        list(load_published().models.values()), np.log(factors), np.full(len(top1), top1[0])
    )
    error = held.points + top1[0] - top1
    return {
        "factors": factors.round(3).tolist(),
        "published": top1.round(2).tolist(),
        "predicted": (held.points + top1[0]).round(2).tolist(),
        "std": held.std.round(2).tolist(),
        "error": error.round(2).tolist(),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    reference = SHARED.parent / "reference"
    parser = experiment_arguments(__doc__)
    parser.add_argument("--trainings", type=Path, default=reference / "published_scaling.csv")
    parser.add_argument("--timm", type=Path, default=reference / "timm_results.csv")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "scaling" / "published" / "published_scaling.json"
    )
    parser.add_argument("--results", type=Path, default=RESULTS / "published_scaling.json")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    table = read_table(args.trainings)
    found = report(table, args.out, args.timm, args.results.with_suffix(".png"))
    forecasts_picture = args.results.with_name("published_forecasts.png")
    draw_picture(forecasts_picture, lambda path: draw_forecasts(path, found["forecasts"]))
    settings = {
        "trainings": len(table.trainings.top1),
        "groups": len(table.groups),
        "ceiling": CEILING,
        "pairs": {"flops_within": PAIR_FLOPS, "top1_apart": PAIR_TOP1},
    }
    write_json(
        args.results,
        {"settings": settings, "goals": GOALS}
        | settings_of_machine()
        | found
        | {"seconds": round(time.perf_counter() - start, 1)},
    )
    for key in ("groups_held_out", "bases_held_out", "b_from_b0", "v2_b_from_b0"):
        print_out(f"{key}: {found.get(key)}")
    return 0


if __name__ == "__main__":
    run_experiment("experiments.fit_published_scaling")
