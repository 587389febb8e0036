"""Test helper: studies of the tiny space, for tests of their records."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from nas.evaluators.base import Point
from nas.history import History
from nas.objective import Objective
from nas.storage.study import Study, open_study
from nas.storage.study_settings import SearchIdentity
from search_spaces.space import SearchSpace
from tests.nas.toys import tiny_space

EASY = Objective(1e12, "feasible")
CURVE = (Point(1, 40.0, 1.5), Point(2, 55.5, 3.0))


def every_network(space: SearchSpace) -> np.ndarray:
    """Return all genotypes of a small space, always in the same order."""
    return np.array(list(itertools.product(*map(range, space.option_counts))), np.int8)


NETWORKS = every_network(tiny_space())


def opened(url: str, **other: Any) -> Study:
    """Open the study at an address, or create it."""
    settings = other.pop("settings", {"seed": 0})
    search = SearchIdentity(tiny_space(), EASY, settings)
    return open_study(url, "search", search, **{"resume": True, **other})


def history_of(study: Study) -> History:
    """Return the history of a study so far."""
    history = History(tiny_space(), EASY)
    study.sync(history)
    return history


def claimed(study: Study, genotype: np.ndarray) -> int:
    """Claim a trial for a genotype and return its number."""
    number = study.claim(genotype, {})
    assert number is not None
    return number
