"""Optuna's samplers as search strategies."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from nas.history import History
from nas.strategies.base import fresh, fresh_mutants, sample_fresh

SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False),
    "tpe-multivariate": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
}


@dataclass(frozen=True)
class OptunaSampler:
    """A strategy that proposes the suggestions of an Optuna sampler, which observes the rewards.

    Pending evaluations are running trials; TPE avoids them because `constant_liar` is on in this
    version of Optuna. An evaluation that was stopped early has the expected reward at its end.

    Limits are passed by `Trial.set_constraint` of Optuna 5. An infeasible trial ends with its
    violation and, for samplers that need a value, the lowest reward so far. A trial of a known
    network ends with its known reward. These trials do not count as evaluations: the sampler
    suggests another network. A sampler has state that is not in the history (its generator, fitted
    kernels), so a resumed search is valid but differs from an uninterrupted one.

    sampler     a key of `SAMPLERS`.
    patience    number of suggestions after which a mutant of the last suggestion is proposed.
    generation  proposals per call if evaluations are cheap.
    """

    sampler: str
    patience: int = 25
    generation: int = 1
    _studies: weakref.WeakKeyDictionary[History, _Study] = field(
        default_factory=weakref.WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        if history not in self._studies:
            sampler = SAMPLERS[self.sampler](int(rng.integers(2**31)))
            self._studies[history] = _Study(sampler, history)
        study = self._studies[history]
        study.learn(history)
        found = np.empty((0, len(history.space.choices)), np.int8)
        for _ in range(self.patience):
            genotype = study.ask(history)
            found = np.concatenate([found, fresh(genotype, history, taken=found)])
            if len(found) == count:
                return found
        if not len(found):  # new networks near the last suggestion
            found = fresh_mutants(np.repeat(genotype, 20, axis=0), history, count, rng)
        return found if len(found) else sample_fresh(history, count, rng)


class _Study:
    """An in-memory Optuna study that mirrors a history."""

    def __init__(self, sampler: optuna.samplers.BaseSampler, history: History) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.logging.disable_default_handler()
            self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.distributions: dict[str, Any] = {
            decision: CategoricalDistribution(list(range(len(options))))
            for decision, options in history.space.choices.items()
        }
        self.known = 0
        self.rewards: dict[int, float] = {}  # by genotype key
        self.open: dict[int, optuna.Trial] = {}  # suggested and not yet ended, by genotype key

    def learn(self, history: History) -> None:
        """Add the new rows of the history to the study."""
        keys = history.space.keys(history.genotypes[self.known :]).tolist()
        for row, key in enumerate(keys, start=self.known):
            reward = self.rewards[key] = float(history.reward[row])
            if key in self.open:
                self._tell(self.open.pop(key), reward)
            elif np.isfinite(reward):
                params = dict(zip(self.distributions, history.genotypes[row].tolist(), strict=True))
                trial = create_trial(params=params, distributions=self.distributions, value=reward)
                self.study.add_trial(trial)
        self.known = len(history)
        pending = set(history.space.keys(history.pending).tolist())
        for key in [key for key in self.open if key not in pending]:  # not going to be evaluated
            self.study.tell(self.open.pop(key), state=TrialState.FAIL)

    def _tell(self, trial: optuna.Trial, reward: float) -> None:
        if np.isfinite(reward):
            trial.set_constraint("limits", 0.0)
            self.study.tell(trial, reward)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def ask(self, history: History) -> np.ndarray:
        """Return one suggested genotype [1, decisions]; the trial of an infeasible one ends."""
        space = history.space
        trial = self.study.ask(self.distributions)
        options = [trial.params[decision] for decision in self.distributions]
        genotype = space.canonical(np.array([options], np.int8))
        violation = float(history.objective.violation(space.costs(genotype))[0])
        key = int(space.keys(genotype)[0])
        if violation > 0:
            finite = history.reward[np.isfinite(history.reward)]
            trial.set_constraint("limits", violation)
            self.study.tell(trial, float(finite.min()) if len(finite) else 0.0)
        elif key in self.rewards:  # without its reward, the sampler might suggest it forever
            self._tell(trial, self.rewards[key])
        elif key in self.open:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.open[key] = trial
        return genotype
