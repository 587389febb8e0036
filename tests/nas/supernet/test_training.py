"""Training of shared weights: gradients, exact resume, and learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.architecture import Architecture
from search_spaces.network import build
from search_spaces.staged import StagedSpace
from tests.nas.supernet.test_weights import elastic_space
from tests.train import toys
from train.recipe import Recipe
from train.supernet.sandwich import Sandwich
from train.supernet.training import STATE, SupernetTraining, fresh, train_supernet
from train.supernet.weights import child_weights, kinds_of, source_of

CALM = ("mixup=0", "dropout=0", "drop_path=0", "ema_decay=0", "lr=0.05")


def sandwich(the_space: StagedSpace | None = None, **changes: float) -> Sandwich:
    the_space = the_space or elastic_space()
    genotypes = the_space.sample(40, np.random.default_rng(0))
    order = np.argsort(the_space.costs(genotypes).flops, kind="stable")
    return Sandwich(the_space, genotypes[order], **changes)


def training(*changes: str, **rules: float) -> SupernetTraining:
    return SupernetTraining(sandwich(**rules), toys.data(), toys.recipe(*changes), 16)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(8, 3, 16, 16, generator=generator)
    return images, torch.arange(8) % 3


@pytest.mark.parametrize("labels", [0.0, 0.25])
def test_gradients_are_those_of_the_networks_on_their_own(labels: float) -> None:
    rule = sandwich(labels=labels)
    shared = fresh(rule.space, 0)
    for value in shared.parameters():  # no branch is switched off
        torch.nn.init.normal_(value, 0.2, 0.3)
    images, targets = batch()
    recipe: Recipe = toys.recipe(*CALM, "label_smoothing=0.1")
    tensors = shared.tensors()
    for loss in rule.losses(tensors, (images, targets), recipe, seed=5, precision=torch.float32):
        loss.backward()

    wanted = {name: torch.zeros_like(value) for name, value in tensors.items()}
    teacher = None
    for child in rule.networks(5):
        network = build(child).train()
        network.load_state_dict(child_weights(tensors, child))
        logits = network(images)
        loss = F.cross_entropy(logits, targets, label_smoothing=0.1)
        if teacher is None:
            teacher = logits.detach().softmax(1)
        else:
            loss = labels * loss + (1 - labels) * F.cross_entropy(logits, teacher)
        loss.backward()
        for name, source, places in _places(tensors, child):
            grad = network.get_parameter(name).grad
            assert grad is not None
            wanted[source].view(-1).index_add_(0, places.flatten(), grad.flatten())
    for name, value in tensors.items():
        found = torch.zeros_like(value) if value.grad is None else value.grad
        assert torch.allclose(found, wanted[name], atol=2e-4), name


def _places(tensors: dict[str, Tensor], child: Architecture) -> Sequence[tuple[str, str, Tensor]]:
    """Return name in the child, name in the shared weights, and indices there, for each tensor."""
    numbered = {
        name: torch.arange(value.numel()).reshape(value.shape) for name, value in tensors.items()
    }
    kinds = kinds_of(child)
    return [
        (name, source_of(name, kinds), value)
        for name, value in child_weights(numbered, child).items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]


def test_the_largest_and_the_smallest_frame_the_random_ones() -> None:
    rule = sandwich(sampled=3)
    costs = rule.space.costs(rule.genotypes).flops
    by_cost = {
        rule.space.decode(row): cost for row, cost in zip(rule.genotypes, costs, strict=True)
    }
    for seed in range(5):
        largest, smallest, *others = rule.networks(seed)
        assert by_cost[largest] == costs.max()
        assert by_cost[smallest] == costs.min()
        assert len(others) == 3
        assert [largest, smallest, *others] == rule.networks(seed)


@pytest.mark.parametrize("chosen", ["sgd", "muon"])
def test_norms_and_biases_are_not_decayed(chosen: str) -> None:
    """Without gradients only weight decay changes weights."""
    from train.optimizer import optimizer

    shared = fresh(elastic_space(), 0)
    changes = (f"optimizer={chosen}", "weight_decay=0.5", "muon_weight_decay=0.25")
    made = optimizer(toys.recipe(*changes), shared)
    decays = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    of_weights = {"sgd": {0.5}, "muon": {0.5, 0.25}}[chosen]
    for name, value in shared.tensors().items():
        assert decays[id(value)] in ({0} if value.ndim == 1 else of_weights), name
    assert {*decays.values()} == {0} | of_weights


def test_dropout_is_the_largest_networks_alone() -> None:
    rule, recipe = sandwich(), toys.recipe(*CALM, "dropout=0.9")
    tensors = fresh(rule.space, 0).tensors()

    def losses(seed: int) -> list[float]:
        torch.manual_seed(seed)
        found = rule.losses(tensors, batch(), recipe, seed=1, precision=torch.float32)
        return [float(loss.detach()) for loss in found]

    calm = toys.recipe(*CALM)
    assert losses(0)[0] != losses(1)[0]
    # with labels only, the losses do not depend on the networks drawn
    rule = sandwich(labels=1.0)
    first = losses(0)
    recipe = calm
    assert first[1:] == losses(2)[1:]


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_training_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.supernet.training.SAVE_EVERY", 0.0)
    what = training("epochs=2")
    whole = train_supernet(what, tmp_path / "whole", device="cpu")
    for moment in (1, 4, 8):  # in the first epoch, and in the second

        def report(step: int, steps: int, loss: float, moment: int = moment) -> None:
            if step == moment + 1:
                raise Killed

        with pytest.raises(Killed):
            train_supernet(what, tmp_path / "killed", device="cpu", report=report)
        assert (tmp_path / "killed" / STATE).is_file()
    resumed = train_supernet(what, tmp_path / "killed", device="cpu")
    assert resumed.steps == whole.steps
    for name, value in whole.tensors.items():
        assert torch.equal(value, resumed.tensors[name]), name
    # nothing is trained again
    known = train_supernet(what, tmp_path / "killed", device="cpu", report=_never)
    assert known.seconds == resumed.seconds


def _never(step: int, steps: int, loss: float) -> None:
    raise AssertionError("trained again")


def test_the_folder_of_another_training_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.supernet.training.SAVE_EVERY", 0.0)

    def report(step: int, steps: int, loss: float) -> None:
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        train_supernet(training(), tmp_path, device="cpu", report=report)
    with pytest.raises(ValueError, match="belongs to another supernet"):
        train_supernet(training("lr=0.01"), tmp_path, device="cpu")


@pytest.mark.slow
def test_all_networks_learn(tmp_path: Path) -> None:
    from nas.evaluators.inherited_scores import accuracy, recalibrate
    from train.data.augment import Preparation
    from train.inherit.inheritance import some_batches

    what = training(*CALM, "epochs=12", "resolution=16")
    trained = train_supernet(what, tmp_path, device="cpu")
    look = Preparation(size=16, crop_share=1.0, mean=what.recipe.mean, std=what.recipe.std)
    cpu = torch.device("cpu")
    calibration = some_batches(what.data.train, look, device=cpu, count=2, batch=32)
    assert what.data.minival is not None
    held_out = some_batches(what.data.minival, look, device=cpu, count=1, batch=30)
    reached = []
    for child in {*what.sandwich.networks(0), *what.sandwich.networks(1)}:
        network = build(child)
        network.load_state_dict(child_weights(trained.tensors, child))
        recalibrate(network, calibration)
        reached.append(accuracy(network, held_out))
    assert np.mean(reached) > 60  # chance is 33
