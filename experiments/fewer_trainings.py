"""How many trainings do sixteen workers waste, and how many does early stopping save?

Both questions are replayed on a simulated cluster, whose clock is that of the trainings.

(a) Sixteen workers. The B0 space under 400M FLOPs; accuracies are the ImageNet surrogate's plus
training-seed noise of 0.2 points (as in `experiments.compare_strategies`), durations a regression
of the measured `train_time` with its held-out residuals drawn for each network. Measured: the
evaluations that a search with 16 in flight is given to reach the accuracy of the one-at-a-time
predictor after 50, 80 and 100 (noise-free accuracy of the best of the five that looked best, mean
over the seeds, interpolated; the first n evaluations are the first n begun, so that all that were
paid for count). Loss: that over 50, 80 and 100, less 1. And seconds on the cluster's clock. Beside
it stands the delay: with 16 in flight a proposal knows 15 results less, which alone is 30, 19 and
15% of 50, 80 and 100. Expected: the predictor loses at most 15%.

(b) Early stopping. A search through the networks whose learning curves
`experiments.cifar10_curves` recorded, with ASHA and without. Regret: points between the best
recorded accuracy and the best one known after all epochs. Cost: training seconds of all workers,
those of unfinished evaluations included. Measured, each against the same search without ASHA:
seconds until the mean regret over the seeds is that of the full search after half the networks;
mean seconds until the best network, but for the noise of a training seed, is known in full (a
search that never finds it pays for training all networks in full on top); seconds for the whole
pool and the regret left. Expected: the predictor with ASHA needs at most half the seconds. ASHA's
first rung and factor are a search's defaults; others are in `asha_grid`.

Against Optuna's TPE run the same way (multivariate; its plain form, slow, in (a) with 5 seeds); the
predictor in (a) with four times the seeds, since its loss is a small difference.
Measured: results/fewer_trainings.json. Time: 10 minutes on one core; run it again to continue, or
to repeat what newly recorded curves change. Command:

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
    """Runs already made; those of other curves are repeated."""
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
    """Run what is missing, write results as they come, print the tables, draw the figure."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder shared/data")
    parser.add_argument("--curves", type=Path, default=CURVES, help="of experiments.cifar10_curves")
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
                    print_err(f"{count} of {len(todo)}")
                    write()
        finally:
            pool.shutdown(cancel_futures=True)
            result = write()
    print_out(*markdown(result["summary"]).splitlines())
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
