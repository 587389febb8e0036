"""Test helper: trains in child processes that are killed at random moments; run by test_resume."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path

import torch

from tests.train import toys
from train import loop
from train.execution import Execution


class Fatal(loop.Report):
    """Kills its process shortly after `steps` steps: between steps, or while a file is written."""

    def __init__(self, steps: int, delay: float) -> None:
        self.left, self.delay = steps, delay

    def step(self, step: int, steps: int, loss: float | None) -> None:
        self.left -= 1
        if not self.left:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    loop.SAVE_EVERY = 0.05  # so that there are checkpoints inside epochs
    data, recipe = toys.data(), toys.recipe("epochs=10")
    rng = random.Random(seed)
    while True:
        steps, delay = rng.randint(1, 5), rng.uniform(0, 0.03)
        child = os.fork()
        if not child:
            report = Fatal(steps, delay) if kills else None
            loop.train(
                toys.NETWORK,
                data,
                recipe,
                execution=Execution(checkpoint=folder, device="cpu"),
                report=report,
            )
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        kills -= 1
        print("killed, left", sorted(path.name for path in folder.iterdir()), flush=True)


if __name__ == "__main__":
    main()
