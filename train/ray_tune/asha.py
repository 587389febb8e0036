"""ASHA (Li et al. 2020) for Ray Tune, with rungs that come back from recorded learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from train.parser import check_factor


class Asha(ASHAScheduler):
    """Stops a trial at a rung where it is not among the best 1 / `factor` of those that were there.

    Rungs are at `grace`, grace * factor, ... epochs. Trials are known by `config["trial"]["name"]`
    and not by Ray's identifiers, which are new in every process.

    curves  for each trial the rows of its epochs before, as `trial_record.progress_row`.
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
        # by trial: the last row that was reported, and the rungs that it reached
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
        """What the trials had at each rung, by epochs and then by trial."""
        return {milestone: dict(values) for milestone, values in self._brackets[0]._rungs}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A resumed trial keeps its places in the rungs."""
        super().on_trial_add(tune_controller, trial)
        name = trial.config["trial"]["name"]
        for _, recorded in self._brackets[0]._rungs:
            if name in recorded:
                recorded[trial.trial_id] = recorded.pop(name)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's, but a trial that is through is left to finish: it still has to be tested.

        A resumed trial reports its last row again. The process may have died before it decided
        on that: it decides now.
        """
        epoch, reached = self._last.pop(trial.config["trial"]["name"], (None, []))
        for recorded in reached if result.get("epoch") == epoch else ():
            recorded.pop(trial.trial_id, None)
        action = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if result.get("epoch", 0) >= self._epochs else action
