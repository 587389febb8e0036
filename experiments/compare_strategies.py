"""Which strategy finds the best network with the fewest trainings?

Every strategy of ours, and Optuna's samplers as peers, run on the same loop against the same
oracle: the ImageNet surrogate's mean plus training-seed noise of 0.2 points, objective `feasible`
at 400M FLOPs, one proposal at a time. Reported after 50, 80, 100, 300 and 1,000 evaluations, over
20 seeds: the noise-free accuracy of the best of the five networks that looked best, the
hypervolume of the noise-free front above (55%, 400M), and the milliseconds each proposal took.

Expected: predictor at 80 evaluations equals the best peer at 300.
Time: 2 to 3 hours on one core, most of it Optuna's GP and TPE; rerun to go on where it stopped.

    python -m experiments.compare_strategies [--seeds 20] [--only predictor,tpe]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import RESULTS, settings_of_machine
from nas import catalog
from nas.evaluators.base import Evaluations, Evaluator
from nas.evaluators.surrogate import Surrogate, load_surrogate
from nas.history import History
from nas.objective import Objective, pareto_front
from nas.record import sha256, write_json
from nas.search import search
from nas.strategies.base import Strategy
from search_spaces.catalog import one_of, space
from search_spaces.space import SearchSpace

BUDGETS = (50, 80, 100, 300, 1000)
NOISE = 0.2  # points; the 13 networks measured twice differ by 0.20 on average
REFERENCE = (55.0, 400e6)  # accuracy and FLOPs a front must beat to add hypervolume
PEERS = ("random", "tpe", "tpe-multivariate", "gp", "nsga2")
LONGEST = {"optuna:gp": 300}  # each of its proposals takes seconds beyond


class Oracle(Evaluator):
    """The surrogate's mean, plus noise that depends on the network and the seed only."""

    name = "oracle"

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self.surrogate, self.seed = surrogate, seed

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Noisy accuracies of genotypes int8 [n, decisions]."""
        mean, _ = self.surrogate.predict(genotypes)
        noise = [
            np.random.default_rng([self.seed, int(key)]).normal() for key in space.keys(genotypes)
        ]
        count = len(genotypes)
        return Evaluations(mean + NOISE * np.array(noise), np.full(count, NOISE), np.zeros(count))


class Timed:
    """A strategy with a stop-watch."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy, self.generation = strategy, strategy.generation
        self.seconds: list[float] = []

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """What the strategy proposes."""
        start = time.perf_counter()
        proposals = self.strategy.propose(history, count, rng)
        self.seconds.append(time.perf_counter() - start)
        return proposals


def make(name: str, the_space: SearchSpace, objective: Objective) -> Strategy:
    """A strategy of ours, or "optuna:SAMPLER"."""
    if name.startswith("optuna:"):
        from nas.strategies.optuna_sampler import OptunaSampler

        return OptunaSampler(name.removeprefix("optuna:"))
    return catalog.strategy(name, the_space, objective)


def run(name: str, seed: int, surrogate: Surrogate) -> dict[str, Any]:
    """One search; its figures after each of BUDGETS."""
    the_space = space("efficientnet")
    objective = Objective(REFERENCE[1], "feasible")
    strategy = Timed(make(name, the_space, objective))
    longest = LONGEST.get(name, BUDGETS[-1])
    history = search(the_space, Oracle(surrogate, seed), objective, strategy, longest, seed=seed)
    truth, _ = surrogate.predict(history.genotypes)
    budgets = [budget for budget in BUDGETS if budget <= longest]
    flops = history.costs.flops.astype(np.float64)
    return {
        "strategy": name,
        "seed": seed,
        "accuracy": {n: round(best_of_five(history.accuracy[:n], truth[:n]), 4) for n in budgets},
        "hypervolume": {n: round(hypervolume(truth[:n], flops[:n]), 4) for n in budgets},
        # the last tenth: what a proposal costs once that many are known
        "milliseconds": {
            n: round(1e3 * float(np.median(strategy.seconds[n - n // 10 : n])), 3) for n in budgets
        },
    }


def best_of_five(observed: np.ndarray, truth: np.ndarray) -> float:
    """Noise-free accuracy of the best among the five that looked best: what retraining finds."""
    return float(truth[np.argsort(-observed, kind="stable")[:5]].max())


def hypervolume(accuracy: np.ndarray, flops: np.ndarray) -> float:
    """Area [points x G FLOPs] between the front and the reference point."""
    front = pareto_front(accuracy, flops)
    front = front[(accuracy[front] > REFERENCE[0]) & (flops[front] <= REFERENCE[1])]
    ends = np.append(flops[front][1:], REFERENCE[1])
    return float(((ends - flops[front]) / 1e9 * (accuracy[front] - REFERENCE[0])).sum())


def summary(runs: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Mean and standard error of the accuracies, means of the rest, by strategy and budget."""
    table: dict[str, Any] = {}
    for name in names:
        own = [run for run in runs if run["strategy"] == name]
        table[name] = {"seeds": len(own)}
        for budget in own[0]["accuracy"] if own else ():
            values = np.array([run["accuracy"][budget] for run in own])
            table[name][budget] = {
                "accuracy": round(float(values.mean()), 3),
                "standard_error": round(float(values.std(ddof=1) / len(own) ** 0.5), 3)
                if len(own) > 1
                else None,
                "hypervolume": round(float(np.mean([r["hypervolume"][budget] for r in own])), 4),
                "milliseconds": round(
                    float(np.median([r["milliseconds"][budget] for r in own])), 3
                ),
            }
    return table


def markdown(table: dict[str, Any]) -> str:
    """The summary as a table for people: accuracy by budget, hypervolume and ms at the last."""
    lines = [
        "| strategy | seeds | " + " | ".join(f"{n:,}" for n in BUDGETS) + " | hypervolume | ms |",
        "|---|---|" + "---|" * (len(BUDGETS) + 2),
    ]
    for name, row in table.items():
        cells = [row.get(str(budget)) for budget in BUDGETS]
        known = [cell for cell in cells if cell]
        if known:
            shown = [f"{cell['accuracy']:.2f}" if cell else "" for cell in cells]
            last = [f"{known[-1]['hypervolume']:.3f}", f"{known[-1]['milliseconds']:.2g}"]
            lines.append(f"| {name} | {row['seeds']} | " + " | ".join([*shown, *last]) + " |")
    return "\n".join(lines)


def load(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs already made under the same settings."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if content["settings"] != settings:
        raise ValueError(f"{path} was made with other settings; move it away to start anew")
    return content["runs"]


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, write results after each run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", help="comma-separated strategies")
    parser.add_argument("--out", type=Path, default=RESULTS / "compare_strategies.json")
    arguments = parser.parse_args(argv)
    names = [*catalog.STRATEGIES, *(f"optuna:{peer}" for peer in PEERS)]
    chosen = [one_of("strategy", n, names) for n in (arguments.only or ",".join(names)).split(",")]
    surrogate = load_surrogate("imagenet")
    model = Path(catalog.__file__).parent / "evaluators" / "imagenet_surrogate.npz"
    settings = {
        "target_flops": REFERENCE[1], "reward": "feasible", "noise": NOISE,
        "budgets": list(BUDGETS), "surrogate_sha256": sha256(model),
    }  # fmt: skip
    runs = load(arguments.out, settings)
    done = {(run["strategy"], run["seed"]) for run in runs}
    for seed in range(arguments.seeds):
        for name in chosen:
            if (name, seed) not in done:
                runs.append(json.loads(json.dumps(run(name, seed, surrogate))))
                print(name, seed, runs[-1]["accuracy"], file=sys.stderr, flush=True)
                write(arguments.out, settings, runs, names, arguments.seeds)
    print(markdown(summary(runs, names)))
    return 0


def write(
    path: Path, settings: dict[str, Any], runs: list[dict[str, Any]], names: list[str], seeds: int
) -> None:
    """The result file, labelled as partial until every strategy has every seed."""
    complete = len({(run["strategy"], run["seed"]) for run in runs}) >= len(names) * seeds
    write_json(
        path,
        {
            "complete": complete, "settings": settings, "machine": settings_of_machine(),
            "summary": summary(runs, names), "runs": runs,
        },
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
