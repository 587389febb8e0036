"""Searches that end without a result report the reason in one line."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.evaluators.base import Answer, Evaluations, Point
from nas.history import History
from nas.search.endings import nothing
from tests.nas.toys import TARGET, tiny_space

FAILED = Answer.failed("out of memory")
STOPPED = Answer(40.0, curve=(Point(1, 40.0, 1.0),), fidelity=0.3)
FULL = Answer(50.0)


def history(*answers: Answer) -> History:
    space = tiny_space()
    genotypes = space.sample(24, np.random.default_rng(0))[: len(answers)]
    found = History(space, TARGET)
    if answers:
        found.extend(genotypes, Evaluations.of_answers(answers), space.costs(genotypes))
    return found


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        (
            (),
            "out of time",
            "no training could start within --max-time 10 s, while the worker "
            "processes were set up; one training takes about 40 s; use a larger --max-time",
        ),
        ((), "interrupted", "interrupted before the first evaluation ended"),
        ((), "exhausted", "no network within the limits could be proposed; use wider limits"),
        (
            (),
            "finished",
            "nothing was evaluated: other processes on the same study used up the budget",
        ),
        (
            (FAILED,),
            "finished",
            "the only evaluation failed (out of memory); use --resume with a "
            "larger --budget to evaluate others",
        ),
        (
            (FAILED, FAILED),
            "exhausted",
            "all 2 evaluations failed (the first: out of memory); no "
            "other network within the limits is left",
        ),
        (
            (STOPPED, STOPPED),
            "finished",
            "all 2 evaluations were stopped early; use --scheduler fifo to train all networks to "
            "the end",
        ),
        (
            (STOPPED, FAILED, FAILED),
            "interrupted",
            "none of 3 evaluations finished: 1 were stopped early and 2 failed (the first: "
            "out of memory); use --scheduler fifo to train all networks to the end",
        ),
        (
            (FAILED,),
            "out of time",
            "the only evaluation failed (out of memory); no further "
            "training could start in time; use a larger --max-time",
        ),
        ((FULL, FAILED), "finished", ""),
    ],
)
def test_every_ending_without_a_result_has_its_line(answers, status, words):
    assert nothing(history(*answers), status, max_time=10.0, each=40.0) == words


def test_how_long_a_training_takes_may_be_unknown():
    line = nothing(history(), "out of time", max_time=10.0, each=math.nan)
    assert line.endswith("were set up; use a larger --max-time")
