"""Test helper: one process of a distributed training of the toys; torchrun starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn

from search_spaces.network import Network
from tests.train import toys
from train import state
from train.execution import Execution
from train.loop import train

build = state.build


def without_norms(*args: object, **kwargs: object) -> Network:
    """Return a network without batch norms, which see the batch of one process only.

    Without them two half batches give the gradients of the whole batch.
    """
    network = build(*args, **kwargs)
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return network


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[2] == "no-norms":
        state.build = without_norms
    recipe = toys.recipe(
        "mixup=0", "dropout=0", "drop_path=0", "optimizer=sgd", "lr=0.01", *sys.argv[3:]
    )
    folder = Path(sys.argv[1])
    result = train(
        toys.NETWORK, toys.data(), recipe, execution=Execution(checkpoint=folder, device="cpu")
    )
    # one write, so that the lines of two processes do not mix
    os.write(1, f"done {result.failed} {result.steps} {result.test}\n".encode())


if __name__ == "__main__":
    main()
