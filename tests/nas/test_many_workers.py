"""Simulated workers, and studies with many trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, text

from nas.evaluators.base import Answer, Point
from nas.history import History
from nas.search.workers import Simulated
from tests.nas.studies import EASY, NETWORKS, claimed, history_of, opened


def test_a_simulated_evaluation_that_is_stopped_gives_one_answer() -> None:
    curve = [Point(step, 50.0 + step, 10.0 * step) for step in (1, 2, 3)]
    cluster = Simulated(lambda genotype, seed: curve, capacity=2, steps=3)
    for number in (0, 1):
        cluster.start(number, np.zeros(3, np.int8))
    assert cluster.wait(1.0) == [(0, curve[0])]
    cluster.stop(0)
    cluster.stop(0)
    messages = [each for _ in range(9) for each in cluster.wait(1.0)]
    answers = [(number, each) for number, each in messages if isinstance(each, Answer)]
    assert [number for number, _ in answers] == [0, 1]
    assert [answer.fidelity for _, answer in answers] == [1 / 3, 1.0]
    assert [each for number, each in messages if number == 0] == [answers[0][1]]


def test_a_study_of_an_earlier_version_is_read_and_continued(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with opened(url) as study:
        for turn, genotype in enumerate(NETWORKS[:6]):
            study.finish(claimed(study, genotype), Answer(50.0 - turn))
    engine = create_engine(url)
    with engine.begin() as connection:  # not written by earlier versions
        for table, key in (
            ("trial_system_attributes", "genotype"),
            ("study_system_attributes", "trials ended"),
        ):
            gone = connection.execute(text(f"DELETE FROM {table} WHERE key = '{key}'"))
            assert gone.rowcount > 0
    engine.dispose()
    with opened(url) as study:
        before = history_of(study)
        np.testing.assert_array_equal(before.genotypes, NETWORKS[:6])
        assert study.started == 6
        study.finish(claimed(study, NETWORKS[6]), Answer(60.0))
        study.finish(claimed(study, NETWORKS[7]), Answer(61.0))
        history = history_of(study)
    np.testing.assert_array_equal(history.genotypes, NETWORKS[:8])
    assert history.accuracy.tolist() == [50.0, 49.0, 48.0, 47.0, 46.0, 45.0, 60.0, 61.0]


def test_a_driver_sees_what_another_ended_between_two_looks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with opened(url) as one, opened(url) as other:
        numbers = [claimed(one, genotype) for genotype in NETWORKS[:4]]
        assert other.claim(NETWORKS[0], {}) is None  # it has only read the claims
        for number in reversed(numbers):
            one.finish(number, Answer(40.0 + number))
        assert other.claim(NETWORKS[4], {}) == 4
        history = History(history_of(one).space, EASY)
        other.sync(history)
        assert history.accuracy.tolist() == [43.0, 42.0, 41.0, 40.0]
        np.testing.assert_array_equal(history.pending, NETWORKS[4:5])
