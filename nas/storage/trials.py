"""The trials of a study in memory, kept up to date by reading what is new."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.storage.optuna_tables import tables
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOST = "lost"  # attribute of a trial whose driver was gone: the driver that took it over
ORDER = "order"  # system attribute of a trial that its driver ended: how many had ended before
AT_ONCE = 500  # trials in one statement: databases limit the number of its parameters

Evaluation = tuple[bytes, int]  # a genotype's bytes and a seed: what is evaluated once


class Row(NamedTuple):
    """A trial that has ended; rows sort by order of completion."""

    order: int
    number: int
    genotype: np.ndarray
    seed: int
    answer: Answer


class Trial(NamedTuple):
    """A trial as it was claimed."""

    id: int  # in the database, over all studies
    number: int  # in the study, from 0
    evaluation: Evaluation
    driver: str


@dataclass
class Trials:
    """What one driver knows of a study.

    running  by id.
    taken    what is being evaluated or has ended, and in which trial.
    lost     what was lost with its driver and is not claimed again: in which trial, and who took
             it over.
    first    the number of the first trial of every evaluation.
    ended    in order of completion.
    last     the largest id that was read.
    """

    study: int
    space: SearchSpace
    running: dict[int, Trial] = field(default_factory=dict)
    taken: dict[Evaluation, Trial] = field(default_factory=dict)
    lost: dict[Evaluation, tuple[Trial, str]] = field(default_factory=dict)
    first: dict[Evaluation, int] = field(default_factory=dict)
    ended: list[Row] = field(default_factory=list)
    last: int = -1

    def add(self, trial: Trial) -> None:
        """A trial that was claimed."""
        self.running[trial.id] = trial
        self.taken[trial.evaluation] = trial
        self.lost.pop(trial.evaluation, None)
        self.first.setdefault(trial.evaluation, trial.number)
        self.last = max(self.last, trial.id)

    def read(self, connection: Connection) -> None:
        """Take in trials that were claimed and trials that ended since the last time."""
        new, ended = self._changes(connection)
        attributes = dict(self._attributes(connection, sorted({*new, *ended})))
        for trial in self._claimed(connection, new, attributes):
            self.add(trial)
        self.last = max([self.last, *new])
        rows = []
        for trial in [self.running.pop(id) for id in ended if id in self.running]:
            about = attributes[trial.id]
            if LOST not in about:
                order = about.get(ORDER, sys.maxsize)
                genotype, seed = np.frombuffer(trial.evaluation[0], np.int8), trial.evaluation[1]
                rows.append(Row(order, trial.number, genotype, seed, answer_of(about)))
                continue
            if self.taken.get(trial.evaluation) == trial:  # else it was claimed again
                del self.taken[trial.evaluation]
                self.lost[trial.evaluation] = (trial, about[LOST])
        self.ended += sorted(rows, key=lambda row: row[:2])
        self._read_lost(connection)

    def _read_lost(self, connection: Connection) -> None:
        """Who has what was lost: it may have changed hands again."""
        lost = {trial.id: evaluation for evaluation, (trial, _) in self.lost.items()}
        for id, about in self._attributes(connection, list(lost)):
            self.lost[lost[id]] = (self.lost[lost[id]][0], about[LOST])

    def _changes(self, connection: Connection) -> tuple[dict[int, int], list[int]]:
        """Trials not seen before, id -> number; and ids of those that have ended, as of now."""
        from sqlalchemy import or_, select

        table = tables().trials
        new: dict[int, int] = {}
        ended = []
        columns = (table.c.trial_id, table.c.number, table.c.state)
        of_study = select(*columns).where(table.c.study_id == self.study)
        parts = list(_parts(list(self.running))) or [[]]
        for part in parts:
            wanted = table.c.trial_id.in_(part)
            if part is parts[-1]:
                wanted = or_(wanted, table.c.trial_id > self.last)
            for id, number, state in connection.execute(of_study.where(wanted)):
                if id > self.last:
                    new[id] = number
                if state.is_finished():
                    ended.append(id)
        return dict(sorted(new.items())), ended

    def _attributes(
        self, connection: Connection, ids: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(id, user and system attributes) of trials."""
        from sqlalchemy import select

        for part in _parts(ids):
            found: dict[int, dict[str, Any]] = {id: {} for id in part}
            for table in (tables().attributes, tables().system):
                columns = (table.c.trial_id, table.c.key, table.c.value_json)
                for id, key, value in connection.execute(
                    select(*columns).where(table.c.trial_id.in_(part))
                ):
                    found[id][key] = json.loads(value)
            yield from found.items()

    def _claimed(
        self,
        connection: Connection,
        numbers: dict[int, int],
        attributes: dict[int, dict[str, Any]],
    ) -> Iterator[Trial]:
        """Those of the trials (id -> number) that evaluate a network of this space."""
        from sqlalchemy import select

        columns = {name: column for column, name in enumerate(self.space.choices)}
        table = tables().params
        for part in _parts(list(numbers)):
            genotypes: dict[int, np.ndarray] = defaultdict(
                lambda: np.full(len(columns), -1, np.int8)
            )
            for id, name, value in connection.execute(
                select(table.c.trial_id, table.c.param_name, table.c.param_value).where(
                    table.c.trial_id.in_(part)
                )
            ):
                if name in columns:
                    genotypes[id][columns[name]] = int(value)
            for id in part:
                # others, such as one that was enqueued by hand, are not ours to wait for
                if "driver" in attributes[id] and id in genotypes and (genotypes[id] >= 0).all():
                    seed, driver = attributes[id].get("seed", 0), str(attributes[id]["driver"])
                    yield Trial(id, numbers[id], (genotypes[id].tobytes(), seed), driver)


def answer_attributes(answer: Answer) -> dict[str, Any]:
    """User attributes that say how an evaluation ended; JSON has no NaN, so that is left out."""
    numbers = {
        "accuracy": answer.accuracy,
        "accuracy std": answer.std,
        "seconds": answer.seconds,
        "fidelity": answer.fidelity,
    }
    found: dict[str, Any] = {
        name: float(value) for name, value in numbers.items() if math.isfinite(value)
    }
    if answer.images:
        found["images"] = answer.images
    if answer.error:
        found["error"] = answer.error
    return found


def curve_attribute(curve: Iterable[Point]) -> list[list[float | None]]:
    """Points as JSON keeps them; `answer_of` reads them from the attribute "curve"."""
    return [
        [point.step, *(float(v) if math.isfinite(v) else None for v in point[1:])]
        for point in curve
    ]


def answer_of(attributes: dict[str, Any]) -> Answer:
    """What `answer_attributes` and `curve_attribute` were made of."""
    curve = tuple(
        Point(step, *(math.nan if value is None else value for value in rest))
        for step, *rest in attributes.get("curve", ())
    )
    accuracy = attributes.get("accuracy", math.nan)
    error = attributes.get("error", "")
    if math.isnan(accuracy) and not error:
        error = "ended by somebody else"  # by hand in the dashboard, say
    return Answer(
        accuracy,
        std=attributes.get("accuracy std", math.nan),
        seconds=attributes.get("seconds", 0.0),
        error=error,
        curve=curve,
        fidelity=attributes.get("fidelity", 1.0),
        images=int(attributes.get("images", 0)),  # not in records of earlier versions
    )


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
