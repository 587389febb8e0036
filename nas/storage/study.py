"""The record of a search with expensive evaluations: an Optuna study, updated at every change.

Several drivers (processes that run a search) on several machines can share a study. A driver claims
a network under a lock on the study before it evaluates the network, so that no other driver
evaluates it too. Exactly one other driver takes over the evaluations of a driver that has died.
optuna-dashboard shows the study.

Every change is one short transaction, so a process that is killed leaves no partial change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.evaluators.base import Answer, Evaluations, Point
from nas.history import History
from nas.storage.cache import network_key
from nas.storage.database import Database, StudyLost
from nas.storage.drivers import Pulse, forget_drivers, leave, new_driver, put_beat
from nas.storage.lost import LostTrials, end_lost
from nas.storage.optuna_tables import (
    find_or_make_study,
    lock_study,
    state_of,
    study_attributes,
    system_attributes,
)
from nas.storage.study_settings import SearchIdentity, check_settings
from nas.storage.trial_writer import TrialWriter
from nas.storage.trials import (
    ORDER,
    Evaluation,
    Trial,
    Trials,
    answer_attributes,
    answer_of,
    curve_attribute,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Claim", "Study", "StudyLost", "open_study"]

BEAT = 10.0  # seconds between heartbeats
AGAIN = 0.5  # seconds between two reads of the study while no other driver ends a trial
GRACE = 120.0  # seconds without a heartbeat after which a driver on another machine counts as dead


class Claim(NamedTuple):
    """A unit of work: a genotype, int8 [decisions], and the seed of its evaluation."""

    genotype: np.ndarray
    seed: int


def open_study(
    storage: str,
    name: str,
    search: SearchIdentity,
    *,
    resume: bool,
    grace: float = GRACE,
) -> Study:
    """Open the study of a search, or create it; the caller closes it.

    storage  "sqlite:///study.db" (all drivers on one machine) or "postgresql://user@host/name".
    name     name of the study.
    search   space, objective and settings of the search.
    resume   whether the study may exist; this driver then joins it.
    grace    seconds without a heartbeat after which a driver on another machine counts as dead.

    Raises ValueError if the database cannot be used, if the study exists and `resume` is False, or
    if it was created with other settings.
    """
    wanted = search.attributes()
    database = Database(storage)
    try:
        study, made = database.write(lambda c: find_or_make_study(c, name, wanted), durable=True)
        if not made and not resume:
            raise ValueError(
                f"storage: {database.shown} already holds the study {name!r}; use --resume to "
                "continue it, or use another database"
            )
        check_settings(name, database.read(lambda c: study_attributes(c, study)), wanted)
        return Study(database, study, search, grace=grace)
    except (StudyLost, ValueError) as error:
        database.close()
        raise ValueError(str(error)) from None


class Study:
    """One driver's connection to a study, from `open_study`; for use by one thread.

    The attribute `driver` is this driver's name in the study. Every method raises StudyLost if the
    database is unavailable for a minute or full; earlier records are not affected.
    """

    def __init__(
        self,
        database: Database,
        study: int,
        search: SearchIdentity,
        *,
        grace: float = GRACE,
    ) -> None:
        self.driver = new_driver()
        self._database, self._study, self._search = database, study, search
        self._trials, self._writer = Trials(study, search.space), TrialWriter(study, search)
        self._lost = LostTrials(self._trials, self.driver, grace)
        self._own: dict[int, Trial] = {}  # running trials of this driver, by number
        self._curves: dict[int, dict[int, Point]] = {}  # their reported points, by step
        self._last_beat = -math.inf
        self.beat()
        self._pulse: Pulse | None = None
        if database.shared:  # drivers on other machines cannot see whether this process is alive
            self._pulse = Pulse(database, study, self.driver, seconds=BEAT)
            weakref.finalize(self, self._pulse.stopped.set)
        self._current = False  # whether all ended trials are assumed to be known
        self._read()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the study; running trials of this driver fail with the reason "interrupted".

        These trials are not part of the history. The next driver, or a running one, evaluates their
        networks again.
        """
        leave(self.driver)
        if self._pulse is not None:
            self._pulse.stop()
        # if this fails, drivers on other machines take over after the grace period
        with contextlib.suppress(StudyLost):
            self._database.write(self._leave, patient=False)
        self._database.close()

    def _leave(self, connection: Connection) -> None:
        self._lock(connection)
        # another driver may have taken over some of the trials
        running = [t for t in self._own.values() if state_of(connection, t.id) == "RUNNING"]
        end_lost(connection, running, self.driver, "interrupted")
        forget_drivers(connection, self._study, {self.driver})

    @property
    def place(self) -> str:
        """URL of the database, without password."""
        return self._database.shown

    @property
    def started(self) -> int:
        """Number of networks that any driver has claimed so far, including lost ones."""
        return self._trials.networks

    @property
    def known(self) -> int:
        """Number of evaluations that any driver has claimed, including lost ones."""
        return len(self._trials.first)

    @property
    def is_exploring(self) -> bool:
        """Whether any first evaluation of a network is running or lost."""
        running = [trial.evaluation for trial in self._trials.running.values()]
        return any(seed == 0 for _, seed in [*running, *self._trials.lost])

    def claim(
        self,
        genotype: np.ndarray,
        cost: Mapping[str, float],
        *,
        seed: int = 0,
        most: int | None = None,
    ) -> int | None:
        """Claim the evaluation of a genotype [decisions] as a new running trial.

        cost  costs by name, stored as attributes of the trial for readers of the study.
        seed  seed of the evaluation.
        most  largest number of networks that drivers may claim; None for no limit.

        Returns the number of the trial. Returns None if a driver has claimed this genotype and seed
        before and it is not lost, or if it would be a new network above `most`.
        """
        self.beat()
        canonical = self._search.space.canonical(np.asarray(genotype, np.int8)[None])[0]
        evaluation = (canonical.tobytes(), int(seed))
        about = {
            **cost,
            "architecture": network_key(self._search.space, canonical),
            "seed": int(seed),
            "driver": self.driver,
        }
        trial = self._database.write(lambda c: self._claim(c, evaluation, about, most))
        if trial is None:
            return None
        self._trials.add(trial)
        self._own[trial.number], self._curves[trial.number] = trial, {}
        return trial.number

    def _claim(
        self,
        connection: Connection,
        evaluation: Evaluation,
        about: dict[str, Any],
        most: int | None,
    ) -> Trial | None:
        self._lock(connection)
        self._trials.read_claims(connection)
        known = self._trials.taken.get(evaluation)
        if known is not None:
            # this driver's own claim if the connection broke during the commit
            ours = known.driver == self.driver and known.id in self._trials.running
            return known if ours and known.number not in self._own else None
        new = evaluation[1] == 0 and evaluation not in self._trials.lost
        if most is not None and new and self.started >= most:
            return None
        if evaluation in self._trials.first:
            about = {**about, "retry of trial": self._trials.first[evaluation]}
        return self._writer.insert(connection, evaluation, about, self.driver)

    def _lock(self, connection: Connection) -> None:
        if not lock_study(connection, self._study):
            raise StudyLost(f"storage: the study was deleted from {self._database.shown}")

    def report(self, number: int, point: Point) -> None:
        """Record a point of a running trial's curve; it replaces one of the same step."""
        curve = self._curves[number]
        curve[point.step] = point
        points = [curve[step] for step in sorted(curve)]
        trial = self._own[number].id
        self._database.write(lambda c: self._writer.report(c, trial, [point], points))

    def finish(self, number: int, answer: Answer) -> bool:
        """End a running trial of this driver with its result; `sync` adds it to the history.

        The state becomes COMPLETE, PRUNED if the evaluation was stopped early, or FAIL with the
        reason in the attribute "error". The value is the reward. Returns whether the result was
        recorded; it is not if another driver has taken over the trial.
        """
        trial = self._own[number]
        if not answer.error and not math.isfinite(answer.accuracy):
            answer = dataclasses.replace(answer, error=f"accuracy is {answer.accuracy}")
        # durable, because the result is expensive and must survive a power failure
        order = self._database.write(lambda c: self._finish(c, trial, answer), durable=True)
        reported = self._curves.pop(number)
        del self._own[number]
        if order is None:
            return False
        curve = answer.curve or tuple(reported[step] for step in sorted(reported))
        written = {**answer_attributes(answer), "curve": curve_attribute(curve)}
        self._current = self._trials.end(trial, order, answer_of(written))
        return True

    def _finish(self, connection: Connection, trial: Trial, answer: Answer) -> int | None:
        """Return the trial's place in the order of completion; None if it was not recorded."""
        self._lock(connection)
        found = state_of(connection, trial.id)
        if found is None:
            raise StudyLost(
                f"storage: trial {trial.number} was deleted from {self._database.shown}"
            )
        if found != "RUNNING":
            # ended by this driver if the connection broke during the commit
            return system_attributes(connection, trial.id).get(ORDER)
        return self._writer.end(connection, trial, answer, self._curves[trial.number].values())

    def sync(self, history: History) -> None:
        """Append newly ended evaluations of all drivers to the history, in order of completion.

        The pending evaluations of the history are updated too. All rows of the history must come
        from this study. While only trials of this driver end, the database is read every `AGAIN`
        seconds; `claim` always reads the claims of other drivers.
        """
        if not self._current or time.monotonic() - self._read_at > AGAIN:
            self._read()
        self._current = False
        rows = self._trials.ended[len(history) :]
        if rows:
            genotypes = np.array([row.genotype for row in rows])
            evaluations = Evaluations.of_answers(
                [row.answer for row in rows], seeds=[row.seed for row in rows]
            )
            history.extend(genotypes, evaluations, self._search.space.costs(genotypes))
        running = [trial.evaluation[0] for trial in self._trials.running.values()]
        pending = np.frombuffer(b"".join(running), np.int8)
        history.pending = pending.reshape(len(running), len(self._search.space.choices))

    def _read(self) -> None:
        """Read all new trials and results from the database."""
        self._read_at = time.monotonic()
        self._database.read(self._trials.read)

    def beat(self) -> None:
        """Write a heartbeat of this driver if the last one is older than `BEAT` seconds.

        For a database that other machines can use, a thread also writes heartbeats between the
        calls, because an evaluation in this process may take long.
        """
        now = time.monotonic()
        if now - self._last_beat >= BEAT:
            self._database.write(lambda c: put_beat(c, self._study, self.driver))
            self._last_beat = now

    def abandoned(self) -> list[Claim]:
        """Take over the claims of dead drivers, and return them to be claimed again.

        A driver on this machine is dead if its process has ended or it has closed the study. A
        driver on another machine is dead if it had no heartbeat for the grace period. The trials of
        a dead driver end as failed with the attribute "lost" and are not part of the history.
        """
        if not self._database.read(self._lost.gone) and not self._lost.waiting():
            return []
        lost = self._database.write(self._take_over)
        self._lost.handed.update(trial.id for trial in lost)
        self._read()
        return [
            Claim(np.frombuffer(key, np.int8), seed)
            for key, seed in (trial.evaluation for trial in lost)
        ]

    def _take_over(self, connection: Connection) -> list[Trial]:
        self._lock(connection)
        return self._lost.take_over(connection)

    def retry_failed(self, which: Callable[[str], bool] = bool) -> int:
        """Mark failed evaluations as abandoned, so that they run again; return their number.

        which  function of the reason that selects the evaluations.

        Must be called before the first `sync`, because these evaluations are then not part of the
        history.
        """
        count = self._database.write(lambda c: self._retry_failed(c, which))
        if not count:
            return 0
        self._trials = self._lost.trials = Trials(self._study, self._search.space)
        self._read()
        return count

    def _retry_failed(self, connection: Connection, which: Callable[[str], bool]) -> int:
        self._lock(connection)
        return self._lost.retry_failed(connection, which)
