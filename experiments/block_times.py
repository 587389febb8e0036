"""Does the sum of measured block times predict the time of a whole network?

Measures a table of block times (`nas.block_times`) and, in the same rounds, 40 random networks.
These test networks are used neither for the table nor for the line that maps sums to networks.
  latency    one forward pass of one image, EfficientNet space at 224 px.
  step_time  one training step of 32 images; the space's small form: 32 px, ten classes, half width.
Both are processor times of one thread; each number is the lower quartile of its runs. As a baseline
without a table, times are also predicted from FLOPs, scaled by the median of the test networks.

Expected: median error below 7% and Kendall tau of at least 0.9 for both.
Each kind is written when it ends; other kinds in the result file are kept.
Time: 14 minutes on an idle core, several times as long on a busy machine. With half the rounds
other load shows in the results: the error of the training step was then 4.3%, tau .87.

    python -m experiments.block_times [--kinds latency step_time] [--rounds 24]
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.block_times", "run")

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from nas.block_times.measure import MeasuringPlan, drawn, errors, measure
from nas.block_times.timing import Setting
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from vbs.console import print_err, print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

SMALL = {"resolution": 32, "classes": 10, "width": 0.5, "small_images": True}
CASES: dict[str, tuple[dict[str, Any], Setting]] = {
    "latency": ({}, Setting("latency", batch=1)),
    "step_time": (SMALL, Setting("step_time", batch=32)),
}
TESTS, CALIBRATION = 40, 8


def one_case(kind: str, rounds: int, seed: int) -> dict[str, Any]:
    """Measure a table, and return how well it predicts."""
    form, setting = CASES[kind]
    the_space: SearchSpace = space("efficientnet", **form)
    plan = MeasuringPlan(rounds=rounds, calibration=CALIBRATION, tests=TESTS, seed=seed)
    times = measure(the_space, setting, plan, say=lambda line: print_err(line))
    measured, flops = np.array(times.checked["measured"]), _flops(the_space, seed)
    by_flops = errors(measured, flops * np.median(measured / flops))
    spread = [pair[1] / pair[0] for pair in times.blocks.values()]
    return {
        "settings": dict(times.settings),
        "space_settings": the_space.settings,
        "blocks": len(times.blocks),
        "constant": times.constant,
        "scale": times.scale,
        "median_spread_of_a_block": round(float(np.median(spread)), 3),
        **times.checked,
        "flops_alone": {name: by_flops[name] for name in ("median_error", "kendall_tau")},
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _flops(the_space: SearchSpace, seed: int) -> np.ndarray:
    """Return the FLOPs of the test networks that `measure` draws with that seed."""
    _, wholes = drawn(the_space, CALIBRATION + TESTS, seed)
    return the_space.costs(wholes[CALIBRATION:]).flops.astype(np.float64)


def draw(path: Path, cases: dict[str, dict[str, Any]]) -> None:
    """Draw measured against predicted times, one panel for each case."""
    figure = new_figure(5 * len(cases), 4.6, layout="tight")
    panels = figure.subplots(1, len(cases), squeeze=False)
    for axes, (kind, case) in zip(panels[0], cases.items(), strict=True):
        measured, predicted = 1e3 * np.array(case["measured"]), 1e3 * np.array(case["predicted"])
        ends = [0.9 * measured.min(), 1.1 * measured.max()]
        axes.fill_between(
            ends, 0.93 * np.array(ends), 1.07 * np.array(ends), color="0.9", lw=0, label="within 7%"
        )
        axes.plot(ends, ends, c="0.5", lw=1)
        axes.plot(measured, predicted, "o", ms=5, mfc="none", c="tab:blue")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="measured (ms)",
            ylabel="predicted from blocks (ms)",
            title=f"{kind}: median error {case['median_error']:.1%}, tau {case['kendall_tau']:.2f}",
        )
        axes.legend(frameon=False, loc="upper left")
    save_png(figure, path)


def run(texts: list[str] | None = None) -> None:
    """Run the command: measure, write the result file and the figure."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(RESULTS / "block_times.json"))
    arguments = parser.parse_args(texts)
    if arguments.rounds < 1:
        raise ValueError(f"rounds: {arguments.rounds} is not allowed; use 1 or more")
    out, cases = Path(arguments.out), {}
    if out.exists():
        before = json.loads(out.read_text())["cases"]
        cases = {kind: case for kind, case in before.items() if kind not in arguments.kinds}
    for kind in arguments.kinds:
        start = time.monotonic()
        case = one_case(kind, arguments.rounds, arguments.seed)
        cases[kind] = {
            "seconds": round(time.monotonic() - start),
            **settings_of_machine(),
            **case,
        }
        shown = {name: case[name] for name in ("median_error", "kendall_tau", "bias", "fit")}
        print_out(f"{kind}: {shown}")
        cases = {name: cases[name] for name in CASES if name in cases}
        write_json(out, {"cases": cases})
        draw_picture(out.with_suffix(".png"), partial(draw, cases=cases))
