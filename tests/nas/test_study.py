"""The study, the record of a search by training: claims, results, take-overs, settings."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from nas.evaluators.base import Answer, Point
from nas.history import History
from nas.objective import Objective
from nas.storage.study import Study, open_study
from nas.storage.study_settings import SearchIdentity, read_settings
from search_spaces.space import SearchSpace
from tests.nas.studies import CURVE, EASY, NETWORKS, claimed, history_of, opened
from tests.nas.toys import TARGET, b0_space, tiny_space
from vbs import processes


def trials(url: str) -> list[optuna.trial.FrozenTrial]:
    """Return the trials as Optuna reads them."""
    return optuna.load_study(study_name="search", storage=url).trials


def test_what_failed_may_be_claimed_again(url: str) -> None:
    with opened(url) as study:
        study.finish(claimed(study, NETWORKS[0]), Answer(math.nan, error="out of memory"))
        study.finish(claimed(study, NETWORKS[1]), Answer(60.0))
    with opened(url) as study:
        assert study.retry_failed() == 1
        assert study.retry_failed() == 0
        assert len(history_of(study)) == 1
        assert study.claim(NETWORKS[1], {}) is None
        study.finish(claimed(study, NETWORKS[0]), Answer(61.0))
        assert history_of(study).accuracy.tolist() == [60.0, 61.0]
    first, _, again = trials(url)
    assert first.user_attrs["error"] == "out of memory"
    assert again.user_attrs["retry of trial"] == first.number


def test_a_reader_finds_options_costs_and_results(url: str) -> None:
    space = b0_space()
    genotype = space.sample(1, np.random.default_rng(0))[0]
    objective = Objective(400e6, "mnas", over_target="allow")
    with open_study(
        url, "search", SearchIdentity(space, objective, {"seed": 0}), resume=False
    ) as study:
        costs = space.costs(genotype[None])
        cost = {"flops": int(costs.flops[0]), "latency": 0.0125}
        number = study.claim(genotype, cost)
        assert number == 0
        study.finish(number, Answer(71.5, std=0.25, seconds=60.0, curve=CURVE, images=72))
    found = optuna.load_study(study_name="search", storage=url)
    assert found.user_attrs["seed"] == 0
    assert found.metric_names == ["reward"]
    assert found.direction == optuna.study.StudyDirection.MAXIMIZE
    (trial,) = found.trials
    assert trial.params == space.choices_of(genotype)
    assert trial.value == pytest.approx(objective.reward(np.array([71.5]), costs)[0])
    assert trial.intermediate_values == {1: 40.0, 2: 55.5}
    attributes = dict(trial.user_attrs)
    assert attributes.pop("driver") == study.driver
    assert attributes == {
        **cost,
        "seed": 0,
        "architecture": space.decode(genotype).key,
        "accuracy": 71.5,
        "accuracy std": 0.25,
        "seconds": 60.0,
        "fidelity": 1.0,
        "images": 72,
    }
    assert trial.datetime_complete >= trial.datetime_start
    assert abs(time.time() - trial.datetime_complete.timestamp()) < 3600


@pytest.mark.parametrize(
    ("answer", "state", "error"),
    [
        (Answer(70.0), "COMPLETE", ""),
        (Answer(55.5, curve=CURVE, fidelity=0.5), "PRUNED", ""),
        (Answer(math.nan, error="CUDA out of memory"), "FAIL", "CUDA out of memory"),
        (Answer.failed("killed\x00 by \ud800 \N{FIRE}", CURVE), "FAIL", "killed\x00 by \ud800 🔥"),
        (Answer(math.nan), "FAIL", "accuracy is nan"),
        (Answer(math.inf, curve=(Point(1, math.inf, 1.0),)), "FAIL", "accuracy is inf"),
    ],
)
def test_every_end_is_a_row_of_the_history(
    study: Study, url: str, answer: Answer, state: str, error: str
) -> None:
    number = claimed(study, NETWORKS[3])
    study.finish(number, answer)
    (trial,) = trials(url)
    assert trial.state.name == state
    assert (trial.value is None) == (state == "FAIL")
    for history in (history_of(study), history_of(opened(url))):
        np.testing.assert_array_equal(history.genotypes, NETWORKS[3:4])
        assert history.error[0] == error == trial.user_attrs.get("error", "")
        assert history.fidelity[0] == answer.fidelity
        assert history.seconds[0] == answer.seconds
        assert len(history.curves[0]) == len(answer.curve)
        if not error:
            assert history.accuracy[0] == answer.accuracy
            assert history.curves[0] == answer.curve


def test_rows_come_in_order_of_completion_however_they_are_read(study: Study, url: str) -> None:
    numbers = [claimed(study, genotype) for genotype in NETWORKS[:6]]
    assert numbers == list(range(6))
    history = History(tiny_space(), EASY)
    for order, number in enumerate((4, 1, 5, 0)):
        study.finish(number, Answer(60.0 + order))
        study.sync(history)
    np.testing.assert_array_equal(history.accuracy, [60, 61, 62, 63])
    np.testing.assert_array_equal(history.genotypes, NETWORKS[[4, 1, 5, 0]])
    np.testing.assert_array_equal(history.pending, NETWORKS[[2, 3]])
    np.testing.assert_array_equal(history_of(opened(url)).genotypes, history.genotypes)
    assert study.started == 6


def test_a_learning_curve_may_be_told_twice(study: Study, url: str) -> None:
    number = claimed(study, NETWORKS[0])
    for point in (*CURVE, Point(1, 41.0, 2.0), Point(2, math.nan, 4.0)):
        study.report(number, point)
    assert math.isnan(trials(url)[0].intermediate_values[2])
    study.report(number, Point(2, 56.0, 4.0))
    study.finish(number, Answer(56.0))  # an outcome without a curve keeps the reported one
    assert history_of(study).curves[0] == (Point(1, 41.0, 2.0), Point(2, 56.0, 4.0))
    assert trials(url)[0].intermediate_values == {1: 41.0, 2: 56.0}


def test_a_decision_without_effect_makes_no_other_network(url: str) -> None:
    space = SearchSpace(
        "branching",
        {"kind": ("plain", "wide"), "width": (2, 4)},
        lambda choices: tuple(choices),
        only_if={"width": ("kind", ("wide",))},
    )
    with open_study(url, "search", SearchIdentity(space, EASY), resume=False) as study:
        assert study.claim(np.array([0, 0]), {}) == 0
        assert study.claim(np.array([0, 1]), {}) is None


def test_what_a_driver_leaves_undone_is_taken_over_by_one_other(study: Study, url: str) -> None:
    one, other = opened(url), opened(url)
    number = claimed(study, NETWORKS[7])
    study.report(number, CURVE[0])
    study.finish(claimed(study, NETWORKS[8]), Answer(60.0))
    assert one.abandoned() == []
    study.close()
    (claim,) = one.abandoned()
    np.testing.assert_array_equal(claim.genotype, NETWORKS[7])
    assert claim.seed == 0
    assert other.abandoned() == one.abandoned() == []
    assert one.started == 2
    assert one.claim(NETWORKS[1], {}, most=2) is None
    again = one.claim(claim.genotype, {}, most=1)  # one of those that were started
    assert (again, one.started) == (2, 2)
    lost, _, retry = trials(url)
    assert lost.state.name == "FAIL"
    assert lost.user_attrs["lost"] == one.driver
    assert retry.user_attrs["retry of trial"] == 0
    assert len(history_of(other)) == 1  # lost evaluations have no row
    np.testing.assert_array_equal(history_of(other).pending, NETWORKS[7:8])


def test_what_was_taken_over_and_not_claimed_is_taken_over_again(study: Study, url: str) -> None:
    claimed(study, NETWORKS[7])
    study.claim(NETWORKS[7], {}, seed=2)
    study.close()
    one = opened(url)
    assert sorted(claim.seed for claim in one.abandoned()) == [0, 2]
    one.claim(NETWORKS[7], {}, seed=2)
    one.close()
    last = opened(url)
    assert sorted(claim.seed for claim in last.abandoned()) == [0, 2]
    assert last.abandoned() == []


def test_a_driver_elsewhere_is_gone_after_the_grace(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(processes, "place", lambda: "elsewhere")
        remote = opened(url)
    number = claimed(remote, NETWORKS[0])
    patient, hasty = opened(url), opened(url, grace=0.5)
    time.sleep(0.6)
    assert patient.abandoned() == []
    assert len(hasty.abandoned()) == 1
    remote.report(number, CURVE[0])  # it had not ended, it was only slow
    assert not remote.finish(number, Answer(60.0))
    again = claimed(hasty, NETWORKS[0])
    assert hasty.finish(again, Answer(61.0))
    assert history_of(remote).accuracy.tolist() == [61.0]


@pytest.mark.slow
def test_a_driver_killed_at_any_moment_leaves_whole_trials(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ends = 0
    for turn in range(2):
        command = [sys.executable, "-m", "tests.nas.study_driver", url, "search", str(log), "1"]
        driver = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        deadline = time.monotonic() + 120
        while driver.poll() is None and time.monotonic() < deadline:
            ends = log.read_text().count("end") if log.exists() else 0
            if ends >= 7 * (turn + 1):
                break
            time.sleep(0.003)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    study = opened(url)
    history = history_of(study)
    assert len(history) in (ends, ends + 1)  # killed between the end and its line in the log
    assert (history.error == "").all()
    assert all(len(curve) == 2 for curve in history.curves)
    assert len(study.abandoned()) <= 1
    assert [trial.number for trial in trials(url)] == list(range(len(trials(url))))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"settings": {"seed": 1}}, r"study 'search' has another seed: 0 in the study, 1 here$"),
        ({"settings": {}}, r"another seed: 0 in the study, null here$"),
        ({"settings": {"seed": 0, "data": "x"}}, r'another data: null in the study, "x" here$'),
        ({"resume": False}, r"already holds the study 'search'; use --resume"),
    ],
)
def test_a_search_with_other_settings_does_not_go_on(
    url: str, other: dict[str, Any], message: str
) -> None:
    opened(url).close()
    with pytest.raises(ValueError, match=message):
        opened(url, **other)


def test_a_search_of_another_space_or_objective_does_not_go_on(url: str) -> None:
    opened(url).close()
    space = tiny_space()
    with pytest.raises(ValueError, match=r"another search objective \(target\)"):
        open_study(url, "search", SearchIdentity(space, TARGET, {"seed": 0}), resume=True)
    more = SearchSpace("tiny", {**space.choices, "more": (1, 2)}, tuple)
    with pytest.raises(ValueError, match=r"another search space \(choices\)"):
        open_study(url, "search", SearchIdentity(more, EASY, {"seed": 0}), resume=True)
    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(ValueError, match=r"study 'theirs' was not created by nas\.search"):
        open_study(url, "theirs", SearchIdentity(space, EASY, {"seed": 0}), resume=True)


def test_settings_are_read_by_name(url: str) -> None:
    opened(url, settings={"seed": 3, "data": ["a", 0.5]}).close()
    assert read_settings(url, "search") == {"seed": 3, "data": ["a", 0.5]}
    with pytest.raises(ValueError, match="holds no study 'other'"):
        read_settings(url, "other")


def test_the_error_of_the_images_comes_back_from_the_study(url: str) -> None:
    with opened(url) as study:
        study.finish(claimed(study, NETWORKS[0]), Answer(47.22, images=72))
        study.finish(study.claim(NETWORKS[0], {}, seed=1) or 0, Answer(47.22, images=72))
        study.finish(claimed(study, NETWORKS[1]), Answer(60.0))  # as earlier versions wrote them
    with opened(url) as study:
        history = history_of(study)
    assert history.images.tolist() == [72, 72, 0]
    np.testing.assert_allclose(history.std, [5.84, 5.84, math.nan], atol=0.01)
    assert history.summary(0)[:2] == pytest.approx((47.22, 5.84), abs=0.01)
    assert history.lead().others == 0  # only one network was evaluated twice
