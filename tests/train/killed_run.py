"""Trains in child processes that are killed at random moments; run by test_resume."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tests.train import toys
from train import loop


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    loop.SAVE_EVERY = 0.05  # so that there are checkpoints inside epochs
    data, recipe = toys.data(), toys.recipe("epochs=4")
    rng = random.Random(seed)
    while True:
        child = os.fork()
        if not child:
            loop.train(toys.NETWORK, data, recipe, checkpoint=folder, device="cpu")
            os._exit(0)
        if kills:
            time.sleep(rng.uniform(0.05, 0.6))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        kills -= 1
        left = sorted(path.name for path in folder.iterdir())
        print("killed, left", left, flush=True)


if __name__ == "__main__":
    main()
