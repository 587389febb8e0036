"""Elastic training: gradients of sub-networks, their accuracy, and exact resume."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nas.evaluators.inherited_scores import accuracy, recalibrate
from search_spaces.network import Network, build
from search_spaces.parent import parent_space
from tests.train import toys
from train.data.augment import Preparation
from train.distill import resized
from train.execution import Execution
from train.inherit.elastic import elastic_of
from train.inherit.importance import Importance
from train.inherit.inheritance import Inheritance, some_batches
from train.inherit.weights import inherit, most_important
from train.loop import train, train_by_epochs
from train.parents import load_parent
from train.recipe import Recipe

STEADY = ("mixup=0", "dropout=0", "drop_path=0", "ema_decay=0")
PARENT = dataclasses.replace(
    toys.NETWORK,
    stem=16,
    head=32,
    stages=tuple(
        dataclasses.replace(stage, expand=4, channels=16) for stage in toys.NETWORK.stages
    ),
)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return toys.batch()


def test_gradients_are_those_of_the_sub_networks_that_share_the_weights() -> None:
    torch.manual_seed(0)
    network = build(PARENT).train()
    elastic = elastic_of(network, [batch()], sampled=2)
    before = {name: value.clone() for name, value in network.named_buffers()}
    images, _ = batch()
    logits = torch.randn(len(images), 3)
    for loss in elastic.losses(network, images, logits, seed=7, precision=torch.float32):
        loss.backward()
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())

    wanted = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    for child in elastic.children(PARENT, 7):
        # each sub-network separately, with its gradients added to the weights that it shares
        places = {
            name: torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
            for name, value in network.state_dict().items()
        }
        where = Inheritance(places, PARENT, elastic.importance)

        positions = inherit(where.tensors, PARENT, child, elastic.importance)
        own = Inheritance(network.state_dict(), PARENT, elastic.importance).network(child).train()
        found = own(resized(images, child.resolution))
        F.cross_entropy(found, logits.softmax(1)).backward()
        renamed = _sources(child, elastic.importance)
        for name, value in own.named_parameters():
            assert value.grad is not None
            flat = wanted[renamed(name)].view(-1)
            flat.index_add_(0, positions[name].long().flatten(), value.grad.flatten())
    for name, value in network.named_parameters():
        found = torch.zeros_like(value) if value.grad is None else value.grad
        assert torch.allclose(found, wanted[name], atol=1e-5), name


def _sources(child: object, importance: Importance):

    def source(name: str) -> str:
        first, *rest = name.split(".")
        if first != "blocks":
            return name
        stage, layer, *more = rest
        kept = most_important(importance.layers[int(stage)], child.stages[int(stage)].layers)  # type: ignore[attr-defined]
        return ".".join(["blocks", stage, str(kept[int(layer)]), *more])

    return source


def smallest_accuracy(network: Network, importance: Importance) -> float:
    """Return the smallest sub-network's test accuracy at full resolution, recalibrated."""

    space = parent_space(PARENT)
    genotype = (space.option_counts - 1).astype(np.int8)
    genotype[list(space.choices).index("resolution")] = 0
    child = Inheritance(network.state_dict(), PARENT, importance).network(space.decode(genotype))
    how = Preparation(size=16)
    data = toys.data()
    assert data.test is not None
    recalibrate(child, some_batches(data.train, how, device=torch.device("cpu")))
    return accuracy(child, some_batches(data.test, how, device=torch.device("cpu")))


def recipe(*changes: str) -> Recipe:
    return toys.recipe("epochs=12", *STEADY, *changes)


@pytest.mark.slow
def test_sub_networks_work_without_further_training(tmp_path: Path) -> None:
    with_it, without = [], []
    for seed in range(4):  # some plain trainings also give a small sub-network that works
        changes = f"seed={seed}"
        plain = train(PARENT, toys.data(), recipe(changes), execution=toys.CPU)
        place = Execution(device="cpu", checkpoint=tmp_path / str(seed))
        elastic = train(PARENT, toys.data(), recipe("elastic=2", changes), execution=place)
        assert elastic.network is not None
        assert plain.network is not None
        parent = load_parent(str(tmp_path / str(seed) / "best.safetensors"))
        assert parent.importance is not None
        with_it.append(smallest_accuracy(elastic.network, parent.importance))
        without.append(smallest_accuracy(plain.network, parent.importance))
        assert parent.digest != dataclasses.replace(parent, importance=None).digest
    assert min(with_it) > 85
    assert np.mean(without) < np.mean(with_it) - 5


@pytest.mark.slow
def test_an_elastic_training_resumes_exactly(tmp_path: Path) -> None:
    torch.manual_seed(3)
    initial = build(PARENT)
    short = dataclasses.replace(recipe("elastic=1"), epochs=3)
    whole = train(PARENT, toys.data(), short, execution=toys.CPU, initial=initial)
    place = Execution(device="cpu", checkpoint=tmp_path)
    first = train_by_epochs(PARENT, toys.data(), short, execution=place, initial=initial)
    next(first)
    first.close()
    torch.manual_seed(4)
    other = build(PARENT)  # which has a different importance
    resumed = train(PARENT, toys.data(), short, execution=place, initial=other)
    assert whole.network is not None
    assert resumed.network is not None
    pairs = zip(whole.network.parameters(), resumed.network.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_importance_is_stored_as_ranks() -> None:
    network = build(PARENT)
    importance = elastic_of(network, [batch()], sampled=1).importance
    again = Importance.from_dict(copy.deepcopy(importance.to_dict()), PARENT)
    assert again.to_dict() == importance.to_dict()
    child = parent_space(PARENT).decode(parent_space(PARENT).option_counts - 1)

    one, two = (inherit(network.state_dict(), PARENT, child, each) for each in (importance, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ValueError, match="importance: it belongs to another network"):
        Importance.from_dict(importance.to_dict(), toys.NETWORK)
    for damaged in ({}, {"channels": {"x": [0]}, "layers": []}, {"channels": 3, "layers": 4}):
        with pytest.raises(ValueError, match="importance: it is damaged"):
            Importance.from_dict(damaged, PARENT)
