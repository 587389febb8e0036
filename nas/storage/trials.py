"""The trials of a study in memory, updated by reading new rows of the database."""

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

LOST = "lost"  # attribute of a trial of a dead driver: the driver that took it over
ORDER = "order"  # system attribute of an ended trial: its place in the order of completion
GENOTYPE = "genotype"  # system attribute of a trial: two hex digits for the option of each decision
AT_ONCE = 500  # trials per statement, because databases limit the number of parameters
# attributes that are read
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

Evaluation = tuple[bytes, int]  # bytes of a genotype, and a seed


class Row(NamedTuple):
    """An ended trial; rows sort by order of completion."""

    order: int
    number: int
    genotype: np.ndarray
    seed: int
    answer: Answer


class Trial(NamedTuple):
    """A claimed trial."""

    id: int  # unique in the database
    number: int  # unique in the study, from 0
    evaluation: Evaluation
    driver: str


@dataclass
class Trials:
    """One driver's copy of the trials of a study.

    running   running trials by id.
    taken     trials of evaluations that are running or have ended.
    lost      lost evaluations that are not claimed again: the trial, and the driver that took it
              over.
    first     number of the first trial of each evaluation.
    networks  number of claimed evaluations with seed 0, including lost ones.
    ended     ended trials in order of completion.
    order     `ORDER` of the next trial that ends, unless others have ended since the last read.
    last      largest id that was read.
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
        """Add a claimed trial."""
        self.running[trial.id] = trial
        self.taken[trial.evaluation] = trial
        self.lost.pop(trial.evaluation, None)
        if trial.evaluation not in self.first:
            self.first[trial.evaluation] = trial.number
            self.networks += trial.evaluation[1] == 0
        self.last = max(self.last, trial.id)

    def read(self, connection: Connection) -> None:
        """Read the trials that were claimed or ended since the last call."""
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
            if self.taken.get(trial.evaluation) == trial:  # otherwise, it was claimed again
                del self.taken[trial.evaluation]
                self.lost[trial.evaluation] = (trial, about[LOST])
        self.ended += sorted(rows, key=lambda row: row[:2])
        self.order = max([self.order, *(row.order + 1 for row in rows if row.order < sys.maxsize)])
        self._read_lost(connection)

    def end(self, trial: Trial, order: int, answer: Answer) -> bool:
        """Mark a running trial as ended; return whether that was done.

        It is not done if other trials that were not read yet have ended before.
        """
        if order != self.order or trial.id not in self.running:
            return False
        del self.running[trial.id]
        genotype, seed = np.frombuffer(trial.evaluation[0], np.int8), trial.evaluation[1]
        self.ended.append(Row(order, trial.number, genotype, seed, answer))
        self.order += 1
        return True

    def read_claims(self, connection: Connection) -> None:
        """Read the trials that were claimed since the last call.

        Ended trials are left to the next `read`, because a claim does not depend on them.
        """
        self._take_in(connection, self._new(connection), [])

    def _take_in(
        self, connection: Connection, new: dict[int, tuple[int, bool]], ended: list[int]
    ) -> dict[int, dict[str, Any]]:
        """Add new trials; return the attributes of the new and the ended ones."""
        attributes = dict(self._attributes(connection, sorted({*new, *ended})))
        numbers = {id: number for id, (number, _) in new.items()}
        for trial in self._claimed(connection, numbers, attributes):
            self.add(trial)
        self.last = max([self.last, *new])
        return attributes

    def _read_lost(self, connection: Connection) -> None:
        """Update the drivers that took over lost trials, which can change again."""
        lost = {trial.id: evaluation for evaluation, (trial, _) in self.lost.items()}
        for id, about in self._attributes(connection, list(lost)):
            self.lost[lost[id]] = (self.lost[lost[id]][0], about[LOST])

    def _new(self, connection: Connection) -> dict[int, tuple[int, bool]]:
        """Return new trials: id -> (number, whether it has ended)."""
        rows = connection.execute(_later(), {"study": self.study, "last": self.last})
        return {id: (number, state.is_finished()) for id, number, state in rows}

    def _attributes(
        self, connection: Connection, ids: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (id, user and system attributes) of trials."""
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
        """Yield the trials (id -> number) that evaluate a network of this space."""
        known = {id: self._written(attributes[id].get(GENOTYPE)) for id in numbers}
        earlier = [id for id, genotype in known.items() if genotype is None]
        known |= self._of_params(connection, earlier)
        for id, number in numbers.items():
            # other trials, such as those enqueued by hand, are ignored
            genotype = known[id]
            if "driver" in attributes[id] and genotype is not None:
                seed, driver = attributes[id].get("seed", 0), str(attributes[id]["driver"])
                yield Trial(id, number, (genotype, seed), driver)

    def _written(self, text: Any) -> bytes | None:
        """Return the genotype of an attribute; None if it is not one of this space."""
        try:
            genotype = np.frombuffer(bytes.fromhex(text), np.int8)
        except (TypeError, ValueError):
            return None
        counts = self.space.option_counts
        fits = len(genotype) == len(counts) and ((genotype >= 0) & (genotype < counts)).all()
        return genotype.tobytes() if fits else None

    def _of_params(self, connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
        """Return genotypes from the parameters in Optuna's table, for studies of old versions."""
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
    """Return the statement that selects the trials of a study after the last known one."""
    from sqlalchemy import bindparam, select

    table = tables().trials
    columns = select(table.c.trial_id, table.c.number, table.c.state)
    of_study = columns.where(table.c.study_id == bindparam("study"))
    return of_study.where(table.c.trial_id > bindparam("last")).order_by(table.c.trial_id)


@functools.cache
def _attributes_of(table: Any) -> Any:
    """Return the statement that selects the attributes `READ` of trials."""
    from sqlalchemy import bindparam, select

    columns = select(table.c.trial_id, table.c.key, table.c.value_json)
    ids = table.c.trial_id.in_(bindparam("ids", expanding=True))
    return columns.where(ids).where(table.c.key.in_(READ))


def answer_attributes(answer: Answer) -> dict[str, Any]:
    """Return the user attributes of an ended evaluation; NaN is left out, as JSON has none."""
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
    """Return points as JSON values for the attribute "curve", which `answer_of` reads."""
    return [
        [point.step, *(float(v) if math.isfinite(v) else None for v in point[1:])]
        for point in curve
    ]


def answer_of(attributes: dict[str, Any]) -> Answer:
    """Return the `Answer` that `answer_attributes` and `curve_attribute` have written."""
    curve = tuple(
        Point(step, *(math.nan if value is None else value for value in rest))
        for step, *rest in attributes.get("curve", ())
    )
    accuracy = attributes.get("accuracy", math.nan)
    error = attributes.get("error", "")
    if math.isnan(accuracy) and not error:
        error = "ended by another program"  # for example by hand in the dashboard
    return Answer(
        accuracy,
        std=attributes.get("accuracy std", math.nan),
        seconds=attributes.get("seconds", 0.0),
        error=error,
        curve=curve,
        fidelity=attributes.get("fidelity", 1.0),
        images=int(attributes.get("images", 0)),  # missing in records of earlier versions
    )


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
