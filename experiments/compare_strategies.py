"""Which strategy finds the best network with the fewest trainings?

Every strategy of ours, and Optuna's samplers as peers, run on the same loop against the same
oracle: the ImageNet surrogate's mean plus training-seed noise of 0.2 points, objective `feasible`
at 400M FLOPs, one proposal at a time (the predictor: eight, its own batch). Reported after 50,
80, 100, 300 and 1,000 evaluations, over 20 seeds: the noise-free accuracy of the best of the five
networks that looked best, the hypervolume of the noise-free front above (55%, 400M), and the
milliseconds each proposal took. Optuna's GP (three seeds) and plain TPE stop at 300 evaluations:
beyond, a run takes over ten minutes.

Expected: predictor at 80 evaluations equals the best peer at 300.
Time: an hour and a half on one core, most of it Optuna's GP and TPE; run it again to
continue where it stopped.

    python -m experiments.compare_strategies [--seeds 20] [--processes 2] [--only predictor]
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.compare_strategies")

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.strategy_runs import (
    BUDGETS,
    FEWER_SEEDS,
    NOISE,
    REFERENCE,
    TOGETHER,
    oracle_digest,
    run,
)
from nas import catalog
from search_spaces.catalog import one_of
from vbs.accuracy import standard_error
from vbs.console import print_err, print_out
from vbs.folder import write_json

PEERS = ("random", "tpe", "tpe-multivariate", "gp", "nsga2")


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
                "standard_error": round(standard_error(values), 3) if len(own) > 1 else None,
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
    if not isinstance(content, dict) or content.get("settings") != settings:
        raise ValueError(f"{path} was made with other settings; move it away to start again")
    return content["runs"]


def main() -> None:
    """Run what is missing, write results after each run, print the table."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="to share seeds out")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", help="comma-separated strategies")
    parser.add_argument("--out", type=Path, default=RESULTS / "compare_strategies.json")
    parser.add_argument(
        "--merge",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="runs of other processes or machines",
    )
    arguments = parser.parse_args()
    names = list(dict.fromkeys([*catalog.STRATEGIES, *(f"optuna:{peer}" for peer in PEERS)]))
    chosen = [one_of("strategy", n, names) for n in (arguments.only or ",".join(names)).split(",")]
    settings = {
        "target_flops": REFERENCE[1],
        "reward": "feasible",
        "noise": NOISE,
        "budgets": list(BUDGETS),
        "together": TOGETHER,
        "oracle": oracle_digest(),
    }
    runs = [run for path in (arguments.out, *arguments.merge) for run in load(path, settings)]
    done = {(run["strategy"], run["seed"]) for run in runs}
    todo = [
        (name, seed)
        for name, seed in planned(chosen, arguments.seeds)
        if (name, seed) not in done and seed >= arguments.first_seed
    ]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for future in as_completed([pool.submit(run, *one) for one in todo]):
            runs.append(json.loads(json.dumps(future.result())))  # budgets as text, as in the file
            done.add((runs[-1]["strategy"], runs[-1]["seed"]))
            print_err(" ".join(map(str, list(runs[-1].values())[:3])))
            write(arguments.out, settings, runs, names, complete=False)
    missing = set(planned(names, arguments.seeds)) - done
    write(arguments.out, settings, runs, names, complete=not missing)
    print_out(*markdown(summary(runs, names)).splitlines())


def planned(names: list[str], seeds: int) -> list[tuple[str, int]]:
    """(strategy, seed) of every run, the first seed of all strategies first."""
    return [(n, s) for s in range(seeds) for n in names if s < FEWER_SEEDS.get(n, seeds)]


def write(
    path: Path,
    settings: dict[str, Any],
    runs: list[dict[str, Any]],
    names: list[str],
    *,
    complete: bool,
) -> None:
    """The result file, labelled as partial until every strategy has all its seeds."""
    write_json(
        path,
        {
            "complete": complete,
            "settings": settings,
            **settings_of_machine(),
            "summary": summary(runs, names),
            "runs": runs,
        },
    )
