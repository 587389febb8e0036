"""Fit the models of the six measured accelerators that ship with `nas`, and measure their errors.

What: throughput (ZCU102 and VCK190: also latency) and training time of 4,623 networks of the
`efficientnet` space (Accel-NASBench: Ahmad et al., DAC 2024, Apache-2.0,
https://github.com/afzalxo/Accel-NASBench). The model is a sum of stage times bounded below by a
floor, see `nas.devices.stage_times`. 13 training times above 6,000 s are left out. Intervals: the
deviation is fitted to the residuals of an inner cross-validation as a function of the distance to
the floor; the coverage is then counted on the held-out networks of the outer cross-validation.
Expected (Kendall tau, median error): A100 .997, 0.2%; RTX 3090 .988, 0.4%; TPUv2 .972, 0.9%; TPUv3
.908, 1.1%; ZCU102 .986, 0.8%, latency .994, 0.2%; VCK190 .968, 0.7%, latency .987, 0.4%; training
time .902, 1.9%.
Time: 3 minutes on one core.
Command: python -m experiments.fit_devices [--measurements FILE]
Writes nas/devices/measured.npz, experiments/results/devices.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.fit_devices")

import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.device_data import FILE, OUTLIER, ROOT, SOURCE, Speeds, read_speeds
from experiments.lib.surrogate_scores import (
    FOLDS,
    NORMAL_68,
    NORMAL_95,
    fold_of,
    kendall_tau,
)
from nas.devices.measured import DEVICES, MeasuredDevice, read_measured, write_measured
from nas.devices.stage_times import fit_stage_times
from search_spaces.catalog import space as space_named
from search_spaces.space import SearchSpace
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

Key = tuple[str, str]  # device, kind


def fit_devices(space: SearchSpace, data: Speeds) -> dict[str, MeasuredDevice]:
    """Return all devices, fitted to all networks."""
    activations = space.costs(data.genotypes).activations.astype(np.float64)
    models: dict[str, dict[str, Any]] = {}
    for (device, kind), rows, seconds in data.rows():
        models.setdefault(device, {})[kind] = fit_stage_times(
            space.choices, data.genotypes[rows], activations[rows], seconds
        )
    return {
        name: MeasuredDevice(
            name, DEVICES[name], space.name, space.settings, space.choices, kinds, SOURCE
        )
        for name, kinds in models.items()
    }


def held_out(space: SearchSpace, data: Speeds, key: Key, seed: int) -> tuple[np.ndarray, ...]:
    """Return rows, measured log seconds, out-of-fold predictions and their deviations, [n] each."""
    rows = np.flatnonzero(np.isfinite(data.seconds[key]))
    genotypes, seconds = data.genotypes[rows], data.seconds[key][rows]
    activations = space.costs(genotypes).activations.astype(np.float64)
    fold = fold_of(genotypes, seed)
    mean, spread = np.empty(len(rows)), np.empty(len(rows))
    for index in range(FOLDS):
        held = fold == index
        model = fit_stage_times(space.choices, genotypes[~held], activations[~held], seconds[~held])
        mean[held], spread[held] = model.predict(space.choices, genotypes[held])
    return rows, np.log(seconds), mean, spread


def scores(measured: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> dict[str, float]:
    """Return Kendall's tau, relative errors in percent, and the coverage of the intervals."""
    error = np.abs(np.expm1(mean - measured)) * 100
    sigmas = np.abs(mean - measured) / spread
    return {
        "kendall_tau": round(kendall_tau(measured, mean), 4),
        "median_error_percent": round(float(np.median(error)), 3),
        "mean_error_percent": round(float(error.mean()), 3),
        "coverage_68": round(float((sigmas <= NORMAL_68).mean()), 4),
        "coverage_95": round(float((sigmas <= NORMAL_95).mean()), 4),
    }


def fifths(measured: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> list[dict[str, float]]:
    """Return the same scores for each fifth of the predicted times, fastest first."""
    fifth = np.argsort(np.argsort(mean)) * 5 // len(mean)
    return [scores(measured[fifth == i], mean[fifth == i], spread[fifth == i]) for i in range(5)]


def speed(space: SearchSpace, device: MeasuredDevice) -> int:
    """Return genotypes per second of processor time, best of nine repeats."""
    genotypes = space.sample(300_000, np.random.default_rng(4))
    seconds = []
    for _ in range(9):
        start = time.process_time()
        device.predict(space, genotypes)
        seconds.append(time.process_time() - start)
    return round(len(genotypes) / min(seconds))


def title(key: Key) -> str:
    """Return a device and kind for titles."""
    device, kind = key
    return DEVICES[device] + (f", {kind}" if device in ("zcu102", "vck190") else "")


def draw(path: Path, found: dict[Key, tuple[np.ndarray, ...]]) -> None:
    """Draw predicted against measured seconds, out of fold, one panel for each device and kind."""
    figure = new_figure(13, 12)
    for axes, (key, (_, measured, mean, spread)) in zip(
        figure.subplots(3, 3).flat, found.items(), strict=True
    ):
        scale, unit = (1.0, "s") if key[1] == "train_time" else (1e3, "ms an image")
        axes.loglog(np.exp(mean) * scale, np.exp(measured) * scale, ".", markersize=2, alpha=0.4)
        for axis in (axes.xaxis, axes.yaxis):  # the default log ticks need a decade
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()
        ends = np.exp([measured.min(), measured.max()]) * scale
        axes.loglog(ends, ends, "k-", linewidth=0.8)
        numbers = scores(measured, mean, spread)
        axes.set_title(
            f"{title(key)}\ntau {numbers['kendall_tau']:.3f}, "
            f"median error {numbers['median_error_percent']:.1f}%",
            fontsize=10,
        )
        axes.set(xlabel=f"predicted ({unit})", ylabel=f"measured ({unit})")
    save_png(figure, path)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--measurements", type=Path, default=FILE)
    parser.add_argument("--out", type=Path, default=ROOT / "nas" / "devices" / "measured.npz")
    parser.add_argument("--results", type=Path, default=RESULTS / "devices.json")
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(argv)
    start = time.perf_counter()
    space = space_named("efficientnet")
    data = read_speeds(args.measurements, space)
    write_measured(args.out, fit_devices(space, data))
    devices = read_measured(args.out)
    rows, first = [], {}
    for key, known, _ in data.rows():
        folds = {seed: held_out(space, data, key, seed) for seed in args.fold_seeds}
        first[key] = folds[args.fold_seeds[0]]
        row = {
            "device": key[0],
            "kind": key[1],
            "networks": len(known),
            "cross_validation": {str(seed): scores(*f[1:]) for seed, f in folds.items()},
            "fifths": fifths(*first[key][1:]),
        }
        rows.append(row)
        print_out(f"{title(key)}: {row['cross_validation'][str(args.fold_seeds[0])]}")
    draw_picture(args.results.with_suffix(".png"), lambda path: draw(path, first))
    content = {
        "source": SOURCE,
        "measurements": len(data.genotypes),
        "settings": {
            "space": space.name,
            **space.settings,
            "folds": FOLDS,
            "fold_seeds": args.fold_seeds,
            "train_time_outliers_above_s": OUTLIER,
        },
        **settings_of_machine(),
        "model_file_bytes": args.out.stat().st_size,
        "genotypes_per_processor_second": speed(space, devices["a100"]),
        "devices": rows,
        "seconds": round(time.perf_counter() - start),
    }
    write_json(args.results, content)
    return 0
