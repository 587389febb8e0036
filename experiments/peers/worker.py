"""Worker that runs an optimiser of another package in its own environment, driven by JSON lines.

    python worker.py PEER

It imports nothing of this project, which is not installed in that environment. The first line on
stdin describes the search; every further line is a request:

    {"decisions": [{"name": "block0_e", "options": 3, "ordered": true}, ...], "seed": 0,
     "start": 12, "objectives": ["reward"], "reference": [55.0, 1.0], "folder": "/tmp/..."}
    {"do": "ask"}             answered on stdout by {"choices": [0, 2, ...]}: option indices
    {"do": "tell", "choices": [0, 2, ...], "values": [66.1], "excess": -0.02}

start       random networks before the peer's model is used.
objectives  ["reward"], to be maximised, or ["accuracy", "cost"]: the accuracy to be maximised and
            the cost, as a share of its limit, to be minimised.
reference   accuracy and share of the limit that a front must beat.
folder      for the peer's own files.
values      of the objectives; null if the evaluation failed.
excess      the cost as a share of its limit, minus 1: above 0 the limit is exceeded, and `values`
            are the substitutes that the driver counts for such a network.

The choices in a "tell" may differ from those of the last answer. An exception ends the process
with its text on stderr. The classes of this module are the optimisers: `ask` returns the choices,
and `tell` passes a result on.
"""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

Choices = list[int]
Values = list[float] | None


class Smac:
    """SMAC3: a random forest with expected improvement, fitted again after every value."""

    def __init__(self, search: dict[str, Any]) -> None:
        import ConfigSpace
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario

        self.space = ConfigSpace.ConfigurationSpace(seed=search["seed"])
        self.names = [each["name"] for each in search["decisions"]]
        for each in search["decisions"]:
            if each["ordered"]:
                self.space.add(ConfigSpace.Integer(each["name"], (0, each["options"] - 1)))
            else:
                self.space.add(ConfigSpace.Categorical(each["name"], list(range(each["options"]))))
        scenario = Scenario(
            self.space,
            deterministic=True,
            n_trials=100_000,
            seed=search["seed"],
            output_directory=search["folder"],
        )
        self.smac = Facade(
            scenario,
            lambda config, seed=0: 0.0,  # never called
            initial_design=Facade.get_initial_design(scenario, n_configs=search["start"]),
            config_selector=Facade.get_config_selector(scenario, retrain_after=1),
            overwrite=True,
            logging_level=False,
        )
        self.costs: list[float] = []
        self.open: Any = None

    def ask(self) -> Choices:
        self.open = self.smac.ask()
        return [int(self.open.config[name]) for name in self.names]

    def tell(self, choices: Choices, values: Values, excess: float) -> None:
        from ConfigSpace import Configuration
        from smac.runhistory.dataclasses import TrialInfo, TrialValue
        from smac.runhistory.enumerations import StatusType

        info, self.open = self.open, None
        if info is None or [int(info.config[name]) for name in self.names] != choices:
            config = Configuration(self.space, values=dict(zip(self.names, choices, strict=True)))
            info = TrialInfo(config, seed=0)
        if values is None:
            # counts as the worst value, because the forest does not accept infinity
            cost = max(self.costs, default=0.0)
            value = TrialValue(cost=cost, status=StatusType.CRASHED)
        else:
            value = TrialValue(cost=-values[0])
            self.costs.append(-values[0])
        self.smac.tell(info, value, save=False)


class Hebo:
    """HEBO: a warped Gaussian process and an ensemble of acquisition functions.

    It starts with its own number of random networks, one more than there are decisions: with fewer
    values the noise of its optimiser makes the fit fail. It then proposes at random, and prints
    "jitter is too large" without raising an error.
    """

    def __init__(self, search: dict[str, Any]) -> None:
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        self.names = [each["name"] for each in search["decisions"]]
        parameters = [
            {"name": each["name"], "type": "int", "lb": 0, "ub": each["options"] - 1}
            if each["ordered"]
            else {
                "name": each["name"],
                "type": "cat",
                "categories": list(range(each["options"])),
            }
            for each in search["decisions"]
        ]
        self.hebo = HEBO(DesignSpace().parse(parameters), scramble_seed=search["seed"])

    def ask(self) -> Choices:
        row = self.hebo.suggest(n_suggestions=1).iloc[0]
        return [int(row[name]) for name in self.names]

    def tell(self, choices: Choices, values: Values, excess: float) -> None:
        import numpy
        import pandas

        if values is not None:
            row = pandas.DataFrame([choices], columns=self.names)
            self.hebo.observe(row, numpy.array([[-values[0]]]))


class Ax:
    """Ax: BoTorch's Gaussian processes, with the default acquisition function.

    The limit is an outcome constraint on `excess`; a network that exceeds it has no other value.
    """

    def __init__(self, search: dict[str, Any]) -> None:
        import logging

        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        logging.disable(logging.ERROR)
        self.names = [each["name"] for each in search["decisions"]]
        self.objectives = search["objectives"]
        self.client = Client(random_seed=search["seed"])
        self.client.configure_experiment(
            [
                RangeParameterConfig(
                    name=each["name"], parameter_type="int", bounds=(0, each["options"] - 1)
                )
                if each["ordered"]
                else ChoiceParameterConfig(
                    name=each["name"],
                    parameter_type="int",
                    values=list(range(each["options"])),
                    is_ordered=False,
                )
                for each in search["decisions"]
            ]
        )
        accuracy, cost = search["reference"]
        if len(self.objectives) == 1:
            goal, limits = "reward", ["excess <= 0.0"]
        else:
            goal, limits = "accuracy, -cost", [f"accuracy >= {accuracy}", f"cost <= {cost}"]
        self.client.configure_optimization(goal, outcome_constraints=limits)
        self.client.configure_generation_strategy(
            initialization_budget=search["start"],
            initialization_random_seed=search["seed"],
            initialize_with_center=False,
        )
        self.open: tuple[int, Choices] | None = None

    def ask(self) -> Choices:
        self._abandon()
        [(index, parameters)] = self.client.get_next_trials(max_trials=1).items()
        choices = [int(parameters[name]) for name in self.names]
        self.open = (index, choices)
        return choices

    def tell(self, choices: Choices, values: Values, excess: float) -> None:
        if self.open is not None and self.open[1] == choices:
            index, self.open = self.open[0], None
        else:
            index = self.client.attach_trial(parameters=dict(zip(self.names, choices, strict=True)))
        if values is None:
            self.client.mark_trial_failed(index)
            return
        data = dict(zip(self.objectives, values, strict=True))
        if self.objectives == ["reward"]:
            data = {"excess": excess} if excess > 0 else {**data, "excess": excess}
        elif excess > 0:
            data = {"cost": values[1]}
        self.client.complete_trial(index, raw_data=data)

    def _abandon(self) -> None:
        if self.open is not None:
            self.client.mark_trial_abandoned(self.open[0])
            self.open = None


class Neps:
    """NePS: its Bayesian optimisation, qLogNEI on BoTorch's Gaussian process."""

    def __init__(self, search: dict[str, Any]) -> None:
        import logging

        import neps

        logging.disable(logging.ERROR)
        self.names = [each["name"] for each in search["decisions"]]
        space = neps.SearchSpace(
            {
                each["name"]: neps.HPOInteger(0, each["options"] - 1)
                if each["ordered"]
                else neps.HPOCategorical(list(range(each["options"])))
                for each in search["decisions"]
            }
        )
        self.neps = neps.AskAndTell(
            neps.algorithms.bayesian_optimization(space, initial_design_size=search["start"])
        )
        self.open: Any = None

    def ask(self) -> Choices:
        if self.open is not None:  # otherwise it would count as pending forever
            del self.neps.trials[self.open.metadata.id]
        self.open = self.neps.ask()
        return [int(self.open.config[name]) for name in self.names]

    def tell(self, choices: Choices, values: Values, excess: float) -> None:
        result: Any = RuntimeError("failed") if values is None else -values[0]
        trial = self.open
        if trial is not None and [int(trial.config[name]) for name in self.names] == choices:
            self.neps.tell(trial, result)
            self.open = None
            return
        numbers = [int(key) for key in self.neps.trials]
        self.neps.tell_custom(
            config_id=str(max(numbers, default=0) + 1),
            config=dict(zip(self.names, choices, strict=True)),
            result=result,
        )


class SyneTune:
    """Syne Tune: conformal quantile regression (Salinas et al. 2023) on boosted trees."""

    def __init__(self, search: dict[str, Any]) -> None:
        from syne_tune.config_space import choice, randint
        from syne_tune.optimizer.schedulers.searchers.conformal import (
            conformal_quantile_regression_searcher as conformal,
        )

        self.names = [each["name"] for each in search["decisions"]]
        space = {
            each["name"]: randint(0, each["options"] - 1)
            if each["ordered"]
            else choice(list(range(each["options"])))
            for each in search["decisions"]
        }
        self.searcher = conformal.ConformalQuantileRegression(
            space, random_seed=search["seed"], num_init_random_draws=search["start"]
        )
        self.trials = 0

    def ask(self) -> Choices:
        config = self.searcher.suggest()
        return [int(config[name]) for name in self.names]

    def tell(self, choices: Choices, values: Values, excess: float) -> None:
        if values is not None:
            self.searcher.on_trial_complete(
                self.trials, dict(zip(self.names, choices, strict=True)), -values[0]
            )
            self.trials += 1


class Optuna:
    """Optuna's samplers for fronts, with the limit as a constraint."""

    def __init__(self, search: dict[str, Any]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna = optuna
        self.spaces = {
            each["name"]: optuna.distributions.IntDistribution(0, each["options"] - 1)
            if each["ordered"]
            else optuna.distributions.CategoricalDistribution(list(range(each["options"])))
            for each in search["decisions"]
        }
        self.study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=self.sampler(search)
        )
        self.open: Any = None

    def sampler(self, search: dict[str, Any]) -> Any:
        raise NotImplementedError

    def ask(self) -> Choices:
        if self.open is not None:
            self.study.tell(self.open, state=self.optuna.trial.TrialState.FAIL)
        self.open = self.study.ask(self.spaces)
        return [self.open.params[name] for name in self.spaces]

    def tell(self, choices: Choices, values: Values, excess: float) -> None:
        trial, self.open = self.open, None
        if trial is None or [trial.params[name] for name in self.spaces] != choices:
            if trial is not None:
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            self.study.enqueue_trial(dict(zip(self.spaces, choices, strict=True)))
            trial = self.study.ask(self.spaces)
        if values is None:
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        else:
            trial.set_constraint("limit", excess)
            self.study.tell(trial, values)


class OptunaNsga2(Optuna):
    """NSGA-II with Optuna's defaults: a population of 50."""

    def sampler(self, search: dict[str, Any]) -> Any:
        return self.optuna.samplers.NSGAIISampler(seed=search["seed"])


class OptunaMoTpe(Optuna):
    """Multi-objective TPE, multivariate."""

    def sampler(self, search: dict[str, Any]) -> Any:
        return self.optuna.samplers.TPESampler(
            seed=search["seed"], multivariate=True, n_startup_trials=search["start"]
        )


PEERS = {
    "smac": Smac,
    "hebo": Hebo,
    "ax": Ax,
    "ax-qnehvi": Ax,
    "neps": Neps,
    "syne-tune": SyneTune,
    "optuna-nsga2": OptunaNsga2,
    "optuna-motpe": OptunaMoTpe,
}


def seed_all(seed: int) -> None:
    """Seed Python, and numpy and torch if they are installed; limit torch to one thread."""
    random.seed(seed)
    try:
        import numpy

        numpy.random.seed(seed)  # noqa: NPY002 - the peers use this generator
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(1)
    except ImportError:
        pass


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of packages must not mix with the answers
    search = json.loads(sys.stdin.readline())
    seed_all(search["seed"])
    peer = PEERS[sys.argv[1]](search)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "ask":
            answers.write(json.dumps({"choices": peer.ask()}) + "\n")
            answers.flush()
        else:
            peer.tell(request["choices"], request["values"], request["excess"])


if __name__ == "__main__":
    main()
