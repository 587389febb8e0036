"""Scores of networks that inherit their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.evaluators.inherited import Inherited, preparation_of
from nas.evaluators.inherited_scores import SCORES, accuracy, recalibrate, ridge_logits
from nas.storage.cache import Cache
from search_spaces.parent import parent_space
from tests.nas.parents import toys
from train.data import Data
from train.distributed import pick_device
from train.inherit.inheritance import some_batches
from train.parents import load_parent
from train.recipe import change, preset

RECIPE = change(preset("finetune"), ["batch=16", "minival=0.2"])
SPACE = parent_space(toys.PARENT)
WHOLE = np.zeros(len(SPACE.choices), np.int8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toys.images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def parent(data: Data, tmp_path_factory: pytest.TempPathFactory) -> str:
    return toys.trained_parent(tmp_path_factory.mktemp("parent") / "best.safetensors", data)


def evaluator(data: Data, parent: str, **options: object) -> Inherited:
    return Inherited(data, parent, RECIPE, device="cpu", **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
def test_scores_are_accuracies_that_are_equal_every_time(
    data: Data, parent: str, score: str
) -> None:
    genotypes = SPACE.sample(3, np.random.default_rng(0))
    first = evaluator(data, parent, score=score).evaluate(SPACE, genotypes)
    again = evaluator(data, parent, score=score).evaluate(SPACE, genotypes[::-1])
    assert (first.accuracy == again.accuracy[::-1]).all()
    assert ((first.accuracy >= 0) & (first.accuracy <= 100)).all()
    assert first.images is not None
    assert (first.images == len(data.minival or ())).all()


def test_the_parent_itself_scores_at_least_its_accuracy(data: Data, parent: str) -> None:
    score = evaluator(data, parent, score="accuracy").evaluate(SPACE, WHOLE[None]).accuracy[0]
    assert data.minival is not None
    preparation = preparation_of(RECIPE, toys.SIDE)
    batches = some_batches(data.minival, preparation, device=pick_device("cpu"), count=9)
    assert score >= accuracy(load_parent(parent).network(), batches) > 40


def test_steps_of_fine_tuning_repair_what_was_cut(data: Data, parent: str) -> None:
    cut = SPACE.option_counts.astype(np.int8) - 1  # the smallest network
    cut[list(SPACE.choices).index("resolution")] = 0
    raw = evaluator(data, parent, score="accuracy").evaluate(SPACE, cut[None]).accuracy[0]
    repaired = evaluator(data, parent, score="steps").evaluate(SPACE, cut[None]).accuracy[0]
    assert repaired >= raw


def test_known_scores_come_from_the_cache(
    data: Data, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, genotypes = Cache(tmp_path), SPACE.sample(2, np.random.default_rng(1))
    first = evaluator(data, parent, cache=cache).evaluate(SPACE, genotypes)

    def never(*_: object) -> float:
        raise AssertionError("scored again")

    monkeypatch.setitem(SCORES, "steps", never)
    again = evaluator(data, parent, cache=cache).evaluate(SPACE, genotypes)
    assert (first.accuracy == again.accuracy).all()
    other = evaluator(data, parent, cache=cache, score="ridge").evaluate(SPACE, genotypes)
    assert other.error is not None
    assert not any(other.error)


def test_recalibrated_statistics_are_means_over_the_batches() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=0.01), torch.nn.Dropout())
    batches = [(torch.randn(8, 3, 4, 4) * 2 + 1, torch.zeros(8)) for _ in range(5)]
    recalibrate(network, batches)
    norm = network[0]
    expected = torch.stack([images.mean((0, 2, 3)) for images, _ in batches]).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)
    assert norm.momentum == 0.01
    assert not network[1].training


def test_ridge_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    known, new = rng.normal(size=(60, 8)), rng.normal(size=(7, 8))
    targets = known @ rng.normal(size=(8, 2)) + 0.01 * rng.normal(size=(60, 2)) + 3
    found = ridge_logits(*(torch.from_numpy(each) for each in (known, targets, new))).numpy()
    design = np.column_stack([known, np.ones(60)])
    plain = np.column_stack([new, np.ones(7)]) @ np.linalg.lstsq(design, targets, rcond=None)[0]
    assert found == pytest.approx(plain, abs=0.05)  # the least penalty suits data without noise
