"""Early stopping equals that of Ray's scheduler of the same name."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from nas.asha import Asha


@pytest.mark.parametrize(
    ("steps", "first", "factor", "rungs"),
    [
        (9, 1, 3.0, (1, 3)),
        (27, 3, 3.0, (3, 9)),
        (100, 1, 4.0, (1, 4, 16, 64)),
        (9, 2, 2.0, (2, 4, 8)),
        (10, 1, 1.5, (1, 2, 3, 5, 8)),  # rounded, each once
        (9, 9, 3.0, ()),
        (1, 1, 3.0, ()),
    ],
)
def test_rungs_lie_below_the_full_number_of_steps(
    steps: int, first: int, factor: float, rungs: tuple[int, ...]
) -> None:
    assert Asha(steps, first, factor).rungs == rungs


def test_the_best_share_goes_on_and_the_first_always_does() -> None:
    asha = Asha(9, 1, 3.0)
    asha.record(0, 1, 50.0)
    assert not asha.stops(0, 1)
    for number, value in enumerate([40.0, 45.0, 60.0, 42.0, 55.0], start=1):
        asha.record(number, 1, value)
    # two of six are promoted: 60 and 55
    assert [asha.stops(number, 1) for number in range(6)] == [True, True, True, False, True, False]


def test_between_rungs_and_unheard_of_nothing_is_stopped() -> None:
    asha = Asha(9, 1, 3.0)
    for number in range(9):
        asha.record(number, 2, float(number))
    assert not asha.stops(0, 2)
    assert not asha.stops(99, 1)


def test_of_equals_none_is_stopped() -> None:
    asha = Asha(9, 1, 3.0)
    for number in range(9):
        asha.record(number, 1, 50.0)
    assert not any(asha.stops(number, 1) for number in range(9))


@pytest.mark.parametrize(
    ("count", "factor", "kept"), [(1, 3, 1), (2, 3, 1), (3, 3, 1), (6, 3, 2), (8, 4, 2), (9, 2, 4)]
)
def test_the_best_share_is_promoted(count: int, factor: float, kept: int) -> None:
    asha = Asha(9, 1, factor)
    for number, value in enumerate(np.random.default_rng(count).permutation(count)):
        asha.record(number, 1, float(value))
    assert sum(not asha.stops(number, 1) for number in range(count)) == kept


def test_a_value_recorded_again_replaces_the_earlier_one() -> None:
    asha = Asha(9, 1, 3.0)
    for number, value in enumerate([50.0, 40.0, 45.0]):
        asha.record(number, 1, value)
    asha.record(0, 1, 30.0)
    assert [asha.stops(number, 1) for number in range(3)] == [True, True, False]


def test_the_time_of_a_comparison_does_not_grow_with_the_evaluations() -> None:
    def seconds(count: int) -> float:
        asha = Asha(9, 1, 3.0)
        values = np.random.default_rng(0).uniform(size=count)
        for number, value in enumerate(values[:-1000]):
            asha.record(number, 1, value)
        began = time.process_time()
        for number, value in enumerate(values[-1000:], start=count):
            asha.record(number, 1, value)
            asha.stops(number, 1)
        return time.process_time() - began

    seconds(2_000)
    assert seconds(50_000) < 10 * max(1e-3, seconds(2_000))


@pytest.mark.parametrize(("first", "factor", "steps"), [(1, 3.0, 27), (2, 2.0, 16), (1, 4.0, 64)])
def test_agrees_with_rays_scheduler(first: int, factor: float, steps: int) -> None:
    # Ray compares with an interpolated percentile of those that came before, we with the best
    # share of all that are there: nearly the same once a rung has some entries
    schedulers = pytest.importorskip("ray.tune.schedulers")
    rays = schedulers.AsyncHyperBandScheduler(
        time_attr="step",
        metric="value",
        mode="max",
        max_t=steps,
        grace_period=first,
        reduction_factor=factor,
        stop_last_trials=False,
    )
    ours = Asha(steps, first, factor)
    assert set(ours.rungs) == {rung for rung, _ in rays._brackets[0]._rungs if rung < steps}
    rng = np.random.default_rng(0)
    agreed = []
    for number in range(600):
        trial = SimpleNamespace(trial_id=str(number))
        rays.on_trial_add(None, trial)
        level = rng.normal()
        for step in range(1, steps):
            value = float(level + np.log(step) + 0.3 * rng.normal())
            said = rays.on_trial_result(None, trial, {"step": step, "value": value})
            ours.record(number, step, value)
            stops = ours.stops(number, step)
            if step in ours.rungs and number >= 30:
                agreed.append(stops == (said == schedulers.TrialScheduler.STOP))
            if stops or said == schedulers.TrialScheduler.STOP:
                break
    assert len(agreed) > 570
    assert np.mean(agreed) > 0.97


def test_rungs_come_back_from_recorded_curves_in_any_order() -> None:
    rng = np.random.default_rng(0)
    told = [(number, step, float(rng.normal())) for number in range(20) for step in (1, 3)]
    first, second = Asha(9), Asha(9)
    for one in told:
        first.record(*one)
    for one in reversed(told):
        second.record(*one)
    for number, step, _ in told:
        assert first.stops(number, step) == second.stops(number, step)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"factor": 1.0}, "factor: 1.0"), ({"first": 0}, "first: 0")],
)
def test_impossible_numbers_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Asha(9, **arguments)
