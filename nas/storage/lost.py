"""Evaluations without a row of the history: interrupted, left behind by a driver that is gone, or
failed and to run again. All functions and methods are parts of an open transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas.storage.drivers import forget_drivers, gone_drivers
from nas.storage.optuna_tables import end_trial, put_attributes, tables
from nas.storage.trials import LOST, Trial, Trials

if TYPE_CHECKING:
    from sqlalchemy import Connection


def end_lost(connection: Connection, trials: Iterable[Trial], driver: str, reason: str) -> None:
    """End running trials as failed for that reason; the driver has them evaluated again.

    "{driver}" in the reason stands for the driver that began the trial.
    """
    for trial in trials:
        about = {"error": reason.format(driver=trial.driver)}
        put_attributes(connection, tables().attributes, trial.id, about)
        end_trial(connection, trial.id, "FAIL", None)
        hand_over(connection, [trial], driver)


def hand_over(connection: Connection, trials: Iterable[Trial], driver: str) -> None:
    """Trials that have ended are lost; the driver has them evaluated again."""
    for trial in trials:
        put_attributes(connection, tables().attributes, trial.id, {LOST: driver})


@dataclass
class LostTrials:
    """The lost trials of a study, as one driver sees them.

    trials  all that this driver knows of the study.
    driver  its name. grace: see `nas.storage.study.open_study`.
    handed  ids of the trials that it has taken over and returned to its caller.
    """

    trials: Trials
    driver: str
    grace: float
    handed: set[int] = field(default_factory=set)

    def gone(self, connection: Connection) -> set[str]:
        """Drivers that are gone and have left something undone."""
        self.trials.read(connection)
        busy = {trial.driver for trial in self.trials.running.values()}
        drivers = busy | {taker for _, taker in self.trials.lost.values()}
        others = drivers - {self.driver, ""}  # "": a trial that was made by other means
        return gone_drivers(connection, self.trials.study, others, grace=self.grace)

    def waiting(self) -> list[Trial]:
        """What this driver has taken over and not returned yet: what had failed, or where the
        connection broke while that was committed."""
        return [
            trial
            for trial, taker in self.trials.lost.values()
            if taker == self.driver and trial.id not in self.handed
        ]

    def take_over(self, connection: Connection) -> list[Trial]:
        """Take over what drivers that are gone have left undone; the study is locked."""
        gone = self.gone(connection)
        running = [t for t in self.trials.running.values() if t.driver in gone]
        end_lost(connection, running, self.driver, "its driver {driver} is gone")
        waiting = [trial for trial, taker in self.trials.lost.values() if taker in gone]
        waiting += self.waiting()
        hand_over(connection, waiting, self.driver)
        forget_drivers(connection, self.trials.study, gone)
        return [*running, *waiting]

    def retry_failed(self, connection: Connection, which: Callable[[str], bool]) -> int:
        """Take over the trials that failed for a reason that `which` accepts; how many. The study
        is locked."""
        self.trials.read(connection)
        failed = [
            self.trials.taken[row.genotype.tobytes(), row.seed]
            for row in self.trials.ended
            if row.answer.error and which(row.answer.error)
        ]
        hand_over(connection, failed, self.driver)
        return len(failed)
