"""Fit the ImageNet surrogate that ships with `nas`, and measure its errors.

What: 4,623 networks of the `efficientnet` space, each trained once on ImageNet with one short
schedule (Accel-NASBench: Ahmad et al., DAC 2024, Apache-2.0,
https://github.com/afzalxo/Accel-NASBench). This top-1 is *not* that of a full training: it is about
66% for B0, not 77%. The model (see `nas.evaluators.fit`) is compared with other families of models
by 5-fold cross-validation and by extrapolation: fitted to networks up to 64.5%, tested on those
above.
Expected: Kendall tau 0.931, MAE 0.275 points, extrapolation tau 0.68 and bias -0.13.
Time: 5 minutes on 2 cores; one minute with `--fold-seeds 0 --no-families`.
Command: python -m experiments.fit_imagenet_surrogate [--measurements FILE_OR_FOLDER]
Writes nas/evaluators/imagenet_surrogate.npz, experiments/results/imagenet_surrogate.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.fit_imagenet_surrogate")

import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import Options, experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.surrogate_families import (
    CEILING,
    ENSEMBLE,
    FAMILIES,
    SHIPPED,
    basis_of,
    mixture,
    shipped,
)
from experiments.lib.surrogate_scores import (
    EXTRAPOLATION_LIMIT,
    FOLDS,
    Measurements,
    Predicted,
    cross_validate,
    extrapolate,
    fold_of,
    scores,
    slices,
)
from nas.evaluators.base import Measured
from nas.evaluators.fit import NOISE_KEPT, WIDENED, fit, tabulate, warp
from nas.evaluators.surrogate import Surrogate, read_surrogate, write_surrogate
from search_spaces.catalog import space as space_named
from search_spaces.space import SearchSpace
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
UNIT = "ImageNet top-1 in percent under a short training schedule (EfficientNet-B0: about 66)"
SOURCE = "Accel-NASBench, Ahmad et al., DAC 2024, github.com/afzalxo/Accel-NASBench, Apache-2.0"
TARGET_FLOPS = 400e6  # limit under which the report predicts the result of a search


def read_measurements(path: Path, space: SearchSpace) -> Measurements:
    """Read measured networks from a parquet file or a folder of result_*.json (the public archive).

    Raises ValueError if the path is neither, or if a network is not in the space.
    """
    if path.is_dir():
        files = sorted(path.rglob("result_*.json"))
        if not files:
            raise ValueError(f"measurements: the folder {path} holds no result_*.json")
        records = [json.loads(file.read_text()) for file in files]
        try:
            decisions = {name: [r["architecture"][name] for r in records] for name in space.choices}
            accuracy = [record["metrics"]["val_top1"] for record in records]
            params = [record["model_info"]["params"] for record in records]
        except (KeyError, TypeError) as error:
            raise ValueError(f"measurements: a result file of {path} has no {error}") from None
    elif path.is_file():
        import pandas

        table = pandas.read_parquet(path, columns=[*space.choices, "val_top1", "params"])
        decisions = {name: table[name].tolist() for name in space.choices}
        accuracy, params = table["val_top1"].tolist(), table["params"].tolist()
    else:
        raise ValueError(f"measurements: {path} does not exist; use --measurements FILE_OR_FOLDER")
    columns = [_indices(name, decisions[name], options) for name, options in space.choices.items()]
    genotypes = np.stack(columns, axis=1).astype(np.int8)
    return Measurements(genotypes, np.array(accuracy), np.array(params) * 1e6)


def _indices(name: str, values: list, options: tuple) -> list[int]:
    index = {option: i for i, option in enumerate(options)}
    for value in values:
        if value not in index:
            raise ValueError(f"measurements: {name} is {value!r}, which is not one of {options}")
    return [index[value] for value in values]


def fit_surrogate(space: SearchSpace, data: Measurements) -> tuple[Surrogate, dict[str, float]]:
    """Return the shipped model, and how closely its tables approximate the exact posterior."""
    basis = basis_of(space)
    features = basis.features(data.genotypes)
    posterior = fit(features, warp(data.accuracy, CEILING), basis.groups)
    tables = tabulate(basis, posterior, CEILING, rng=np.random.default_rng(1))
    networks, row = np.unique(data.genotypes, axis=0, return_inverse=True)
    accuracy = np.bincount(row.reshape(-1), data.accuracy) / np.bincount(row.reshape(-1))
    surrogate = Surrogate(
        name="imagenet",
        space=space.name,
        settings=space.settings,
        unit=UNIT,
        source=SOURCE,
        tables=tables,
        measured=Measured(networks, accuracy),
    )
    fresh = space.sample(4_000, np.random.default_rng(2))
    features = basis.features(fresh)
    latent, variance = tables.latent(fresh)
    exact = posterior.variance(features)
    ratio = np.sqrt((variance + posterior.noise) / (exact + posterior.noise))
    return surrogate, {
        "mean_error_max_points": float(np.abs(latent - posterior.mean(features)).max()),
        "std_ratio_min": round(float(ratio.min()), 4),
        "std_ratio_max": round(float(ratio.max()), 4),
        "model_share_of_variance": round(float((exact / (exact + posterior.noise)).mean()), 4),
        "log_evidence": round(posterior.evidence, 1),
    }


Tried = tuple[Predicted, Predicted, float]  # held-out folds, extrapolation, seconds per fit


def compare_families(
    space: SearchSpace, data: Measurements, *, seed: int, known: dict[str, Tried]
) -> list[dict[str, Any]]:
    """Return one row for each family: scores on the folds of `seed` and of the extrapolation.

    known  families whose predictions have been made already.
    """
    above = data.accuracy > EXTRAPOLATION_LIMIT
    rows: list[dict[str, Any]] = []
    known = dict(known)
    for name, family in FAMILIES.items():
        if name in known:
            continue
        try:
            held, seconds = cross_validate(family, space, data, seed)
        except ImportError as error:
            rows.append({"family": name, "skipped": f"not installed: {error.name}"})
            continue
        known[name] = held, extrapolate(family, space, data), seconds
        print_out(f"{name} {scores(data.accuracy, held)}")
    if all(name in known for name in ENSEMBLE):
        held, high, seconds = zip(*(known[name] for name in ENSEMBLE), strict=True)
        known["mean of pairs, process and trees"] = (
            Predicted(*mixture(list(held))),
            Predicted(*mixture(list(high))),
            sum(seconds),
        )
    for name, (held, high, seconds) in known.items():
        start = {"family": name, "seconds_per_fit": round(seconds, 1)}
        extrapolation = scores(data.accuracy[above], high)
        rows.append(start | scores(data.accuracy, held) | {"extrapolation": extrapolation})
    return rows


def optimum(space: SearchSpace, surrogate: Surrogate, data: Measurements) -> dict[str, Any]:
    """Return the result of a search within 400M FLOPs, and the best measured network within it."""
    rng = np.random.default_rng(3)
    population = space.sample(4_000, rng)
    for _ in range(60):
        children = space.mutate(population, rng)
        further = space.mutate(children, rng)
        pool = np.unique(np.concatenate([population, children, further]), axis=0)
        mean, _ = surrogate.predict(pool)
        mean[space.costs(pool).flops > TARGET_FLOPS] = 0.0
        population = pool[np.argsort(-mean)[:4_000]]
    mean, std = surrogate.predict(population[:1])
    measured = data.accuracy[space.costs(data.genotypes).flops <= TARGET_FLOPS]
    return {
        "predicted": round(float(mean[0]), 3),
        "std": round(float(std[0]), 3),
        "differing_decisions_to_nearest_measured": int(
            surrogate.measured.nearest(population[:1])[0][0]
        ),
        "flops": int(space.costs(population[:1]).flops[0]),
        "choices": space.choices_of(population[0]),
        "best_measured": round(float(measured.max()), 3),
        "measured_networks": len(measured),
    }


def speed(space: SearchSpace, surrogate: Surrogate) -> list[dict[str, float]]:
    """Return genotypes per second (mean and std predicted, best of nine) and additional memory."""
    rows = []
    for count in (1_000, 10_000, 300_000):
        genotypes = space.sample(count, np.random.default_rng(4))
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            surrogate.predict(genotypes)
            seconds.append(time.perf_counter() - start)
        tracemalloc.start()
        surrogate.predict(genotypes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            {
                "genotypes": count,
                "per_second": round(count / min(seconds)),
                "peak_extra_mb": round(peak / 1e6, 1),
            }
        )
    return rows


def draw(path: Path, data: Measurements, held: Predicted, high: Predicted) -> None:
    """Draw three panels: out-of-fold predictions, calibration of the intervals, extrapolation."""
    from statistics import NormalDist

    above = data.accuracy > EXTRAPOLATION_LIMIT
    figure = new_figure(14, 4.6)
    left, middle, right = figure.subplots(1, 3)
    left.plot(held.mean, data.accuracy, ".", markersize=2, alpha=0.5)
    low, top = data.accuracy.min(), data.accuracy.max()
    left.plot([low, top], [low, top], "k-", linewidth=0.8)
    fit_scores = scores(data.accuracy, held)
    left.set(
        title=f"Held-out folds: tau {fit_scores['kendall_tau']:.3f}, "
        f"MAE {fit_scores['mae']:.3f} points",
        xlabel="predicted top-1, short schedule (%)",
        ylabel="measured (%)",
    )
    nominal = np.linspace(0.05, 0.99, 40)
    widths = np.array([NormalDist().inv_cdf((1 + share) / 2) for share in nominal])
    for name, accuracy, part in (
        ("held-out folds", data.accuracy, held),
        ("extrapolation", data.accuracy[above], high),
    ):
        sigmas = np.abs(part.mean - accuracy) / part.std
        middle.plot(nominal, [(sigmas <= width).mean() for width in widths], label=name)
    middle.plot([0, 1], [0, 1], "k-", linewidth=0.8)
    middle.set(title="Calibration", xlabel="nominal coverage", ylabel="observed coverage")
    middle.legend()
    right.errorbar(
        high.mean, data.accuracy[above], xerr=high.std, fmt=".", markersize=4, linewidth=0.4
    )
    low, top = data.accuracy[above].min(), data.accuracy.max()
    right.plot([low, top], [low, top], "k-", linewidth=0.8)
    right.set(
        title=f"Fitted up to {EXTRAPOLATION_LIMIT}%, tested above",
        xlabel="predicted ± 1 sd (%)",
        ylabel="measured (%)",
    )
    save_png(figure, path)


def report(space: SearchSpace, data: Measurements, args: Options, start: float) -> dict[str, Any]:
    """Fit and write the model, draw the figure; return the content of the result file."""
    surrogate, tabulation = fit_surrogate(space, data)
    write_surrogate(args.out, surrogate)
    surrogate = read_surrogate(args.out)
    validated = {seed: cross_validate(shipped, space, data, seed) for seed in args.fold_seeds}
    folds = {seed: predicted for seed, (predicted, _) in validated.items()}
    first = args.fold_seeds[0]
    high = extrapolate(shipped, space, data)
    known = {SHIPPED: (folds[first], high, validated[first][1])}
    compared = [] if args.no_families else compare_families(space, data, seed=first, known=known)
    above = data.accuracy > EXTRAPOLATION_LIMIT
    draw_picture(
        args.results.with_suffix(".png"), lambda path: draw(path, data, folds[first], high)
    )
    networks = len(surrogate.measured.accuracy)
    return {
        "unit": UNIT,
        "source": SOURCE,
        "measurements": len(data.accuracy),
        "networks": networks,
        "settings": {
            "space": space.name,
            **space.settings,
            "ceiling": CEILING,
            "folds": FOLDS,
            "widened": WIDENED,
            "noise_kept": NOISE_KEPT,
            "fold_seeds": args.fold_seeds,
            "extrapolation_limit": EXTRAPOLATION_LIMIT,
        },
        **settings_of_machine(),
        "model_file_bytes": args.out.stat().st_size,
        "cross_validation": {str(s): scores(data.accuracy, p) for s, p in folds.items()},
        "slices": slices(data, folds[first], fold_of(data.genotypes, first)),
        "extrapolation": {"networks": int(above.sum())} | scores(data.accuracy[above], high),
        "tabulation": tabulation,
        "optimum_under_400M": optimum(space, surrogate, data),
        "speed": speed(space, surrogate),
        "families": compared,
        "seconds": round(time.perf_counter() - start),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    results = RESULTS / "imagenet_surrogate.json"
    parser = experiment_arguments(__doc__)
    parser.add_argument(
        "--measurements", type=Path, default=SHARED / "imagenet_measurements" / "train.parquet"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "nas" / "evaluators" / "imagenet_surrogate.npz"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=results,
        help="result file (JSON); the figure is written beside it",
    )
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--no-families", action="store_true", help="skip the other families of models"
    )
    args = parser.parse_args(argv)
    start = time.perf_counter()
    space = space_named("efficientnet")
    data = read_measurements(args.measurements, space)
    found = report(space, data, args, start)
    write_json(args.results, found)
    print_out(
        *json.dumps(
            {key: found[key] for key in ("cross_validation", "extrapolation")}, indent=1
        ).splitlines()
    )
    return 0
