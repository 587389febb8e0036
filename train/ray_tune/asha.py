"""ASHA (Li et al. 2020) for Ray Tune, with rungs restored from recorded learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from train.parser import check_factor


class Asha(ASHAScheduler):
    """A scheduler that stops a trial at a rung unless it is among the best 1 / `factor` there.

    Rungs are at `grace`, grace * factor, ... epochs. Trials are identified by
    `config["trial"]["name"]`, because Ray's identifiers are new in every process.

    curves  for each trial, the rows of its earlier epochs, as `trial_record.progress_row`.
    """

    def __init__(
        self,
        epochs: int,
        *,
        grace: int,
        factor: float,
        curves: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> None:
        check_factor(factor)
        super().__init__(
            time_attr="epoch",
            metric="top1",
            mode="max",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=factor,
            stop_last_trials=False,
        )
        self._epochs = epochs
        # by trial: the epoch of the last reported row, and the rungs reached with that row
        self._last: dict[str, tuple[float, list[dict[str, float]]]] = {}
        for name, rows in curves.items():
            reached: list[dict[str, float]] = []
            for milestone, recorded in self._brackets[0]._rungs:
                there = [row for row in rows if row["epoch"] >= milestone and "top1" in row]
                if there:
                    recorded[name] = there[0]["top1"]
                if there and there[0] is rows[-1]:
                    reached.append(recorded)
            if reached:
                self._last[name] = rows[-1]["epoch"], reached

    @property
    def rungs(self) -> dict[float, dict[str, float]]:
        """The accuracies of the trials at each rung: epochs -> trial -> accuracy."""
        return {milestone: dict(values) for milestone, values in self._brackets[0]._rungs}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Keep a resumed trial's entries in the rungs, under its new identifier."""
        super().on_trial_add(tune_controller, trial)
        name = trial.config["trial"]["name"]
        for _, recorded in self._brackets[0]._rungs:
            if name in recorded:
                recorded[trial.trial_id] = recorded.pop(name)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as Ray does, but let a trial finish after its last epoch, so that it is tested.

        A resumed trial reports its last row again. The decision on that row may be missing because
        the process died, so it is made here.
        """
        epoch, reached = self._last.pop(trial.config["trial"]["name"], (None, []))
        for recorded in reached if result.get("epoch") == epoch else ():
            recorded.pop(trial.trial_id, None)
        action = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if result.get("epoch", 0) >= self._epochs else action
