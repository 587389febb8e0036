"""Networks ranked by their scores without training."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from nas.evaluators import zero_cost
from nas.evaluators.zero_cost import ZeroCost, first_batch, percentiles
from nas.evaluators.zero_cost_scores import SCORES
from search_spaces.architecture import Architecture
from search_spaces.network import build
from search_spaces.space import SearchSpace
from tests.nas.toys import small, tiny_space
from tests.train import toys
from tests.train.toys import batch
from train.data.augment import Draws, Preparation, finish, frame

# --- synflow


# --- the loss's gradients


# --- codes and perturbations


# --- costs, and side effects


# --- percentiles


def test_percentiles_are_the_middles_of_ranks():
    reference = np.array([30.0, 10.0, 20.0, 40.0])
    assert percentiles(reference, reference).tolist() == [62.5, 12.5, 37.5, 87.5]
    assert percentiles(np.array([25.0, np.nan]), reference)[0] == 50
    repeated = np.array([1.0, 2.0, 2.0, 3.0, np.nan])
    ranks = [stats.percentileofscore([1, 2, 2, 3], value, "mean") for value in (1, 2, 3)]
    assert percentiles(np.array([1.0, 2.0, 3.0]), repeated).tolist() == ranks
    assert np.isnan(percentiles(np.array([np.nan]), reference)).all()


def test_percentiles_know_ranks_and_not_values():
    reference = np.random.default_rng(0).normal(size=50)
    assert np.allclose(
        percentiles(reference, reference), percentiles(np.exp(reference), np.exp(reference))
    )


def test_percentiles_still_rise_beyond_the_reference():
    reference = np.random.default_rng(0).normal(size=50)
    found = percentiles(np.linspace(-8, 8, 100), reference)
    assert np.all(np.diff(found) > 0)
    assert 0 < found[0] < 1
    assert 99 < found[-1] < 100


def test_percentiles_among_equal_ones():
    assert percentiles(np.array([4.0, 5.0, 6.0]), np.full(9, 5.0))[1] == 50


# --- the evaluator


def spread(**settings: Any) -> SearchSpace:
    choices = {"channels": (4, 8, 16, 24), "layers": (1, 2), "kernel": (3, 5), "expand": (1, 2, 4)}
    return SearchSpace("small", choices, lambda chosen: small(**chosen, **settings))


def evaluator(**options: Any) -> ZeroCost:
    return ZeroCost(*batch(), **({"reference": 5} | options))


def test_answers_are_mean_percentiles_among_the_reference():
    space, judge = spread(), evaluator(scores=("params", "synflow"), reference=8, seed=3)
    reference = space.sample(8, np.random.default_rng(3))
    names, values = judge.features(space, reference)
    assert names == ("params", "synflow")
    assert values[:, 0].tolist() == space.costs(reference).params.tolist()
    found = judge.evaluate(space, reference)
    ranks = [
        [stats.percentileofscore(column, value, "mean") for value in column] for column in values.T
    ]
    assert found.accuracy == pytest.approx(np.mean(ranks, axis=0))
    assert found.accuracy.mean() == pytest.approx(50)
    assert not any(found.error)
    assert "not an accuracy" in judge.unit


def test_answers_do_not_depend_on_order_or_company():
    space = spread()
    genotypes = space.sample(4, np.random.default_rng(0))
    together = evaluator().evaluate(space, genotypes).accuracy
    judge = pickle.loads(pickle.dumps(evaluator()))
    torch.manual_seed(17)
    alone = [judge.evaluate(space, row[None]).accuracy[0] for row in genotypes[::-1]]
    assert alone[::-1] == together.tolist()


def test_the_largest_network_beats_the_smallest():
    space = spread()
    ends = np.stack([np.zeros(4, np.int8), (space.option_counts - 1).astype(np.int8)])
    low, high = evaluator(scores=tuple(SCORES)).evaluate(space, ends).accuracy
    assert 0 < low < 50 < high < 100


def test_a_known_network_is_not_scored_again(monkeypatch):
    space, judge = spread(), evaluator()
    genotypes = space.sample(3, np.random.default_rng(0))
    first = judge.evaluate(space, genotypes)
    monkeypatch.setattr(zero_cost, "scores", None)
    again = judge.evaluate(spread(), genotypes)
    assert again.accuracy.tolist() == first.accuracy.tolist()
    assert again.seconds.tolist() == first.seconds.tolist()


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried ..."), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("mat1 and mat2\ncannot"), "RuntimeError: mat1 and mat2"),
    ],
)
def test_a_network_that_fails_is_a_row_with_its_reason(monkeypatch, problem, reason):
    def fragile(architecture: Architecture) -> nn.Module:
        if architecture.stages[0].channels == 24:
            raise problem
        return build(architecture)

    monkeypatch.setattr(zero_cost, "build", fragile)
    space, judge = spread(), evaluator(scores=("params", "naswot"))
    genotypes = np.array([[3, 0, 0, 1], [1, 0, 0, 1]], np.int8)
    found = judge.evaluate(space, genotypes)
    assert found.error.tolist() == [reason, ""]
    assert np.isnan(found.accuracy).tolist() == [True, False]
    _, values = judge.features(space, genotypes)
    assert np.isnan(values).tolist() == [[True, True], [False, False]]


def test_a_score_that_is_no_number_fails_the_network():
    images, targets = batch()
    images[1] = images[0]
    judge = ZeroCost(images, targets, scores=("params", "naswot"), reference=3)
    with pytest.raises(ValueError, match=r"no random network has a naswot \(naswot is not a num"):
        judge.evaluate(spread(), np.zeros((1, 4), np.int8))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (tiny_space(), "space 'tiny' decodes to tuple, which is not an Arch"),
        (spread(classes=2), "have 2 classes, but a target is 2"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        evaluator().check(space)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ("naswot", "naswot")}, "each once"),
        ({"scores": ()}, "use one or more"),
        ({"scores": ("accuracy",)}, "score: 'accuracy' is unknown"),
        ({"reference": 1}, "reference: 1 is not allowed"),
        ({"images": torch.zeros(3, 3, 8, 8)}, "images: torch.float32 .3, 3, 8, 8. is not"),
        ({"images": torch.zeros(8, 3, 8, 8).byte()}, "images: torch.uint8"),
        ({"targets": torch.full((12,), -1)}, "targets: -1 is not a class"),
        ({"targets": torch.zeros(5)}, "use one for each of the 12 images"),
    ],
)
def test_wrong_settings_are_named(options, message):
    images, targets = batch()
    given = {"images": images, "targets": targets} | options
    with pytest.raises(ValueError, match=message):
        ZeroCost(given.pop("images"), given.pop("targets"), **given)


def test_the_first_batch_is_what_evaluation_sees():
    data, recipe = toys.data(), toys.recipe("eval_crop=0.875")
    images, targets = first_batch(data, recipe, size=12, count=10, seed=4)
    chosen = np.random.default_rng(4).permutation(96)[:10]
    how = Preparation(size=12, crop_share=0.875)
    draws = Draws(0, np.arange(10))
    expected = finish(frame(data.train.pixels.images[chosen], how, draws), how, draws)
    assert torch.equal(images, expected)
    assert targets.tolist() == data.train.targets[chosen].tolist()
    assert len(first_batch(data, recipe, size=16)[0]) == 64
    assert len(first_batch(data, recipe, size=16, count=500)[0]) == 96
    with pytest.raises(ValueError, match="count: 3 is not allowed"):
        first_batch(data, recipe, size=16, count=3)
