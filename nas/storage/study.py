"""Record of a search with expensive evaluations: an Optuna study, written at every change.

Several drivers, on several machines, may work on one study. A network is claimed under a lock on
the study before it is evaluated, so that no two drivers evaluate it; what was claimed by a driver
that has died is taken over by exactly one other. optuna-dashboard shows all of it.

Every change is one short transaction: a kill at any moment leaves it done or not begun.
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

BEAT = 10.0  # seconds between signs of life
AGAIN = 0.5  # seconds within which a driver that hears of no other relies on what it has read
GRACE = 120.0  # seconds without one after which a driver elsewhere counts as gone


class Claim(NamedTuple):
    """What is evaluated once: genotype int8 [decisions], and the seed of its training."""

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
    """A study to record a search in, made if it is not there; close it in the end.

    storage  "sqlite:///study.db" (all drivers on one machine) or "postgresql://user@host/name".
    resume   whether the study may be there already: this driver then joins it.
    grace    seconds without a sign of life after which a driver elsewhere counts as gone.

    Raises ValueError in one line where the database cannot be used, where the study is there and
    not to be resumed, and where it was made with other settings, naming the setting.
    """
    wanted = search.attributes()
    database = Database(storage)
    try:
        study, made = database.write(lambda c: find_or_make_study(c, name, wanted), durable=True)
        if not made and not resume:
            raise ValueError(
                f"storage: {database.shown} already holds the study {name!r}; resume it "
                "by --resume, or choose another place"
            )
        check_settings(name, database.read(lambda c: study_attributes(c, study)), wanted)
        return Study(database, study, search, grace=grace)
    except (StudyLost, ValueError) as error:
        database.close()
        raise ValueError(str(error)) from None


class Study:
    """One driver's hold on a study, for one thread; `open_study` makes it.

    driver  this driver's name in the study.

    Every method raises StudyLost, in one line, where the database stays away or is full; what
    was recorded before is safe there.
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
        self._curves: dict[int, dict[int, Point]] = {}  # what they reported, by step
        self._last_beat = -math.inf
        self.beat()
        self._pulse: Pulse | None = None
        if database.shared:  # drivers elsewhere cannot see whether this process is alive
            self._pulse = Pulse(database, study, self.driver, seconds=BEAT)
            weakref.finalize(self, self._pulse.stopped.set)
        self._current = False  # whether all that has ended is known, as far as one can say
        self._read()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave: trials of this driver that still run end as failed with the reason "interrupted".

        They are no part of the history: the next driver, or another one at once, evaluates them.
        """
        leave(self.driver)
        if self._pulse is not None:
            self._pulse.stop()
        with contextlib.suppress(StudyLost):  # then others elsewhere will miss it after the grace
            self._database.write(self._leave, patient=False)
        self._database.close()

    def _leave(self, connection: Connection) -> None:
        self._lock(connection)
        # others may have been taken over by another driver
        running = [t for t in self._own.values() if state_of(connection, t.id) == "RUNNING"]
        end_lost(connection, running, self.driver, "interrupted")
        forget_drivers(connection, self._study, {self.driver})

    @property
    def place(self) -> str:
        """URL of the study, without password."""
        return self._database.shown

    @property
    def started(self) -> int:
        """Networks that any driver has claimed so far, lost ones included."""
        return self._trials.networks

    @property
    def known(self) -> int:
        """Evaluations that any driver has claimed, lost ones included."""
        return len(self._trials.first)

    @property
    def is_exploring(self) -> bool:
        """Whether any driver evaluates a network for the first time now, or lost ones wait."""
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
        """The number of a new running trial of a genotype [decisions], if no driver has claimed it.

        None where a driver has claimed the network with this seed before and it is not lost; and
        where `most` networks have been claimed already and it is not one of them. cost is for
        those who read the study.
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
            # our own where the connection broke while that was being committed
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
        """A point of a running trial's curve; it replaces an earlier one of the same step."""
        curve = self._curves[number]
        curve[point.step] = point
        points = [curve[step] for step in sorted(curve)]
        trial = self._own[number].id
        self._database.write(lambda c: self._writer.report(c, trial, [point], points))

    def finish(self, number: int, answer: Answer) -> bool:
        """End a running trial of this driver with its answer; `sync` brings it into the history.

        COMPLETE with the reward as its value, PRUNED where it was stopped early, FAIL where it
        failed, with the reason as attribute "error". Returns whether it was recorded: a trial
        that another driver has taken over meanwhile is evaluated there.
        """
        trial = self._own[number]
        if not answer.error and not math.isfinite(answer.accuracy):
            answer = dataclasses.replace(answer, error=f"accuracy is {answer.accuracy}")
        # the one thing that cost much: it is to survive a power cut, too
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
        """The trial's place in the order of completion; None where it is not recorded."""
        self._lock(connection)
        found = state_of(connection, trial.id)
        if found is None:
            raise StudyLost(f"storage: trial {trial.number} is gone from {self._database.shown}")
        if found != "RUNNING":
            # ended by us, where the connection broke while that was being committed
            return system_attributes(connection, trial.id).get(ORDER)
        return self._writer.end(connection, trial, answer, self._curves[trial.number].values())

    def sync(self, history: History) -> None:
        """Append the evaluations of all drivers that have ended since, in order of completion.

        Also sets the pending evaluations of the history. All rows of the history must have
        come from here.

        Where nothing has ended but trials of this driver, it reads the database every `AGAIN`
        seconds only; `claim` sees what others have claimed meanwhile.
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
        """Take in everything that is new in the database."""
        self._read_at = time.monotonic()
        self._database.read(self._trials.read)

    def beat(self) -> None:
        """A sign of life of this driver, every few seconds; called oftener, it does nothing.

        Where drivers elsewhere can use the database, it is also given between the calls: an
        evaluation in this process may take long.
        """
        now = time.monotonic()
        if now - self._last_beat >= BEAT:
            self._database.write(lambda c: put_beat(c, self._study, self.driver))
            self._last_beat = now

    def abandoned(self) -> list[Claim]:
        """What drivers that are gone had claimed, for this driver alone to claim again.

        A driver on this machine is gone when its process is or when it closed the study; one
        elsewhere when it gave no sign of life for the grace. Its trials end as failed, with the
        attribute "lost", and are no part of the history.
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
        """Let evaluations that failed be done again, as if they were `abandoned`; how many: those
        whose reason `which` accepts. To be called before the first `sync`: they are no part of
        the history then.
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
