"""How many trainings do sixteen workers waste, and how many does early stopping save?

Both questions are answered by replays on a simulated cluster whose clock is that of the trainings.

(a) Sixteen workers. The B0 space within 400M FLOPs. Accuracies are those of the ImageNet surrogate
plus training-seed noise of 0.2 points (as in `experiments.compare_strategies`); durations come from
a regression of the measured `train_time`, with a held-out residual drawn for each network.
Measured: the evaluations that a search with 16 workers needs to reach the accuracy of the predictor
with one worker after 50, 80 and 100 evaluations (noise-free accuracy of the best of the five
networks with the highest noisy accuracy, mean over the seeds, interpolated). The first n
evaluations are the first n started, so that all paid evaluations count. The loss is that number
divided by 50, 80 or 100, minus 1. Seconds on the clock of the cluster are recorded, too. For
comparison: with 16 workers a proposal is made with 15 results less, and 15 is 30, 19 and 15% of 50,
80 and 100. Expected: the predictor loses at most 15%.

(b) Early stopping. Searches among the networks whose learning curves `experiments.cifar10_curves`
recorded, with and without ASHA. Regret: the best recorded accuracy minus the best accuracy known
after all epochs, in points. Cost: training seconds of all workers, including unfinished
evaluations. Measured, each relative to the same search without ASHA: seconds until the mean regret
over the seeds equals that of the full search after half the networks; mean seconds until the best
network, within the noise of a training seed, is trained in full (a search that never finds it is
charged with training all networks in full in addition); seconds for the whole pool, and the
remaining regret.
Expected: the predictor with ASHA needs at most half the seconds. ASHA uses the first rung and the
factor that are the defaults of a search; `asha_grid` has others.

Optuna's TPE runs in the same way for comparison (multivariate; in (a) also its slow plain form,
with 5 seeds). The predictor has four times the seeds in (a), because its loss is a small
difference.
Measured: results/fewer_trainings.json. Time: 10 minutes on one core; rerun the command to resume;
runs on curves that have changed since are repeated. Command:

    python -m experiments.fewer_trainings --data ../shared/data [--seeds 20] [--processes 1]
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.fewer_trainings")

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.cifar10_curves import RESULT as CURVES
from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.replay_jobs import Settings, job_of, planned, run, settings_of
from experiments.lib.replay_tables import draw, markdown, summary
from vbs.console import print_err, print_out
from vbs.figure import draw_picture
from vbs.folder import write_json


def load(path: Path, settings: Settings) -> list[dict[str, Any]]:
    """Return the earlier runs, without those on other curves."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    known, wanted = content["settings"], json.loads(json.dumps(asdict(settings)))
    usable = []
    for part, names in (("async", set(wanted) - {"curves", "rungs"}), ("curves", {"curves"})):
        if all(known.get(name) == wanted[name] for name in names):
            usable += [run for run in content["runs"] if run["part"] == part]
    return usable


def main() -> None:
    """Run the missing runs, write the results as they arrive, print the tables, draw the figure."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder shared/data")
    parser.add_argument(
        "--curves", type=Path, default=CURVES, help="result of experiments.cifar10_curves"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "fewer_trainings.json")
    args = parser.parse_args()
    settings = settings_of(args.data, args.curves)
    runs = load(args.out, settings)
    jobs = planned(args.seeds)
    done = {job_of(run) for run in runs}
    todo = [job for job in jobs if job not in done]

    def write() -> dict[str, Any]:
        missing = set(jobs) - {job_of(run) for run in runs}
        result = {
            "complete": not missing and settings.curves.complete,
            "settings": asdict(settings),
            **settings_of_machine(),
            "summary": summary(runs, settings.curves),
            "runs": runs,
        }
        write_json(args.out, result)
        return result

    with ProcessPoolExecutor(args.processes) as pool:
        waiting = [pool.submit(run, job, args.data, args.curves) for job in todo]
        try:
            for count, future in enumerate(as_completed(waiting), start=1):
                runs.append(future.result())
                if count % 40 == 0:
                    print_err(f"{count} of {len(todo)} runs")
                    write()
        finally:
            pool.shutdown(cancel_futures=True)
            result = write()
    print_out(*markdown(result["summary"]).splitlines())
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
