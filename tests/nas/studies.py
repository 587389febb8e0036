"""Studies of the tiny space, as tests of their record use them."""

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
    """All genotypes of a small space, always in the same order."""
    return np.array(list(itertools.product(*map(range, space.option_counts))), np.int8)


NETWORKS = every_network(tiny_space())


def opened(url: str, **other: Any) -> Study:
    """The study at an address, made if need be."""
    settings = other.pop("settings", {"seed": 0})
    search = SearchIdentity(tiny_space(), EASY, settings)
    return open_study(url, "search", search, **{"resume": True, **other})


def history_of(study: Study) -> History:
    """All that a study holds by now."""
    history = History(tiny_space(), EASY)
    study.sync(history)
    return history


def claimed(study: Study, genotype: np.ndarray) -> int:
    """The number of a trial that nobody else has claimed."""
    number = study.claim(genotype, {})
    assert number is not None
    return number
