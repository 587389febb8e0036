"""Preparation of a search with workers: config, evaluator, space, strategy and plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas import catalog
from nas.asha import Asha
from nas.block_times.table import Times
from nas.devices.fitted import FittedTimes
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.search.aims import aims
from nas.search.asynchronous import Plan
from nas.search.config import SearchConfig
from nas.search.own_evaluator import prepare_own
from nas.search.setup import prepare
from nas.slots import slots
from nas.storage.cache import key_of
from nas.strategies.base import Strategy, sample_fresh
from nas.supernet.options import EVALUATOR
from search_spaces.space import SearchSpace
from train.cluster.place import Place
from vbs.accuracy import chance_limit

BUDGET = 64  # default number of networks
SHARED_BUDGET = 1000  # default with shared weights, where an evaluation takes seconds


def plan_of(config: SearchConfig, measuring: Measurement) -> Plan:
    """Return the plan of the loop."""
    assert config.budget is not None
    described = measuring.described
    asha = None
    if described.has_curve and config.scheduler == "asha":
        first = config.grace or measuring.first_rung
        asha = Asha(measuring.steps, first=first, factor=config.factor)
    pool = described.measured if described.pooled else None
    return Plan(
        budget=config.budget,
        seed=config.seed,
        asha=asha,
        finalists=config.finalists if described.trains else 0,
        repeats=config.repeats if described.trains else 1,
        seconds=config.max_time,
        failures=config.max_failures,
        pool=None if pool is None else pool.genotypes,
        chance=chance_limit(described.chance, described.scored_on),
    )


class Measurement(Protocol):
    """How a search with workers evaluates networks: the setup of its evaluator.

    Implementations are `nas.search.setup.Measuring`, `nas.search.own_evaluator.OwnEvaluator`,
    `nas.parents.inheriting.Inheriting` and `nas.supernet.scoring.Sharing`.
    """

    @property
    def described(self) -> Evaluator:
        """Description of the evaluator for reports; it need not be able to evaluate."""

    @property
    def steps(self) -> int:
        """Number of points of a full learning curve."""

    @property
    def first_rung(self) -> int:
        """Step after which networks are first compared."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Digests of the images by split, which a resumed search compares."""

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that all drivers of a search must share, in addition to its options."""

    def start(
        self, config: SearchConfig, space: SearchSpace, strategy: Strategy
    ) -> tuple[Callable[[], Evaluator], Strategy]:
        """Return a function that creates the evaluator in a worker, and the strategy."""

    def preview(self, budget: int, asha: Asha | None) -> list[str]:
        """Return lines that are printed before a search starts."""


@dataclass(frozen=True)
class Job:
    """A prepared search with workers.

    config     config with all defaults filled in.
    digests    digests of the input files.
    measuring  setup of the evaluator.
    space      space of the networks, without measured costs.
    history    empty history with the space including measured costs, and the objective.
    plan       budget, early stopping and limits.
    places     number of workers, and CPUs and GPUs of each.
    tables     tables of measured costs, by kind.
    """

    config: SearchConfig
    digests: Mapping[str, Any]
    measuring: Measurement
    space: SearchSpace
    history: History
    strategy: Strategy
    plan: Plan
    places: Place
    tables: dict[str, Times | FittedTimes]


def prepared(
    config: SearchConfig,
    earlier: Path | None,
    known: tuple[Measurement, SearchSpace] | None = None,
) -> Job:
    """Prepare the search of a config.

    earlier  folder of a resumed search; None for a new search.
    known    setup of the evaluator, and space, if they are already prepared.

    Raises ValueError for options that contradict each other, and if no network within the limits
    is found.
    """
    measuring: Measurement
    networks: SearchSpace
    if known is not None:
        measuring, networks = known
    elif catalog.evaluator_entry(config.evaluator).own:
        config, measuring, networks = prepare_own(config)
    else:
        config, measuring, networks = prepare(config)
    trains = measuring.described.trains
    images = catalog.evaluator_entry(config.evaluator).images
    aimed = aims(
        config, networks, fallback="predictor" if trains or images else "evolution", earlier=earlier
    )
    config, space, objective, strategy, tables = aimed
    usual = SHARED_BUDGET if config.evaluator == EVALUATOR else BUDGET
    config = replace(config, budget=config.budget or usual)
    digests: dict[str, Any] = dict(aimed.digests)
    if measuring.digests:
        digests["data_sha256"] = key_of(measuring.digests)
    history = History(space, objective)
    if not len(sample_fresh(history, 1, np.random.default_rng(0))):
        raise ValueError(f"limits: no network was found within {objective.limits_text}")
    return Job(
        config,
        digests,
        measuring,
        networks,
        history,
        strategy,
        plan_of(config, measuring),
        slots(config, trains=trains),
        tables,
    )
