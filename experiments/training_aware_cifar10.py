"""The EfficientNetV2 search on this machine: does its network train faster than B0, and as well?

What: `scaling.training_aware` on CIFAR-10 at a quarter of V2's width and 32 px: a search with the
reward A * S^w * P^v and a table of step times of this machine. Then the network found, V2-base and
EfficientNet-B0 at the same size are trained alike with 3 seeds, and their training steps are timed
in one run.
Expected: the network found is as accurate as the B0-like one and takes measurably less time for a
step; on a CPU its operations may differ from those for a TPU. Measured:
results/training_aware_cifar10.json and .png. Time: an hour on 2 CPU cores; rerun the command
to resume.
Command:

    python -m experiments.training_aware_cifar10 --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.training_aware_cifar10")

import json
import shutil
from pathlib import Path

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from scaling.training_aware.config import FIGURE, RECORD, TrainingAwareConfig
from scaling.training_aware.report import show_result
from scaling.training_aware.run import run_training_aware
from vbs.config import from_values
from vbs.failures import Failure
from vbs.folder import write_json

NAME = "training_aware_cifar10"
SETTINGS = {"budget": 60, "max_time": "25min", "fidelity": "epochs=6,share=0.15", "device": "cpu"}


def main() -> None:
    """Start or resume the search; copy its result and figure to the results."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--processes", type=int, default=2, help="trainings at once (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{NAME}.json")
    args = parser.parse_args()
    how = {"data": args.data, "workers": args.processes}
    if (args.work / RECORD).exists():
        result = run_training_aware(out=args.work, resume=True, changes=how)
    else:
        config = from_values(TrainingAwareConfig, {**SETTINGS, **how})
        result = run_training_aware(config, out=args.work)
    show_result(result)
    if result.exit_code:
        raise Failure("the search failed; see above")
    record = json.loads((args.work / RECORD).read_text())
    searched = json.loads((args.work / "search" / "search.json").read_text())
    write_json(
        args.out,
        {
            "partial": record["partial"],
            "settings": record["settings"],
            "processes": args.processes,
            **settings_of_machine(),
            "search": {"status": searched["status"], **searched["outcome"]},
            **record["outcome"],
        },
    )
    shutil.copyfile(args.work / FIGURE, args.out.with_suffix(".png"))
