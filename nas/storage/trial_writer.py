"""A writer of the trials of a study into Optuna's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.storage.cache import plain
from nas.storage.optuna_tables import (
    end_trial,
    insert_trial,
    next_order,
    put_attributes,
    put_points,
    state_of,
    tables,
)
from nas.storage.study_settings import SearchIdentity
from nas.storage.trials import (
    GENOTYPE,
    ORDER,
    Evaluation,
    Trial,
    answer_attributes,
    curve_attribute,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class TrialWriter:
    """A writer of the trials of one study; all methods run in an open transaction.

    study   id of the study in the database.
    search  space of the trials, and the objective whose reward is their value.
    """

    study: int
    search: SearchIdentity

    def insert(
        self, connection: Connection, evaluation: Evaluation, about: Mapping[str, Any], driver: str
    ) -> Trial:
        """Insert a new running trial with the user attributes `about`."""
        indices = np.frombuffer(evaluation[0], np.int8).tolist()
        params = {
            name: (index, options)
            for (name, options), index in zip(self.distributions.items(), indices, strict=True)
        }
        inner = {GENOTYPE: evaluation[0].hex()}  # one row to read instead of one for each decision
        made = insert_trial(connection, self.study, params, about, inner)
        return Trial(*made, evaluation, driver)

    @cached_property
    def distributions(self) -> dict[str, str]:
        """The options of every decision as Optuna stores them."""
        from optuna.distributions import CategoricalDistribution, distribution_to_json

        return {
            name: distribution_to_json(CategoricalDistribution([plain(o) for o in options]))
            for name, options in self.search.space.choices.items()
        }

    def report(
        self, connection: Connection, trial: int, new: list[Point], points: list[Point]
    ) -> None:
        """Write new points of a curve as intermediate values, and all points with their seconds."""
        if state_of(connection, trial) == "RUNNING":
            put_points(connection, trial, new)
            curve = {"curve": curve_attribute(points)}
            put_attributes(connection, tables().system, trial, curve)

    def end(
        self, connection: Connection, trial: Trial, answer: Answer, reported: Iterable[Point]
    ) -> int:
        """End a running trial with its result; return its place in the order of completion.

        reported  points of the curve that are already recorded.
        """
        known = {point.step: point for point in reported}
        new = [point for point in answer.curve if known.get(point.step) != point]
        put_points(connection, trial.id, new)
        put_attributes(connection, tables().attributes, trial.id, answer_attributes(answer))
        order = next_order(connection, self.study)
        inner: dict[str, Any] = {ORDER: order}
        if answer.curve:
            inner["curve"] = curve_attribute(answer.curve)
        put_attributes(connection, tables().system, trial.id, inner)
        state = "FAIL" if answer.error else "PRUNED" if answer.fidelity < 1 else "COMPLETE"
        value = None if answer.error else self._reward(trial, answer)
        end_trial(connection, trial.id, state, value)
        return order

    def _reward(self, trial: Trial, answer: Answer) -> float:
        genotype = np.frombuffer(trial.evaluation[0], np.int8)
        costs = self.search.space.costs(genotype[None])
        return float(self.search.objective.reward(np.array([answer.accuracy]), costs)[0])
