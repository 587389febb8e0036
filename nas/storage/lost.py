"""Lost evaluations, which run again: interrupted ones, those of dead drivers, and retried failures.

They have no row in the history. All functions and methods run in an open transaction.
"""

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
    """End running trials as failed with a reason; `driver` takes over their evaluations.

    "{driver}" in the reason is replaced by the driver that started the trial.
    """
    for trial in trials:
        about = {"error": reason.format(driver=trial.driver)}
        put_attributes(connection, tables().attributes, trial.id, about)
        end_trial(connection, trial.id, "FAIL", None)
        hand_over(connection, [trial], driver)


def hand_over(connection: Connection, trials: Iterable[Trial], driver: str) -> None:
    """Mark ended trials as lost; `driver` takes over their evaluations."""
    for trial in trials:
        put_attributes(connection, tables().attributes, trial.id, {LOST: driver})


@dataclass
class LostTrials:
    """The lost trials of a study from the view of one driver.

    trials  the driver's copy of the trials.
    driver  name of the driver.
    grace   see `nas.storage.study.open_study`.
    handed  ids of the trials that it has taken over and returned to its caller.
    """

    trials: Trials
    driver: str
    grace: float
    handed: set[int] = field(default_factory=set)

    def gone(self, connection: Connection) -> set[str]:
        """Return the dead drivers that have unfinished trials."""
        self.trials.read(connection)
        busy = {trial.driver for trial in self.trials.running.values()}
        drivers = busy | {taker for _, taker in self.trials.lost.values()}
        others = drivers - {self.driver, ""}  # "": a trial of another program
        return gone_drivers(connection, self.trials.study, others, grace=self.grace)

    def waiting(self) -> list[Trial]:
        """Return the trials that this driver has taken over but not returned yet.

        These are failures to be retried, and trials whose take-over was committed although the
        connection broke before the driver got the reply.
        """
        return [
            trial
            for trial, taker in self.trials.lost.values()
            if taker == self.driver and trial.id not in self.handed
        ]

    def take_over(self, connection: Connection) -> list[Trial]:
        """Take over the unfinished trials of dead drivers; the study must be locked."""
        gone = self.gone(connection)
        running = [t for t in self.trials.running.values() if t.driver in gone]
        end_lost(connection, running, self.driver, "its driver {driver} is gone")
        waiting = [trial for trial, taker in self.trials.lost.values() if taker in gone]
        waiting += self.waiting()
        hand_over(connection, waiting, self.driver)
        forget_drivers(connection, self.trials.study, gone)
        return [*running, *waiting]

    def retry_failed(self, connection: Connection, which: Callable[[str], bool]) -> int:
        """Take over the trials that failed for a reason that `which` accepts; return their number.

        The study must be locked.
        """
        self.trials.read(connection)
        failed = [
            self.trials.taken[row.genotype.tobytes(), row.seed]
            for row in self.trials.ended
            if row.answer.error and which(row.answer.error)
        ]
        hand_over(connection, failed, self.driver)
        return len(failed)
