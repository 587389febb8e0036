"""Which strategy finds the best network with the fewest trainings?

Compares the strategies of this project with those of other packages, in the same loop and with the
same evaluators: Optuna's samplers, and with `--peers` SMAC3, HEBO, BoTorch through Ax, NePS and
Syne Tune. Each peer has an environment with pinned versions (`experiments/peers`), which
`--install` creates under ~/.cache/vision-baseline-search/peers or $VBS_PEERS. Four tasks:

    flops   mean of the ImageNet surrogate plus training-seed noise of 0.2 points, within 400M FLOPs
    device  the same, with a throughput on the A100 of at least that of EfficientNet-B0
    table   two thirds of the measured ImageNet trainings (3,076 networks) within 400M FLOPs
    front   the surrogate: the whole front of accuracy and FLOPs within 400M

Recorded after 50 to 300 evaluations (own strategies: up to 1,000), over 20 seeds: the noise-free
accuracy of the best of the five networks with the highest noisy accuracy, the hypervolume of the
noise-free front above 55% and within the limit, and the milliseconds of each proposal. Strategies
propose one network at a time (the predictors eight, their own batch), after 12 random networks
(Optuna's samplers: 10, HEBO: its own 29).

Peers see decisions as ordered integers. Infeasible proposals cost no evaluation: SMAC3, HEBO, NePS
and Syne Tune receive the lowest reward so far, Ax and Optuna the excess as a constraint, and each
then proposes again. On the table the predictor of this project chooses among the networks of the
table; the proposal of a peer is replaced by the nearest network that has not been evaluated, and
the peer receives the result of that one. `predictor:nearest` is the predictor under the rule for
peers. Strategies whose runs take more than ten minutes have fewer seeds.

Expected: predictor after 50 evaluations equals the best peer after 150.
Time: an hour and a half on one core without --peers, most of it for Optuna's GP and TPE; about 40
hours with them. Rerun the command to resume; failed runs of peers are repeated.

    python -m experiments.compare_strategies [--seeds 20] [--processes 2] [--only predictor]
    python -m experiments.compare_strategies --peers smac hebo ax neps syne-tune --install
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.compare_strategies")

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments.lib.arguments import Options, Parser, experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.peer_environments import FRONT_PEERS, PEERS, described, install, python_of
from experiments.lib.strategy_runs import NEAREST, TOGETHER, run
from experiments.lib.strategy_tables import Run, markdown, summary
from experiments.lib.strategy_tasks import TASKS, task_of
from nas import catalog
from vbs.console import print_err, print_out
from vbs.folder import write_json
from vbs.text import one_of

OPTUNA = tuple(f"optuna:{name}" for name in ("random", "tpe", "tpe-multivariate", "gp", "nsga2"))
SHORT = ("random", "evolution", "predictor", "optuna:tpe-multivariate")  # for the other tasks
NAMES: dict[str, list[str]] = {  # strategies by task, in the order of the tables
    "flops": [*dict.fromkeys([*catalog.STRATEGIES, *OPTUNA]), *PEERS],
    "device": [*SHORT, *PEERS],
    "table": [*SHORT, f"predictor{NEAREST}", *PEERS],
    "front": ["random", "nsga2", "predictor-front", *FRONT_PEERS],
}
# seeds of strategies with long runs
SLOW = {"optuna:gp": 3, "hebo": 5, "ax": 5, "neps": 5, "ax-qnehvi": 5}


def main() -> None:
    """Run the missing runs, write the results after each, print the tables."""
    parser = experiment_arguments(__doc__)
    add_options(parser)
    arguments = parser.parse_args()
    peers = chosen_peers(arguments.peers)
    if arguments.install:
        for peer in peers:
            install(peer)
    for peer in peers:
        python_of(peer)  # raises for a missing environment before anything runs
    settings = {"together": TOGETHER, "tasks": {name: task_of(name).settings() for name in TASKS}}
    runs = [run for path in (arguments.out, *arguments.merge) for run in load(path, settings)]
    done = {key_of(run) for run in runs if "failed" not in run}
    todo = [key for key in planned(arguments, peers) if key not in done]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for future in as_completed([pool.submit(run, *key) for key in todo]):
            found = json.loads(json.dumps(future.result()))  # marks become text, as in the file
            runs = [run for run in runs if key_of(run) != key_of(found)] + [found]
            print_err(" ".join(map(str, key_of(found))) + " " + found.get("failed", ""))
            write(arguments.out, settings, runs)
    write(arguments.out, settings, runs)
    table = summary(runs, NAMES)
    for task in NAMES:
        print_out(task, "", *markdown(table, task).splitlines(), "")


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--first-seed", type=int, default=0, help="first seed, to divide seeds among machines"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--tasks", help=f"comma-separated, from {', '.join(TASKS)}")
    parser.add_argument("--only", help="comma-separated strategies")
    parser.add_argument(
        "--peers", nargs="*", default=[], metavar="PEER", help=f"from {', '.join(PEERS)}"
    )
    parser.add_argument("--install", action="store_true", help="create the peers' environments")
    parser.add_argument("--out", type=Path, default=RESULTS / "compare_strategies.json")
    parser.add_argument(
        "--merge",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="result files of other processes or machines",
    )


def chosen_peers(names: list[str]) -> list[str]:
    """Return the named peers and the methods for fronts from the same environments."""
    chosen = [one_of("peer", name, PEERS) for name in names]
    requirements = [PEERS[name].requirements for name in chosen]
    return chosen + [
        name for name, each in FRONT_PEERS.items() if each.requirements in requirements
    ]


def planned(arguments: Options, peers: list[str]) -> list[tuple[str, str, int]]:
    """Return (task, strategy, seed) of every requested run, all runs of the first seed first."""
    tasks = [
        one_of("task", name, TASKS) for name in (arguments.tasks or ",".join(TASKS)).split(",")
    ]
    free = {name for names in NAMES.values() for name in names} - set(PEERS)
    here = free - {name for name, each in FRONT_PEERS.items() if each.requirements} | set(peers)
    only = (
        [one_of("strategy", name, here) for name in arguments.only.split(",")]
        if (arguments.only)
        else here
    )
    return [
        (task, name, seed)
        for seed in range(arguments.first_seed, arguments.seeds)
        for task in tasks
        for name in NAMES[task]
        if name in only and seed < SLOW.get(name, arguments.seeds)
    ]


def key_of(run: Run) -> tuple[str, str, int]:
    """Return (task, strategy, seed) of a run."""
    return run["task"], run["strategy"], run["seed"]


def load(path: Path, settings: dict[str, Any]) -> list[Run]:
    """Return the earlier runs of a result file with the same settings."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or content.get("settings") != settings:
        raise ValueError(f"{path} was made with other settings; move it away to start again")
    return content["runs"]


def missing(runs: list[Run], seeds: int = 20) -> list[str]:
    """Return what a complete comparison lacks, as "task strategy: 3 of 20 seeds"."""
    done = {key_of(run) for run in runs if "failed" not in run}
    found = []
    for task, names in NAMES.items():
        for name in names:
            wanted = SLOW.get(name, seeds)
            count = sum((task, name, seed) in done for seed in range(wanted))
            if count < wanted:
                found.append(f"{task} {name}: {count} of {wanted} seeds")
    return found


def write(path: Path, settings: dict[str, Any], runs: list[Run]) -> None:
    """Write the result file, marked as partial until every strategy has all its seeds."""
    lacking = missing(runs)
    write_json(
        path,
        {
            "complete": not lacking,
            "missing": lacking,
            "settings": settings,
            **settings_of_machine(),
            "peers": described(),
            "summary": summary(runs, NAMES),
            "runs": runs,
        },
    )
