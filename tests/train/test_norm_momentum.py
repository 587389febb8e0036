"""Batch-norm statistics follow the weights from the first step on in every kind of training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from search_spaces.network import Network, build
from tests.train import toys
from train import loop
from train.checkpoint import read_state, write_state
from train.execution import Execution
from train.loop import Report, train
from train.norm_momentum import NormStatistics, settled_after
from train.norm_momentum import norm_momentum as momentum_of
from train.progressive import first_epoch
from train.recalibrate import EARLY
from train.recipe import NORM_STATISTICS, check_version

SLOW = dataclasses.replace(toys.NETWORK, bn_momentum=0.01)  # TensorFlow's


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def recalibrated(network: Network) -> Network:
    """Return the same weights with the mean statistics of all training images."""
    copied = build(network.architecture)
    copied.load_state_dict(network.state_dict())
    for norm in norms(copied.train()):
        norm.reset_running_stats()
        norm.momentum = None
    images = toys.data().train.pixels.images
    mean, std = torch.tensor(toys.recipe().mean), torch.tensor(toys.recipe().std)
    with torch.no_grad():
        copied((images.float() / 255 - mean[:, None, None]) / std[:, None, None])
    return copied.eval()


def test_momentum_begins_at_one_and_ends_at_the_networks_own() -> None:
    values = [momentum_of(0.01, n) for n in range(2400)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[20] == 0.5
    assert values[settled_after(0.01) :] == [0.01] * (2400 - settled_after(0.01))
    assert values[settled_after(0.01) - 1] > 0.01
    assert momentum_of(0.1, 500) == 0.1
    assert [momentum_of(0.0, n) for n in (0, 5)] == [0.0, 0.0]


def test_statistics_close_to_right_keep_their_weight() -> None:
    assert momentum_of(0.01, 0, near=True) == pytest.approx(0.1)
    assert [momentum_of(0.1, n, near=True) for n in (0, 1, 50)] == [0.1] * 3
    assert momentum_of(0.01, 10**6, near=True) == 0.01


def test_the_average_equals_torchs_own_with_that_momentum() -> None:
    torch.manual_seed(1)
    ours, theirs = (build(SLOW).train() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    statistics = NormStatistics(ours)
    for number in range(30):
        images, _ = toys.batch()
        images = images * (1 + number) + number
        with statistics.batch(number):
            ours(images).sum().backward()
        for norm in norms(theirs):
            norm.momentum = momentum_of(0.01, number)
        theirs(images).sum().backward()
        assert {norm.momentum for norm in norms(ours)} == {0.01}
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3, 8, 20])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_short_training_is_evaluated_with_the_statistics_of_its_weights(
    epochs: int, ema: float
) -> None:
    recipe = toys.recipe(
        f"epochs={epochs}",
        "mixup=0",
        "dropout=0.3",
        "drop_path=0.3",
        "crop=none",
        "flip=false",
        f"ema_decay={ema}",
        "lr=0.3",
        "warmup_epochs=0",
        "schedule=constant",
    )
    result = train(SLOW, toys.data(minival=0), recipe, execution=toys.CPU)
    assert result.network is not None
    early = 6 * epochs < EARLY
    for own, right in zip(norms(result.network), norms(recalibrated(result.network)), strict=True):
        ratio = own.running_var / right.running_var
        assert ratio.min() > (0.8 if early else 0.4), "the initial variance of 1 is still in it"
        assert ratio.max() < (1.2 if early else 3)


def test_pretrained_statistics_are_not_measured_again() -> None:
    torch.manual_seed(5)
    start = build(SLOW)
    calls: list[int] = []
    original = loop.recalibrate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "recalibrate", lambda *words: (calls.append(1), original(*words)))
        train(SLOW, toys.data(), toys.recipe(), execution=toys.CPU, initial=start)
        assert not calls
        train(SLOW, toys.data(), toys.recipe(), execution=toys.CPU)
        assert len(calls) == 2 * 2, "the weights and their average after each epoch"


def test_the_trainings_momentum_does_not_change_what_is_learned() -> None:
    """Statistics are not used in training, so the weights are equal for every momentum."""
    recipe = toys.recipe("ema_decay=0")
    results = [
        train(
            dataclasses.replace(toys.NETWORK, bn_momentum=own),
            toys.data(minival=0),
            recipe,
            execution=toys.CPU,
        ).network
        for own in (0.01, 1.0)
    ]
    first, second = (dict(network.named_parameters()) for network in results)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


class StopAt(Report):
    def __init__(self, step: int) -> None:
        self.at, self.now = step, 0

    def step(self, step: int, steps: int, loss: float | None) -> None:
        self.now = step

    def stop(self) -> bool:
        return self.now == self.at


@pytest.mark.parametrize("given", [False, True])
def test_a_training_of_slow_statistics_resumes_exactly(tmp_path: Path, given: bool) -> None:
    torch.manual_seed(3)
    initial = build(SLOW) if given else None
    recipe = toys.recipe("epochs=3", "device_batch=8")
    plain = train(SLOW, toys.data(), recipe, execution=toys.CPU, initial=initial)
    train(
        SLOW,
        toys.data(),
        recipe,
        execution=Execution(checkpoint=tmp_path, device="cpu"),
        report=StopAt(8),
        initial=initial,
    )
    # train.run gives no weights to a run that it resumes
    resumed = train(
        SLOW, toys.data(), recipe, execution=Execution(checkpoint=tmp_path, device="cpu")
    )
    assert plain.network is not None
    assert resumed.network is not None
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_training_that_an_earlier_version_began_is_not_mixed(tmp_path: Path) -> None:
    recipe = toys.recipe("epochs=3")
    train(
        SLOW,
        toys.data(),
        recipe,
        execution=Execution(checkpoint=tmp_path, device="cpu"),
        report=StopAt(8),
    )
    path = tmp_path / "last.safetensors"
    tensors, counters = read_state(path)
    del counters["norm_statistics"]
    write_state(path, tensors, counters)
    with pytest.raises(ValueError, match=r"first 1,980 batches .* train again in another folder"):
        train(SLOW, toys.data(), recipe, execution=Execution(checkpoint=tmp_path, device="cpu"))


def test_a_long_training_that_an_earlier_version_began_is_resumed(tmp_path: Path) -> None:
    quick = dataclasses.replace(toys.NETWORK, bn_momentum=1.0)
    recipe = toys.recipe("epochs=3")
    train(
        quick,
        toys.data(),
        recipe,
        execution=Execution(checkpoint=tmp_path, device="cpu"),
        report=StopAt(12),
    )
    path = tmp_path / "last.safetensors"
    tensors, counters = read_state(path)
    del counters["norm_statistics"], counters["pretrained"]
    write_state(path, tensors, counters)
    assert (
        train(
            quick, toys.data(), recipe, execution=Execution(checkpoint=tmp_path, device="cpu")
        ).steps
        == 18
    )


def test_a_linear_probe_leaves_the_statistics_alone() -> None:
    torch.manual_seed(5)
    start = build(SLOW)
    recipe = toys.recipe("train=classifier", "ema_decay=0")
    network = train(SLOW, toys.data(), recipe, execution=toys.CPU, initial=start).network
    assert network is not None
    for own, given in zip(norms(network), norms(start), strict=True):
        assert torch.equal(own.running_mean, given.running_mean)
        assert torch.equal(own.running_var, given.running_var)


def test_a_change_of_the_input_side_begins_the_average_again(monkeypatch) -> None:
    seen: list[tuple[int, bool]] = []
    begin_at = NormStatistics.begin_at

    def spy(self: NormStatistics, first: int, *, near: bool) -> None:
        seen.append((first, near))
        begin_at(self, first, near=near)

    monkeypatch.setattr(NormStatistics, "begin_at", spy)
    recipe = toys.recipe("epochs=6", "stages=3", "min_resolution=8", "device_batch=8")
    starts = [first_epoch(dataclasses.replace(recipe, resolution=16), epoch) for epoch in range(6)]
    assert starts == [0, 0, 2, 2, 4, 4]
    train(SLOW, toys.data(), recipe, execution=toys.CPU)
    # six steps of two batches an epoch
    assert seen == [(0, False)] * 2 + [(24, True)] * 2 + [(48, True)] * 2
    seen.clear()
    train(SLOW, toys.data(), toys.recipe(), execution=toys.CPU)
    assert seen == [(0, False)] * 2


@pytest.mark.slow
def test_a_compiled_network_is_compiled_at_most_twice() -> None:
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    network = build(SLOW).train()
    forward = torch.compile(network, backend=counter)
    statistics = NormStatistics(network)
    images, _ = toys.batch()
    for number in range(1974, 1984):
        with statistics.batch(number):
            forward(images).sum().backward()
    for number in range(12):
        with statistics.batch(number):
            forward(images).sum().backward()
    assert counter.frame_count <= 2


def test_results_of_earlier_versions_are_not_found_in_the_cache(tmp_path: Path) -> None:
    from nas.evaluators import proxy

    images = proxy.DataIdentity({}, 0.1)
    known = proxy.identity(SLOW, toys.recipe(), proxy.Fidelity(1), images, seed=0, clock="wall cpu")
    assert known["norm_statistics"] == NORM_STATISTICS


def test_runs_of_earlier_versions_are_not_mixed_with_new_trainings() -> None:
    with pytest.raises(ValueError, match="resume: the trainings in runs/tune-1 are from a version"):
        check_version({"trials": []}, "runs/tune-1")
    check_version({"norm_statistics": NORM_STATISTICS}, "runs/tune-1")
