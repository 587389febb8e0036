"""Measure the networks of this kit, and write their times to times.csv.

    python measure.py [--runtime onnxruntime|openvino] [--device NAME] [--threads 1] [--seconds 60]

The program needs numpy, and onnxruntime or openvino. It runs all networks in rounds of random
order, so that other load on the device affects all of them equally. The time of a network is the
lower quartile of its runs. With one thread on a CPU it is processor time, which excludes other
programs; otherwise it is wall-clock time.
"""

import argparse
import csv
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Runner = Callable[[], object]
WARM_UP, FEWEST = 2, 5  # uncounted runs, and least counted runs, of each network


def onnxruntime_runner(path: Path, shape: list[int], options: argparse.Namespace) -> Runner:
    """Return a function that runs an ONNX file once with onnxruntime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    provider = options.device or "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(str(path), settings, [provider])
    if provider not in session.get_providers():
        raise SystemExit(f"--device: onnxruntime has no {provider} here")
    images = {"images": np.random.default_rng(0).normal(size=shape).astype("float32")}
    return lambda: session.run(None, images)


def openvino_runner(path: Path, shape: list[int], options: argparse.Namespace) -> Runner:
    """Return a function that runs an ONNX file once with OpenVINO."""
    import openvino

    device = options.device or "CPU"
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = options.threads
    model = openvino.Core().compile_model(str(path), device, settings)
    request = model.create_infer_request()
    images = [np.random.default_rng(0).normal(size=shape).astype("float32")]
    return lambda: request.infer(images)


RUNNERS = {"onnxruntime": onnxruntime_runner, "openvino": openvino_runner}


def batch_shape(folder: Path) -> list[int]:
    """Return the shape of the images, from kit.json."""
    text = (folder / "kit.json").read_text()
    return json.loads(text)["shape"]


def measure(paths: list[Path], shape: list[int], options: argparse.Namespace) -> list[list[float]]:
    """Return the seconds of each run of each network, a list per path."""
    on_cpu = options.device in (None, "CPU", "CPUExecutionProvider")
    clock = time.process_time if options.threads == 1 and on_cpu else time.perf_counter
    runners = [RUNNERS[options.runtime](path, shape, options) for path in paths]
    for run in runners * WARM_UP:
        run()
    seconds: list[list[float]] = [[] for _ in paths]
    order, end = list(range(len(paths))), time.monotonic() + options.seconds
    shuffle = random.Random(0).shuffle
    while time.monotonic() < end or len(seconds[0]) < FEWEST:
        shuffle(order)
        for index in order:
            before = clock()
            runners[index]()
            seconds[index].append(clock() - before)
    return seconds


def main() -> None:
    """Measure the networks and write times.csv."""
    parser = argparse.ArgumentParser(description="Measure the networks of this kit.")
    parser.add_argument("--runtime", choices=sorted(RUNNERS), default="onnxruntime")
    parser.add_argument("--device", help="provider of onnxruntime, or device of OpenVINO")
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU (default 1)")
    parser.add_argument("--seconds", type=float, default=60.0, help="total duration (default 60)")
    options = parser.parse_args()
    if options.threads < 1:
        parser.error(f"--threads: {options.threads} is not allowed; use 1 or more")
    if not 0 < options.seconds < float("inf"):
        parser.error(f"--seconds: {options.seconds:g} is not allowed; use a time above 0")
    folder = Path(__file__).resolve().parent
    paths = sorted((folder / "networks").glob("*.onnx"))
    found = measure(paths, batch_shape(folder), options)
    unfinished = folder / "times.csv.unfinished"
    with unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["network", "milliseconds"])
        for path, seconds in zip(paths, found, strict=True):
            writer.writerow([path.stem, f"{1000 * np.quantile(seconds, 0.25):.5g}"])
    os.replace(unfinished, folder / "times.csv")
    print(f"{folder / 'times.csv'}: {len(paths)} networks, {len(found[0])} runs each")


if __name__ == "__main__":
    main()
