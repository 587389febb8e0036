"""A model of a new device from ten measurements: this processor, with onnxruntime and OpenVINO.

What: a kit of ten designed networks and 30 random ones of the `efficientnet` space
(`nas.devices.kit`) is measured on one thread by its own measure.py, and a device is fitted to the
ten (`nas.devices.fit`). Shown for the 30 others: error and Kendall tau of the fitted device, of the
table of block times in the same runtime (`nas.block_times --runtime`, which times every block), of
a power of FLOPs fitted to the ten measurements, and of FLOPs alone.
Time: 15 minutes on one core.
Command: python -m experiments.own_device
Writes experiments/results/own_device.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.own_device")

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.surrogate_scores import kendall_tau
from nas.block_times.lookup import times_for
from nas.devices.fit import FitConfig, fit_kit
from nas.devices.kit import KitConfig, write_kit
from nas.devices.kit.reading import MeasuredKit
from vbs.console import print_err, print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

RUNTIMES = ("onnxruntime", "openvino")
COUNT, CHECKED = 10, 30


def scores(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Return Kendall tau, and relative errors in percent."""
    error = 100 * np.abs(predicted / measured - 1)
    return {
        "kendall_tau": round(float(kendall_tau(predicted, measured)), 4),
        "median_error_percent": round(float(np.median(error)), 2),
        "mean_error_percent": round(float(error.mean()), 2),
        "largest_error_percent": round(float(error.max()), 2),
    }


def by_flops(kit: MeasuredKit) -> np.ndarray:
    """Return seconds of the checked networks by a power of their FLOPs, fitted to the others."""
    flops = np.log(kit.space.costs(kit.genotypes).flops)
    slope, constant = np.polyfit(flops, np.log(kit.seconds), 1)
    checked = np.log(kit.space.costs(kit.check_genotypes).flops)
    return np.exp(constant + slope * checked)


def measured_in(runtime: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Measure the kit in a runtime, fit a device, and compare it with other predictors."""
    script = [sys.executable, str(folder / "measure.py"), "--runtime", runtime]
    subprocess.run([*script, "--threads", "1", "--seconds", f"{seconds:g}"], check=True)
    out = folder / f"{runtime}.json"
    result = fit_kit(FitConfig(kit=str(folder), name=f"cpu-{runtime}", out=str(out)))
    kit = result.kit
    predicted, deviation = result.device.predict(kit.space, kit.check_genotypes, "latency")
    within = np.abs(predicted - kit.check_seconds) / deviation
    table = times_for(kit.space, kind="latency", runtime=runtime, say=print_err)
    own = table.of(kit.space)(kit.check_genotypes)
    flops = kit.space.costs(kit.check_genotypes).flops
    return {
        "runtime": runtime,
        "version": importlib.metadata.version(runtime),
        "seconds_of_networks": [float(f"{value:.5g}") for value in kit.seconds],
        "seconds_of_checked": [float(f"{value:.5g}") for value in kit.check_seconds],
        "predicted": [float(f"{value:.5g}") for value in predicted],
        "deviation": [float(f"{value:.3g}") for value in deviation],
        "expected_error_percent": round(100 * result.device.expected[0], 2),
        "device": scores(predicted, kit.check_seconds),
        "within_1_deviation": round(float((within <= 1).mean()), 3),
        "within_2_deviations": round(float((within <= 2).mean()), 3),
        "block_times": scores(own, kit.check_seconds),
        "block_times_blocks": len(table.blocks),
        "flops_fitted_to_the_ten": scores(by_flops(kit), kit.check_seconds),
        "tau_of_flops": round(float(kendall_tau(flops.astype(float), kit.check_seconds)), 4),
    }


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw predicted against measured times of the networks that the fit does not use."""
    figure = new_figure(8.4, 4.4)
    for place, row in enumerate(rows, 1):
        axes = figure.add_subplot(1, len(rows), place)
        measured, predicted = (
            1e3 * np.array(row[name]) for name in ("seconds_of_checked", "predicted")
        )
        axes.errorbar(
            measured, predicted, yerr=1e3 * np.array(row["deviation"]), fmt="o", ms=4, capsize=2
        )
        ends = [0.9 * min(measured.min(), predicted.min()), 1.1 * measured.max()]
        axes.plot(ends, ends, c="0.4", lw=1)
        error, tau = row["device"]["mean_error_percent"], row["device"]["kendall_tau"]
        axes.set(
            xlabel="measured milliseconds",
            ylabel="predicted milliseconds",
            title=f"{row['runtime']}: mean error {error:.1f}%, tau {tau:.2f}",
        )
        axes.grid(alpha=0.25)
    save_png(figure, path)


def main() -> int:
    """Measure and write the result; return the exit code."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="time to measure each kit")
    parser.add_argument("--out", type=Path, default=RESULTS / "own_device.json")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "kit")
        write_kit(KitConfig(count=COUNT, check_networks=CHECKED), out=folder)
        for runtime in RUNTIMES:
            rows.append(measured_in(runtime, folder, args.seconds))
            row = rows[-1]
            for name in ("device", "block_times", "flops_fitted_to_the_ten"):
                print_out(f"{runtime}, {name}: {row[name]}")
    settings = {
        "count": COUNT,
        "checked": CHECKED,
        "threads": 1,
        "batch": 1,
        "seconds": args.seconds,
        "space": "efficientnet",
    }
    write_json(args.out, {"settings": settings, "runtimes": rows, **settings_of_machine()})
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, rows))
    return 0
