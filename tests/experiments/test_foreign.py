"""Networks of other tools are fine-tuned with the same recipe as ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.lib.foreign import _flops, fine_tuned
from search_spaces.cost import cost
from search_spaces.network import build
from tests.nas.parents import toys
from train.data import load
from train.execution import Execution
from train.loop import train
from train.recipe import change, preset

RECIPE = change(
    preset("finetune"), ["epochs=6", "batch=16", "warmup_epochs=0", "minival=0.2", "lr=2e-3"]
)


@pytest.mark.slow
def test_a_module_learns_as_in_our_own_loop(tmp_path: Path) -> None:
    data = load(toys.image_folder(tmp_path / "images"), minival=0.2)
    torch.manual_seed(0)
    network = build(toys.PARENT)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    found = fine_tuned(network, data, RECIPE, None, side=toys.PARENT.resolution)
    again = build(toys.PARENT)
    again.load_state_dict(start)
    ours = train(toys.PARENT, data, RECIPE, execution=Execution(device="cpu"), initial=again)
    assert ours.test is not None
    assert found["test_top1"] > 50  # of three classes
    assert abs(found["test_top1"] - ours.test.top1) < 25
    assert found["seconds"] > 0


def test_multiply_adds_are_ours() -> None:
    side = toys.PARENT.resolution
    example = torch.zeros(1, 3, side, side)
    assert _flops(build(toys.PARENT), example) == cost(toys.PARENT).flops
