"""The verdict on a supernet: rank correlations, and its text."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.evaluators.proxy import EVALUATION, DataIdentity, Fidelity
from nas.supernet.judge import SEEDS, Judge
from nas.supernet.verdict import Verdict, verdict
from tests.nas.supernet.test_weights import elastic_space
from train.recipe import preset

COUNT = 24
REACHED = np.stack([np.arange(COUNT, dtype=float), np.arange(COUNT) + 0.1], 1)


def shuffled(share: float, seed: int = 0) -> np.ndarray:
    """Return scores in the right order, except for a shuffled share of them."""
    rng = np.random.default_rng(seed)
    scores = np.arange(COUNT, dtype=float)
    rows = rng.choice(COUNT, round(share * COUNT), replace=False)
    scores[rows] = scores[rng.permutation(rows)]
    return scores


def of(supernet: np.ndarray, flops: np.ndarray, short: np.ndarray | None = None) -> Verdict:
    predicted = {"supernet": (supernet, 60.0), "FLOPs": (flops, 0.0), "params": (flops, 0.0)}
    if short is not None:
        predicted["short training"] = (short, 60.0)
    return verdict(REACHED, predicted, short="epochs=2,share=0.1")


def test_correlations_are_those_of_scipy() -> None:
    scores, sizes = shuffled(0.6), np.round(shuffled(0.9, 1) / 4)  # with ties
    found = of(scores, sizes).rankings
    for name, values in (("supernet", scores), ("FLOPs", sizes)):
        expected = kendalltau(values, REACHED.mean(1)).statistic
        assert found[name].tau == pytest.approx(expected)
        assert found[name].low < expected < found[name].high


def test_a_supernet_that_ranks_well_is_recommended() -> None:
    found = of(shuffled(0.1), shuffled(0.9), shuffled(0.5))
    assert found.is_useful
    assert "ranks better than FLOPs, params and short trainings" in found.lines[-1]
    assert not any("warning" in line for line in found.lines)
    assert "between two seeds 1.00" in found.lines[0]


@pytest.mark.parametrize(
    ("supernet", "flops", "reasons"),
    [
        (-np.arange(COUNT), shuffled(1.0), "its tau is below 0.5 and it is not 0.1 above"),
        (shuffled(0.2), shuffled(0.1), "rely on this supernet: it is not 0.1 above that of FLOPs"),
        (shuffled(0.95, 2), -np.arange(COUNT), "rely on this supernet: its tau is below 0.5; use"),
    ],
)
def test_one_that_does_not_is_warned_of(
    supernet: np.ndarray, flops: np.ndarray, reasons: str
) -> None:
    found = of(supernet.astype(float), flops.astype(float))
    assert not found.is_useful
    assert found.lines[-1].startswith("warning: do not rely on")
    assert reasons in found.lines[-1]


def test_short_trainings_that_rank_better_are_named() -> None:
    found = of(shuffled(0.2), shuffled(1.0), shuffled(0.0))
    assert found.is_useful
    assert "short trainings rank better at equal seconds" in found.lines[-1]


def test_short_trainings_that_are_missing_are_not_judged() -> None:
    line = of(shuffled(0.1), shuffled(1.0)).lines[-1]
    assert line.endswith("better than FLOPs and params; short trainings are not compared.")


def test_failed_trainings_do_not_count() -> None:
    reached = REACHED.copy()
    reached[3, 1] = np.nan
    sizes = shuffled(1.0)
    found = verdict(reached, dict.fromkeys(("supernet", "FLOPs", "params"), (sizes, 0.0)))
    assert found.networks == COUNT - 1
    with pytest.raises(ValueError, match="0 networks could be trained"):
        verdict(np.full_like(REACHED, np.nan), {"supernet": (sizes, 0.0)})


def judge(**changes: int) -> Judge:
    space = elastic_space()
    genotypes = space.sample(6, np.random.default_rng(0))
    numbers = {"images": 45_000, "held": 5_000, **changes}
    return Judge(
        space, DataIdentity({}, 0.1), genotypes, preset("proxy"), Fidelity(9, 0.5), **numbers
    )


def test_the_judge_trains_each_network_with_two_seeds() -> None:
    trainings = judge().trainings()
    assert len(trainings) == len(set(trainings)) == 6 * SEEDS
    assert {t.network for t in trainings[:6]} == set(range(6))


@pytest.mark.parametrize("share", [0.8, 0.3, 0.1, 0.02])
def test_the_short_training_costs_the_share_it_is_given(share: float) -> None:
    of = judge()

    def work(fidelity: Fidelity) -> float:
        return fidelity.epochs * (fidelity.share * of.images + EVALUATION * of.held)

    short = of.short(share)
    assert work(short) == pytest.approx(share * work(of.fidelity), rel=0.02)
    assert short.epochs <= of.fidelity.epochs
    assert short.share <= of.fidelity.share


def test_a_share_above_all_is_the_judges_own_training_and_a_tiny_one_a_batch() -> None:
    assert judge().short(3.0) == judge().fidelity
    tiny = judge().short(1e-6)
    assert tiny.epochs == 1
    assert round(tiny.share * 45_000) >= preset("proxy").batch - 1
