"""How fast is the training loop compared with timm's, and how much memory does it use?

Trains EfficientNet-B0 (at 224 px and 64 px) and the proxy network (at 32 px; --network FILE, by
default the network found by experiments.proxy_network) for the same number of steps with
`train.loop.optimizer_step` ("ours") and with timm: create_model (or the equal network made by
timm's builder), create_optimizer_v2, ModelEmaV3 and the step of timm's train.py. Both sides use the
recipe `efficientnet`: RMSProp as in TensorFlow, label smoothing 0.1, dropout and stochastic depth
0.2, and a moving average of the weights (neither side has it with --no-ema). Before the measurement
the two networks are checked to be equal.

All settings of memory format, precision and foreach (and torch.compile, with --compile) are timed
in one process, in rounds of a few steps each; every other round runs in reverse order. A ratio is
timm's seconds divided by ours within a round, so that other load on the machine affects both sides.
The result holds the median and the quartiles of these ratios. The best setting of a side has the
smallest median time; timm_default is timm's best setting without channels_last.
  step        the training step alone, on batches that are already in the network's memory format.
  with_data   step and data: uint8 images in memory, shifted crop, flip, normalisation. Ours works
              on batches; timm applies torchvision's transforms to one image at a time in a
              DataLoader (on a CPU in this process, on a GPU in --workers processes that prefetch).
  parts       milliseconds of data, forward, optimizer and average. The rest of a step is called
              backward and includes the loss. Measured separately, because a GPU must be
              synchronised between the parts.
  memory      peak memory of each side in a process of its own, at its best setting and with equal
              batches. On a CPU: the peak resident set of three steps minus the resident set before
              the first step, median over --memory-runs processes, with
              MALLOC_MMAP_THRESHOLD_=65536 (without it glibc keeps freed memory, and results vary by
              15%). On a GPU: torch.cuda.max_memory_allocated.
On a CPU bfloat16 is slower (2 to 4 times for depthwise networks) and is timed in two rounds only.

Expected: images/s at least 1.0 times those of timm's best setting and 1.5 times those of timm
without channels_last; peak memory at most 1.0 times timm's.
Time: 4 minutes on 2 idle cores.

    python -m experiments.bench_training [--device cuda] [--cases b0-224 b0-64 proxy-32]
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.bench_training", "bench")

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.lib.arguments import HIDDEN, Options, experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.timm_loop import Setting
from experiments.lib.timm_networks import check_twins, proxy_network
from experiments.lib.training_sides import Case, Side
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from train.distributed import pick_device
from vbs.console import print_err, print_out
from vbs.folder import write_json

CASES = ("b0-224", "b0-64", "proxy-32")
BATCHES = {"cpu": (16, 64, 128), "cuda": (128, 512, 1024)}
STEPS = {"cpu": (1, 2, 4), "cuda": (10, 10, 20)}
SLOW_ROUNDS = 2


def settings_to_try(device: str, *, compiled: bool, quick: bool) -> list[Setting]:
    """Return all settings of both sides, in the order of a round."""
    found = [Setting("ours"), Setting("timm"), Setting("timm", channels_last=False)]
    if not quick:
        found += [Setting("ours", channels_last=False), Setting("timm", foreach=True)]
        found += [Setting(side, precision="bfloat16") for side in ("ours", "timm")]
    if device == "cuda" and not quick:
        found.append(Setting("timm", channels_last=False, precision="bfloat16"))
    if compiled:
        kind = "bfloat16" if device == "cuda" else "float32"
        found += [Setting(side, precision=kind, compile=True) for side in ("ours", "timm")]
    return found


def rounds_of(
    tasks: Mapping[Setting, Callable[[], float]], rounds: int, *, slow: int
) -> dict[Setting, list[float]]:
    """Return the results of each task, one for each round.

    Every other round runs in reverse order. The first round is a warm-up and is dropped. After
    `slow` rounds only tasks in float32 continue.
    """
    found: dict[Setting, list[float]] = {setting: [] for setting in tasks}
    for number in range(rounds + 1):
        order = list(tasks) if number % 2 else list(tasks)[::-1]
        for setting in order:
            if number <= slow or setting.precision == "float32":
                found[setting].append(tasks[setting]())
    return {setting: values[1:] for setting, values in found.items()}


def quartiles(values: list[float], digits: int = 3) -> dict[str, Any]:
    """Return the median and the quartiles of some values, with the number of values."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {
        "median": round(float(middle), digits),
        "rounds": len(values),
        "quartiles": [round(float(low), digits), round(float(high), digits)],
    }


def ratio(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Return the ratio of images/s, ours over timm's, with quartiles over the rounds."""
    return quartiles([b / a for a, b in zip(ours, theirs, strict=False)])


def time_case(case: Case, arguments: Options) -> dict[str, Any]:
    """Return all measurements of a case except its memory."""
    checked = check_twins(case.architecture, name=case.timm_name)
    settings = settings_to_try(case.device, compiled=arguments.compile, quick=arguments.quick)
    sides = {setting: Side(case, setting) for setting in settings}
    ready = {setting: side.ready() for setting, side in sides.items()}
    rounds = arguments.rounds
    slow = SLOW_ROUNDS if case.device == "cpu" else rounds
    steps: dict[Setting, Callable[[], float]] = {
        s: partial(sides[s].seconds, ready[s], case.steps) for s in settings
    }
    times = rounds_of(steps, rounds, slow=slow)
    middle = {setting: float(np.median(values)) for setting, values in times.items()}
    ours, timm, plain = (
        min((s for s in settings if wanted(s)), key=lambda s: middle[s])
        for wanted in (
            lambda s: s.side == "ours",
            lambda s: s.side == "timm",
            lambda s: s.side == "timm" and not s.channels_last,
        )
    )
    table = [_row(case, setting, times[setting]) for setting in settings]
    both: dict[Setting, Callable[[], float]] = {
        s: partial(_loaded_seconds, sides[s]) for s in (ours, timm)
    }
    data = rounds_of(both, max(2, rounds // 2), slow=rounds)
    return {
        "batch": case.batch,
        "resolution": case.architecture.resolution,
        "flops": cost(case.architecture).flops,
        **checked,
        "best": {"ours": ours.label, "timm": timm.label, "timm_default": plain.label},
        "step": {
            "over_timm": ratio(times[ours], times[timm]),
            "over_timm_default": ratio(times[ours], times[plain]),
        },
        "with_data": {"over_timm": ratio(data[ours], data[timm])},
        "parts": {s.side: sides[s].breakdown(max(4, case.steps)) for s in (ours, timm)},
        "settings": table,
        "chosen": {s.side: dataclasses.asdict(s) for s in (ours, timm)},
    }


def _loaded_seconds(side: Side) -> float:
    return side.seconds(side.fresh(side.case.steps), side.case.steps)


def _row(case: Case, setting: Setting, seconds: list[float]) -> dict[str, Any]:
    spread = quartiles([1000 * value / case.steps for value in seconds])
    rate = round(1000 * case.batch / spread["median"], 1)
    return {
        "side": setting.side,
        "setting": setting.label,
        "images_per_second": rate,
        "milliseconds_per_step": spread,
    }


def peak_memory(case: Case, setting: Setting, steps: int = 3) -> float:
    """Return the peak memory of the first steps in MB (1e6 bytes).

    The process must not have trained anything before.
    """
    side = Side(case, setting)
    batches = side.ready()
    if side.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(side.device)
        side.seconds(batches, steps)
        return torch.cuda.max_memory_allocated(side.device) / 1e6

    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak
    side.seconds(batches, steps)
    return (_status("VmHWM") - before) / 1e6


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"memory: /proc/self/status has no {name}; use --memory-runs 0")


def memory_of(chosen: dict[str, Any], case: str, arguments: Options) -> dict[str, Any]:
    """Return the peak memory of both sides in MB, and the ratio of ours to timm's."""
    peaks: dict[str, list[float]] = {side: [] for side in chosen}
    for side in list(chosen) * arguments.memory_runs:
        command = [sys.executable, "-m", "experiments.bench_training", *arguments.given]
        child = json.dumps({"case": case, "setting": chosen[side]})
        # With this threshold every tensor has its own mapping, and freed memory leaves the resident
        # set at once; otherwise the peak depends mostly on the order of allocations.
        tidy = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        run = subprocess.run([*command, "--child", child], capture_output=True, text=True, env=tidy)
        if run.returncode:
            raise ValueError(f"memory: the process of {side} failed: {run.stderr.strip()[-300:]}")
        peaks[side].append(float(run.stdout.split()[-1]))
    ours, timm = (float(np.median(peaks[side])) for side in ("ours", "timm"))
    return {
        "ours_megabytes": round(ours, 1),
        "timm_megabytes": round(timm, 1),
        "ours_over_timm": round(ours / timm, 3),
        "runs": {side: [round(value, 1) for value in found] for side, found in peaks.items()},
    }


def case_named(name: str, arguments: Options) -> Case:
    """Return the case of that name on the given device."""
    index, device = CASES.index(name), pick_device(arguments.device).type
    b0 = zoo("efficientnet_b0")
    architecture, timm_name = proxy_network(arguments.network, 10), ""
    if name != "proxy-32":
        side = int(name.split("-")[1])
        architecture, timm_name = dataclasses.replace(b0, resolution=side), "efficientnet_b0"
    batch, steps = BATCHES[device][index], STEPS[device][index]
    if arguments.quick:
        batch, steps = 4, 1
    workers = arguments.workers if device == "cuda" else 0
    return Case(
        name,
        architecture,
        timm_name,
        arguments.batch or batch,
        steps,
        not arguments.no_ema,
        device,
        workers,
    )


def _arguments(texts: list[str] | None) -> Options:
    parser = experiment_arguments(__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--network", help="JSON file of the proxy network")
    parser.add_argument("--batch", type=int, default=0, help="images of a step, in every case")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--memory-runs", type=int, default=1, help="processes of each side; 0: none"
    )
    parser.add_argument(
        "--workers", type=int, default=8, help="processes of timm's loader, on a GPU"
    )
    parser.add_argument("--compile", action="store_true", help="try torch.compile (minutes)")
    parser.add_argument("--no-ema", action="store_true")
    parser.add_argument("--quick", action="store_true", help="only check that it runs")
    parser.add_argument(
        "--out", help="result file (default experiments/results/bench_training.json)"
    )
    parser.add_argument("--child", help=HIDDEN)
    arguments = parser.parse_args(texts)
    arguments.given = sys.argv[1:] if texts is None else texts
    if arguments.quick:
        arguments.rounds = 2
    if arguments.rounds < 2:
        raise ValueError(f"rounds: {arguments.rounds} is not allowed; use 2 or more")
    return arguments


def bench(texts: list[str] | None = None) -> None:
    """Run the command: measure, write the result file, print it."""
    arguments = _arguments(texts)
    if arguments.child:
        task = json.loads(arguments.child)
        print_out(peak_memory(case_named(task["case"], arguments), Setting(**task["setting"])))
        return
    device, cases = pick_device(arguments.device).type, {}
    start = time.monotonic()
    for name in arguments.cases:
        found = time_case(case_named(name, arguments), arguments)
        chosen = found.pop("chosen")
        if arguments.memory_runs:
            found["memory"] = memory_of(chosen, name, arguments)
        cases[name] = found
        print_err(f"{name}: {json.dumps(found['step'])}")
    settings = {
        "recipe": "efficientnet",
        "ema": not arguments.no_ema,
        "rounds": arguments.rounds,
        "network": arguments.network,
        "quick": arguments.quick,
        "compile": arguments.compile,
    }
    machine = settings_of_machine() | {"threads": torch.get_num_threads(), "device": device}
    if device == "cuda":
        machine["gpu"] = torch.cuda.get_device_name()
    seconds = round(time.monotonic() - start)
    result = {"settings": settings, **machine, "seconds": seconds, "cases": cases}
    name = "bench_training_cuda.json" if device == "cuda" else "bench_training.json"
    write_json(Path(arguments.out) if arguments.out else RESULTS / name, result)
    print_out(*json.dumps(result, indent=1).splitlines())
