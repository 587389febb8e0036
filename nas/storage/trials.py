"""The trials of a study in memory, kept up to date by reading what is new."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.storage.optuna_tables import ended_among, tables
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOST = "lost"  # attribute of a trial whose driver was gone: the driver that took it over
ORDER = "order"  # system attribute of a trial that its driver ended: larger than all before
GENOTYPE = "genotype"  # system attribute of a trial: two hex digits for the option of each decision
AT_ONCE = 500  # trials in one statement: databases limit the number of its parameters
# the attributes that are read
READ = (
    "accuracy",
    "accuracy std",
    "curve",
    "driver",
    "error",
    "fidelity",
    "images",
    "seconds",
    "seed",
    LOST,
    ORDER,
    GENOTYPE,
)

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
    networks how many evaluations with seed 0 were claimed, lost ones included.
    ended    in order of completion.
    order    the `ORDER` of the next trial that ends, if none has ended that was not read.
    last     the largest id that was read.
    """

    study: int
    space: SearchSpace
    running: dict[int, Trial] = field(default_factory=dict)
    taken: dict[Evaluation, Trial] = field(default_factory=dict)
    lost: dict[Evaluation, tuple[Trial, str]] = field(default_factory=dict)
    first: dict[Evaluation, int] = field(default_factory=dict)
    networks: int = 0
    ended: list[Row] = field(default_factory=list)
    order: int = 0
    last: int = -1

    def add(self, trial: Trial) -> None:
        """A trial that was claimed."""
        self.running[trial.id] = trial
        self.taken[trial.evaluation] = trial
        self.lost.pop(trial.evaluation, None)
        if trial.evaluation not in self.first:
            self.first[trial.evaluation] = trial.number
            self.networks += trial.evaluation[1] == 0
        self.last = max(self.last, trial.id)

    def read(self, connection: Connection) -> None:
        """Take in trials that were claimed and trials that ended since the last time."""
        new = self._new(connection)
        known = ended_among(connection, self.running)
        ended = [*known, *(id for id, (_, finished) in new.items() if finished)]
        attributes = self._take_in(connection, new, known)
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
        self.order = max([self.order, *(row.order + 1 for row in rows if row.order < sys.maxsize)])
        self._read_lost(connection)

    def end(self, trial: Trial, order: int, answer: Answer) -> bool:
        """Take in that a running trial has ended, unless others had ended before that were not
        read; whether it was taken in."""
        if order != self.order or trial.id not in self.running:
            return False
        del self.running[trial.id]
        genotype, seed = np.frombuffer(trial.evaluation[0], np.int8), trial.evaluation[1]
        self.ended.append(Row(order, trial.number, genotype, seed, answer))
        self.order += 1
        return True

    def read_claims(self, connection: Connection) -> None:
        """Take in trials that were claimed since the last time. Which have ended is left to the
        next `read`: who claims a network need not know."""
        self._take_in(connection, self._new(connection), [])

    def _take_in(
        self, connection: Connection, new: dict[int, tuple[int, bool]], ended: list[int]
    ) -> dict[int, dict[str, Any]]:
        """Add new trials; the attributes of these and of the ended ones."""
        attributes = dict(self._attributes(connection, sorted({*new, *ended})))
        numbers = {id: number for id, (number, _) in new.items()}
        for trial in self._claimed(connection, numbers, attributes):
            self.add(trial)
        self.last = max([self.last, *new])
        return attributes

    def _read_lost(self, connection: Connection) -> None:
        """Who has what was lost: it may have changed hands again."""
        lost = {trial.id: evaluation for evaluation, (trial, _) in self.lost.items()}
        for id, about in self._attributes(connection, list(lost)):
            self.lost[lost[id]] = (self.lost[lost[id]][0], about[LOST])

    def _new(self, connection: Connection) -> dict[int, tuple[int, bool]]:
        """Trials not seen before: id -> (number, whether it has ended)."""
        rows = connection.execute(_later(), {"study": self.study, "last": self.last})
        return {id: (number, state.is_finished()) for id, number, state in rows}

    def _attributes(
        self, connection: Connection, ids: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(id, user and system attributes) of trials."""
        for part in _parts(ids):
            found: dict[int, dict[str, Any]] = {id: {} for id in part}
            for table in (tables().attributes, tables().system):
                for id, key, value in connection.execute(_attributes_of(table), {"ids": part}):
                    found[id][key] = json.loads(value)
            yield from found.items()

    def _claimed(
        self,
        connection: Connection,
        numbers: dict[int, int],
        attributes: dict[int, dict[str, Any]],
    ) -> Iterator[Trial]:
        """Those of the trials (id -> number) that evaluate a network of this space."""
        known = {id: self._written(attributes[id].get(GENOTYPE)) for id in numbers}
        earlier = [id for id, genotype in known.items() if genotype is None]
        known |= self._of_params(connection, earlier)
        for id, number in numbers.items():
            # others, such as one that was enqueued by hand, are not ours to wait for
            genotype = known[id]
            if "driver" in attributes[id] and genotype is not None:
                seed, driver = attributes[id].get("seed", 0), str(attributes[id]["driver"])
                yield Trial(id, number, (genotype, seed), driver)

    def _written(self, text: Any) -> bytes | None:
        """The genotype of an attribute; None where it is none of this space."""
        try:
            genotype = np.frombuffer(bytes.fromhex(text), np.int8)
        except (TypeError, ValueError):
            return None
        counts = self.space.option_counts
        fits = len(genotype) == len(counts) and ((genotype >= 0) & (genotype < counts)).all()
        return genotype.tobytes() if fits else None

    def _of_params(self, connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
        """Genotypes by the parameters that Optuna shows; earlier versions wrote nothing else."""
        from sqlalchemy import select

        columns = {name: column for column, name in enumerate(self.space.choices)}
        table = tables().params
        genotypes: dict[int, np.ndarray] = defaultdict(lambda: np.full(len(columns), -1, np.int8))
        for part in _parts(ids):
            for id, name, value in connection.execute(
                select(table.c.trial_id, table.c.param_name, table.c.param_value).where(
                    table.c.trial_id.in_(part)
                )
            ):
                if name in columns:
                    genotypes[id][columns[name]] = int(value)
        return {id: found.tobytes() for id, found in genotypes.items() if (found >= 0).all()}


@functools.cache
def _later() -> Any:
    """The statement that selects the trials of a study after the last one that is known."""
    from sqlalchemy import bindparam, select

    table = tables().trials
    columns = select(table.c.trial_id, table.c.number, table.c.state)
    of_study = columns.where(table.c.study_id == bindparam("study"))
    return of_study.where(table.c.trial_id > bindparam("last")).order_by(table.c.trial_id)


@functools.cache
def _attributes_of(table: Any) -> Any:
    """The statement that selects what is read of the attributes of trials."""
    from sqlalchemy import bindparam, select

    columns = select(table.c.trial_id, table.c.key, table.c.value_json)
    ids = table.c.trial_id.in_(bindparam("ids", expanding=True))
    return columns.where(ids).where(table.c.key.in_(READ))


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
