"""Contents of a history, and the memory of a long one."""

from __future__ import annotations

import numpy as np
import pytest

from nas.columns import Columns
from nas.evaluators.base import Answer, Evaluations, Point
from nas.history import History
from nas.key_set import KeySet
from nas.objective import Objective, highest, pareto_front
from nas.step_accuracies import StepAccuracies
from nas.strategies.base import fresh
from tests.nas.studies import EASY, every_network
from tests.nas.toys import b0_space, tiny_space


@pytest.mark.parametrize("largest", [50, 2**64 - 1])
def test_a_set_of_keys_holds_what_pythons_set_holds(largest: int) -> None:
    rng, keys, expected = np.random.default_rng(0), KeySet(), set()
    for _ in range(60):
        new = rng.integers(0, largest, rng.integers(0, 400), dtype=np.uint64, endpoint=True)
        keys.update(new)
        expected.update(new.tolist())
        asked = np.concatenate([new, rng.integers(0, largest, 300, dtype=np.uint64)])
        found = [key in expected for key in asked.tolist()]
        assert keys.contains(asked).tolist() == found
        assert len(keys) == len(expected)


def test_keys_that_collide_are_told_apart() -> None:
    keys = KeySet()
    alike = np.arange(1, 1000, dtype=np.uint64) << np.uint64(54)
    keys.update(alike[::2])
    assert keys.contains(alike).tolist() == [row % 2 == 0 for row in range(999)]
    assert not keys.contains(np.array([3], np.uint64))[0]


def test_a_column_of_one_value_takes_no_memory_until_another_comes() -> None:
    columns = Columns({"a": (np.int64, ()), "b": (object, ()), "c": (np.int8, (2,))}, {"b": ()})
    columns.append(2, {"a": 7, "c": [[1, 2], [3, 4]]})
    columns.append(1, {"a": np.array([7]), "c": [[5, 6]]})
    assert columns.view("a").tolist() == [7] * 3
    assert columns.view("a").strides == (0,)
    assert columns.view("b").tolist() == [()] * 3
    more = np.empty(2, object)
    more[:] = ["x", ()]
    columns.append(2, {"a": [7, 8], "b": more, "c": [[0, 0]] * 2})
    assert columns.view("a").tolist() == [7, 7, 7, 7, 8]
    assert columns.view("b").tolist() == [(), (), (), "x", ()]
    assert columns.view("c").tolist() == [[1, 2], [3, 4], [5, 6], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match="read-only"):
        columns.view("a")[0] = 1


def test_attributes_that_a_search_does_not_use_are_not_allocated() -> None:
    space = b0_space()
    history = History(space, Objective(1e9))
    for seed in range(3):
        genotypes = fresh(space.sample(2000, np.random.default_rng(seed)), history)
        count = len(genotypes)
        evaluations = Evaluations(np.arange(count) / 100, np.full(count, 0.1), np.zeros(count))
        history.extend(genotypes, evaluations, space.costs(genotypes))
    allocated = {name for name in history._columns._shapes if name in history._columns._arrays}
    assert allocated == {"genotypes", "accuracy", "reward", "flops", "params", "activations"}
    assert history.error.tolist() == [""] * len(history)
    assert history.full.all()
    assert history.curves[3] == ()
    assert (history.expected == history.accuracy).all()


def test_rewards_of_stopped_evaluations_follow_the_mean_gain_of_full_ones() -> None:
    history = History(tiny_space(), EASY)
    networks = every_network(history.space)
    rng = np.random.default_rng(0)
    for turn, genotype in enumerate(networks[:15]):
        curve = tuple(Point(step, 30 + 5 * step + rng.normal(), 1.0) for step in (1, 2, 3))
        stopped = 3 if turn % 3 else 1 + turn % 2
        answer = Answer.of_curve(curve[:stopped], stopped_of=3 if stopped < 3 else None)
        evaluations = Evaluations.of_answers([answer])
        history.extend(genotype[None], evaluations, history.space.costs(genotype[None]))
    for row in np.flatnonzero(history.fidelity < 1):
        step = history.curves[row][-1].step
        gains = [
            history.accuracy[full] - history.curves[full][step - 1].accuracy
            for full in np.flatnonzero(history.full)
        ]
        assert history.expected[row] == history.accuracy[row] + np.mean(gains)
        assert history.reward[row] == history.expected[row]
    assert history.revision > 1


def test_accuracies_by_step_are_those_of_the_curves() -> None:
    steps = StepAccuracies()
    steps.extend(2, None)
    steps.extend(3, [(), (Point(1, 5.0, 1.0), Point(3, 7.0, 2.0)), (Point(1, 6.0, 1.0),)])
    steps.extend(1, None)
    np.testing.assert_array_equal(steps.at(1), [np.nan, np.nan, np.nan, 5.0, 6.0, np.nan])
    np.testing.assert_array_equal(steps.at(3), [np.nan] * 3 + [7.0] + [np.nan] * 2)
    assert np.isnan(steps.at(2)).all()
    assert steps.last.tolist() == [0, 0, 0, 3, 1, 0]


def test_front_and_best_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    accuracy, flops = rng.integers(0, 60, 900) / 2.0, rng.integers(0, 80, 900)
    accuracy[::17] = np.nan
    front, best = pareto_front(accuracy, flops), highest(accuracy, 40)
    monkeypatch.setattr("nas.objective.PART", 50)
    assert pareto_front(accuracy, flops).tolist() == front.tolist()
    assert highest(accuracy, 40).tolist() == best.tolist()
    expected = np.argsort(-np.nan_to_num(accuracy, nan=-np.inf), kind="stable")[:40]
    assert best.tolist() == expected.tolist()
