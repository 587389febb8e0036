"""How many augmented images/s does an in-memory data set yield?

What: batches of 512 random 32 px images from `train.data.in_memory.MemorySplit`, augmented,
normalised and in channels_last, on one processor thread (the code uses no more); wall-clock and
processor time, median of nine batches. Expected: 20,000 images/s with shifts and flips, so that
training never waits for data. Measured: results/data_speed.json. Time: half a minute. Command:

    python -m experiments.data_speed
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.data_speed")

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from vbs.console import print_out
from vbs.folder import write_json

BATCH, SIDE, REPEATS = 512, 32, 9
CASES: dict[str, dict[str, object]] = {
    "shift and flip": {"crop": "pad"},
    "flip": {"crop": "none"},
    "random area and flip": {"crop": "resized"},
    "shift, flip and erasing": {"crop": "pad", "erasing": 0.25},
    "shift, flip and RandAugment": {"crop": "pad", "policy": "randaugment"},
    "the same, eight images a draw": {"crop": "pad", "policy": "randaugment", "group": 8},
}


def speed(case: dict[str, object]) -> dict[str, int]:
    """Return the images/s of one kind of augmentation."""
    import torch

    from train.data import Step
    from train.data.augment import Augmentation
    from train.data.in_memory import MemorySplit

    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(256, size=(4 * BATCH, 3, SIDE, SIDE), dtype=np.uint8))
    split = MemorySplit(images, torch.zeros(len(images), dtype=torch.int64))
    how = Augmentation(size=SIDE, **case)  # type: ignore[arg-type]
    steps = [
        Step(rng.integers(len(split), size=BATCH), slice(0, BATCH), seed)
        for seed in range(REPEATS + 1)
    ]
    batches = split.batches(steps, how)
    next(batches)  # warm-up
    taken = [_timed(lambda: next(batches)) for _ in range(REPEATS)]
    wall, processor = (statistics.median(times) for times in zip(*taken, strict=True))
    return {"images_per_second": round(BATCH / wall), "per_cpu_second": round(BATCH / processor)}


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measure all kinds of augmentation and print them."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "data_speed.json")
    args = parser.parse_args()
    found = {name: speed(case) for name, case in CASES.items()}
    settings = {"batch": BATCH, "side": SIDE, "repeats": REPEATS}
    write_json(args.out, {"settings": settings, **settings_of_machine(), "speed": found})
    for name, row in found.items():
        print_out(f"{row['images_per_second']:>8,} images/s  {name}")
