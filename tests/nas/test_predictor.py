"""The predictor with early stopping, with many pending networks, and with cheap scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nas.asha import Asha
from nas.evaluators.base import Evaluations, Point
from nas.history import History
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.loop import LoopOptions, search
from nas.search.workers import Simulated
from nas.strategies.base import sample_fresh
from nas.strategies.bayes import fit_prior, make_basis, mean_weights, posterior_weights
from nas.strategies.cheap_scores import SHARES, Memorised, Scale, explained_share
from nas.strategies.observations import observations
from nas.strategies.predictor import Predictor
from tests.nas.toys import TARGET, Synthetic, b0_space
from tests.speed import assert_quick

STEPS = 9


def drawn(count: int, *, seed: int = 0) -> np.ndarray:
    return sample_fresh(History(b0_space(), TARGET), count, np.random.default_rng(seed))


def accuracies(genotypes: np.ndarray) -> np.ndarray:
    return Synthetic().evaluate(b0_space(), genotypes).accuracy


def curve_to(final: float, steps: int = STEPS) -> tuple[Point, ...]:
    return tuple(Point(step, final - 20 / step, float(step)) for step in range(1, steps + 1))


def history_of(
    genotypes: np.ndarray, stops: np.ndarray, *, noise: float = 0.0, seed: int = 0
) -> History:
    """Return networks evaluated for given steps [n]; the noise differs at each step."""
    rng = np.random.default_rng(seed)
    curves = []
    for final, stop in zip(accuracies(genotypes), stops, strict=True):
        points = [
            point._replace(accuracy=point.accuracy + noise * rng.normal())
            for point in curve_to(final)
        ]
        curves.append(tuple(points[:stop]))
    count = len(genotypes)
    history = History(b0_space(), TARGET)
    history.extend(
        genotypes,
        Evaluations(
            np.array([curve[-1].accuracy for curve in curves]),
            np.full(count, np.nan),
            np.zeros(count),
            fidelity=stops / STEPS,
            curves=curves,
        ),
        b0_space().costs(genotypes),
    )
    return history


def test_full_evaluations_are_what_they_are() -> None:
    history = history_of(drawn(10), np.full(10, STEPS))
    seen = observations(history, np.arange(10))
    np.testing.assert_array_equal(seen.accuracy, history.accuracy)
    np.testing.assert_array_equal(seen.variance, 0.0)


def test_early_stops_are_expected_where_regression_on_full_rows_puts_them() -> None:
    genotypes = drawn(60)
    stops = np.where(np.arange(60) % 2, STEPS, 3)
    history = history_of(genotypes, stops, noise=1.0)
    seen = observations(history, np.arange(60))
    stopped = stops == 3
    missed = seen.accuracy[stopped] - (accuracies(genotypes)[stopped] - 20 / STEPS)
    assert abs(missed.mean()) < 0.7
    # the predicted variance equals the real one, within the error of 30 networks
    stated = np.sqrt(seen.variance[stopped].mean())
    assert 0.6 < missed.std() / stated < 1.4
    # compared with numpy's regression: equal except for the shrinkage
    before = history.steps.at(3)[~stopped]
    slope, offset = np.polyfit(before, history.accuracy[~stopped], 1)
    expected = offset + slope * history.accuracy[stopped]
    np.testing.assert_allclose(seen.accuracy[stopped], expected, atol=0.4)


def test_rungs_have_regressions_of_their_own() -> None:
    genotypes = drawn(90)
    stops = np.array([1, 3, STEPS] * 30)
    history = history_of(genotypes, stops)  # without noise every gain is known exactly
    seen = observations(history, np.arange(90))
    np.testing.assert_allclose(seen.accuracy, accuracies(genotypes) - 20 / STEPS, atol=1e-6)


def test_before_any_full_evaluation_all_are_compared_where_the_furthest_is() -> None:
    genotypes = drawn(20)
    history = history_of(genotypes, np.array([1, 3] * 10))
    seen = observations(history, np.arange(20))
    np.testing.assert_allclose(seen.accuracy, accuracies(genotypes) - 20 / 3, atol=1e-6)
    assert (seen.variance[1::2] == 0).all()
    assert (seen.variance[::2] > 0).all()


def test_a_lone_early_stop_is_doubted() -> None:
    genotypes = drawn(2)
    history = History(b0_space(), TARGET)
    evaluations = Evaluations(
        np.array([50.0, 60.0]), np.full(2, np.nan), np.zeros(2), fidelity=np.array([0.5, 1.0])
    )
    history.extend(genotypes, evaluations, b0_space().costs(genotypes))  # without any curves
    seen = observations(history, np.arange(2))
    assert seen.accuracy.tolist() == [50.0, 60.0]
    assert seen.variance[0] > 1.0


def test_doubtful_observations_weigh_as_their_variance_says() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(40, 5)), rng.normal(size=40)
    noise = rng.uniform(0.1, 2.0, 40)
    deviation = np.array([0.5, 1.0, 1.5, 2.0, 3.0])
    ours = mean_weights(features, targets, deviation, noise)
    # the textbook form, over the weights
    precision = features.T @ (features / noise[:, None]) + np.diag(deviation**-2)
    np.testing.assert_allclose(ours, np.linalg.solve(precision, features.T @ (targets / noise)))
    draws = posterior_weights(features, targets, deviation, noise, np.ones(20_000), rng)
    np.testing.assert_allclose(draws.mean(1), ours, atol=0.03)
    np.testing.assert_allclose(np.cov(draws), np.linalg.inv(precision), atol=0.02)
    cold = posterior_weights(features, targets, deviation, noise, np.zeros(1), rng)
    np.testing.assert_allclose(cold[:, 0], ours)


def test_known_doubt_is_not_learned_as_noise() -> None:
    basis, genotypes = make_basis(b0_space()), drawn(120)
    features = basis.features(basis.describe(genotypes, b0_space().costs(genotypes)))
    truth = accuracies(genotypes)
    truth = (truth - truth.mean()) / truth.std()
    doubted = truth + np.where(np.arange(120) % 2, 1.0, 0.0) * np.random.default_rng(0).normal(
        size=120
    )
    extra = np.where(np.arange(120) % 2, 1.0, 0.0)
    noise = [
        fit_prior(basis, features, doubted, extra=extra)[1],
        fit_prior(basis, features, doubted)[1],
    ]
    assert noise[0] < 0.3 * noise[1]


@pytest.mark.parametrize("scores", [None, lambda genotypes: accuracies(genotypes)[:, None]])
def test_a_proposal_is_a_function_of_what_is_known_and_pending(scores: Callable | None) -> None:
    genotypes = drawn(40)
    proposals = []
    for _ in range(2):
        history = history_of(genotypes, np.array([1, 3, STEPS, STEPS] * 10), noise=0.5)
        history.pending = drawn(15, seed=5)
        strategy = Predictor(b0_space(), TARGET, scores=scores)
        proposals.append(strategy.propose(history, 3, np.random.default_rng(0)))
        # earlier, with fewer results, it proposes the same
        again = history_of(genotypes, np.array([1, 3, STEPS, STEPS] * 10), noise=0.5)
        asked = Predictor(b0_space(), TARGET, scores=scores)
        asked.propose(again, 3, np.random.default_rng(1))
        again.pending = drawn(15, seed=5)
        proposals.append(asked.propose(again, 3, np.random.default_rng(0)))
    for other in proposals[1:]:
        np.testing.assert_array_equal(proposals[0], other)


def test_nothing_pending_is_proposed_and_many_in_flight_differ() -> None:
    history = history_of(drawn(30), np.full(30, STEPS))
    strategy = Predictor(b0_space(), TARGET)
    for number in range(15):
        proposal = strategy.propose(history, 1, np.random.default_rng(number))
        assert not history.contains(proposal).any()
        history.pending = np.concatenate([history.pending, proposal])
    assert len(np.unique(history.pending, axis=0)) == 15


def test_what_is_pending_does_not_prolong_the_random_start() -> None:
    asked: list[int] = []

    class Notes(Predictor):
        def _first(self, history, count, rng):  # type: ignore[no-untyped-def]
            asked.append(len(history))
            return super()._first(history, count, rng)

    def curve(genotype: np.ndarray, seed: int) -> list[Point]:
        return [Point(1, float(accuracies(genotype[None])[0]), 1.0 + genotype[0])]

    for capacity, latest in ((1, 11), (16, 3)):
        asked.clear()
        workers = Simulated(curve, capacity=capacity, steps=1)
        history = History(b0_space(), TARGET)
        search_asynchronously(history, Notes(b0_space(), TARGET), workers, Plan(30))
        assert max(asked) == latest


def test_early_stops_teach_the_model_nearly_what_full_evaluations_do() -> None:
    genotypes, held = drawn(90), drawn(200, seed=7)
    tau = {}
    for name, stops in (
        ("full", np.full(90, STEPS)),
        ("stopped", np.where(np.arange(90) % 3, 3, STEPS)),
        ("only the full third", np.full(30, STEPS)),
    ):
        known = genotypes[: len(stops)] if len(stops) == 90 else genotypes[::3]
        history = history_of(known, stops, noise=0.5)
        strategy = Predictor(b0_space(), TARGET)
        rows = np.arange(len(history))
        prior = strategy._prior(history, rows)
        data = strategy._data(history, rows, prior)
        weights = mean_weights(data.features, data.targets, prior.deviation, data.variance)
        predicted = strategy._features(held, b0_space().costs(held)) @ weights
        tau[name] = np.corrcoef(predicted, accuracies(held))[0, 1]
    assert tau["full"] >= tau["stopped"] - 0.02
    assert tau["stopped"] > tau["only the full third"] + 0.05


def test_a_search_with_early_stops_spends_less_for_as_good_a_network() -> None:
    found = []
    for asha in (None, Asha(STEPS)):
        cluster = Simulated(
            lambda genotype, seed: curve_to(float(accuracies(genotype[None])[0])),
            capacity=4,
            steps=STEPS,
        )
        history = History(b0_space(), TARGET)
        search_asynchronously(history, Predictor(b0_space(), TARGET), cluster, Plan(36, asha=asha))
        found.append((history.accuracy[history.full].max(), cluster.busy))
    (best, spent), (short_best, short_spent) = found
    assert short_best > best - 2.0
    assert short_spent < 0.85 * spent


def test_it_chooses_within_a_pool_and_ends_with_it() -> None:
    pool = drawn(40)
    strategy = Predictor(b0_space(), TARGET, pool=pool)
    history = search(b0_space(), Synthetic(), TARGET, strategy, 100)
    assert sorted(map(bytes, history.genotypes)) == sorted(map(bytes, pool))
    best = np.argmax(history.accuracy)
    assert best < 25


def score_of(kind: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return an informative score and a useless one, only useless ones, or failing ones."""

    def scores(genotypes: np.ndarray) -> np.ndarray:
        keys = b0_space().keys(genotypes).tolist()
        noise = np.array([np.random.default_rng([2, key]).normal(size=2) for key in keys])
        if kind == "informative":
            noise[:, 0] = accuracies(genotypes) + noise[:, 0]
        if kind == "broken":
            noise[:, 0], noise[:, 1] = np.nan, np.inf
        return noise

    return scores


def rough(genotypes: np.ndarray) -> np.ndarray:
    """Return accuracies of which the predictor's own features explain little."""
    keys = b0_space().keys(genotypes).tolist()
    return 60 + 3 * np.array([np.random.default_rng([3, key]).normal() for key in keys])


class Rough(Synthetic):
    def evaluate(self, space, genotypes):  # type: ignore[no-untyped-def]
        count = len(genotypes)
        return Evaluations(rough(genotypes), np.full(count, 0.1), np.zeros(count))


def test_useless_scores_change_nothing() -> None:
    found = []
    for scores in (None, score_of("noise"), score_of("broken")):
        strategy = Predictor(b0_space(), TARGET, scores=scores)
        found.append(search(b0_space(), Synthetic(), TARGET, strategy, 30).genotypes)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_informative_scores_find_better_networks() -> None:
    def telling(genotypes: np.ndarray) -> np.ndarray:
        return np.stack([rough(genotypes), score_of("noise")(genotypes)[:, 0]], axis=1)

    means = []
    for scores in (None, telling):
        histories = [
            search(
                b0_space(),
                Rough(),
                TARGET,
                Predictor(b0_space(), TARGET, scores=scores),
                36,
                LoopOptions(seed=seed),
            )
            for seed in range(2)
        ]
        means.append(np.mean([history.accuracy[20:].mean() for history in histories]))
    assert means[1] > means[0] + 1.5


def test_scores_are_asked_once_for_history_and_shortlists_only() -> None:
    asked: list[bytes] = []

    def scores(genotypes: np.ndarray) -> np.ndarray:
        asked.extend(map(bytes, genotypes))
        return rough(genotypes)[:, None]

    strategy = Predictor(b0_space(), TARGET, scores=scores)
    history = search(b0_space(), Rough(), TARGET, strategy, 40)
    assert len(asked) == len(set(asked))
    assert len(asked) <= len(history) + strategy.shortlist * (40 - strategy.start)


def test_scores_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) is not allowed .* use \(3, number"):
        Memorised(b0_space(), lambda genotypes: np.zeros(len(genotypes)))(drawn(3))


def test_evidence_decides_whether_scores_explain_anything() -> None:
    rng = np.random.default_rng(0)
    explained = rng.normal(size=80)
    targets = 0.7 * explained + 0.7 * rng.normal(size=80)
    scale = Scale.of(explained[:, None])
    assert explained_share(np.eye(80), targets, scale(explained[:, None])) in SHARES
    chance = [
        explained_share(np.eye(80), targets, Scale.of(noise)(noise))
        for noise in rng.normal(size=(200, 80, 4))
    ]
    assert np.mean(np.array(chance) > 0) < 0.03


def test_a_proposal_is_quick_with_a_thousand_known() -> None:
    # a loose bound for shared machines; experiments/results has the measured times
    history = history_of(drawn(1000), np.where(np.arange(1000) % 3, 3, STEPS), noise=0.5)
    history.pending = drawn(15, seed=9)
    strategy = Predictor(b0_space(), TARGET)
    strategy.propose(history, 8, np.random.default_rng(0))  # learns its prior once
    assert_quick(lambda: strategy.propose(history, 8, np.random.default_rng(1)), 8 * 20e-3)
