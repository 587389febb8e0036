"""Evaluations without a row of the history: interrupted, left behind by a driver that is gone, or
failed and to be done again. Functions of an open transaction in which the study is locked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nas.storage.optuna_tables import end_trial, put_attributes, tables
from nas.storage.trials import LOST, Trial, Trials

if TYPE_CHECKING:
    from sqlalchemy import Connection


def end_lost(connection: Connection, trials: Iterable[Trial], driver: str, reason: str) -> None:
    """End running trials as failed for that reason; the driver is to see that they are evaluated
    again. "{driver}" in the reason stands for the driver that began the trial."""
    for trial in trials:
        about = {"error": reason.format(driver=trial.driver)}
        put_attributes(connection, tables().attributes, trial.id, about)
        end_trial(connection, trial.id, "FAIL", None)
        hand_over(connection, [trial], driver)


def hand_over(connection: Connection, trials: Iterable[Trial], driver: str) -> None:
    """Trials that have ended are lost, and the driver is to see that they are evaluated again."""
    for trial in trials:
        put_attributes(connection, tables().attributes, trial.id, {LOST: driver})


def failed(trials: Trials, which: Callable[[str], bool]) -> list[Trial]:
    """The trials that failed for a reason that is meant."""
    return [
        trials.taken[row.genotype.tobytes(), row.seed]
        for row in trials.ended
        if row.answer.error and which(row.answer.error)
    ]
