"""All checks and measurements that need a GPU, in order of importance, run by one command.

What: CPU and GPU compute the same logits, losses and gradients (float32, bfloat16); the loop learns
with channels_last, bfloat16 and torch.compile; images/s of EfficientNet-B0 at 224 px and of the
proxy network at 32 px, relative to timm's best setting in the same run (goal: at least 1.0); a
resumed training equals an uninterrupted one; after running out of memory, the proposed batch fits;
the GPU does not wait for augmented images at 32 px; two trials on half a GPU each, through Ray; one
process with DistributedDataParallel over NCCL; block times by CUDA events (goal: Kendall tau .9);
the gain of cuDNN's benchmark mode; seconds to 90% on CIFAR-10; and, in the remaining time, the grid
of alpha, beta and gamma with trainings long enough for deep networks to converge. Each step runs in
a process of its own, which is ended at its time limit, so that a step that hangs or crashes does
not affect the others. Steps whose packages (Ray, timm, ...) or images are missing are skipped and
listed. The result file is written after every step; rerun the command to resume, and use --steps to
repeat some steps. The exit code is 1 if a step failed. Needs torch 2.11 or newer. With --dry every
step runs on a CPU with tiny networks and without verdicts, in two minutes at most.
Measured: not yet. Time: --minutes (8); the last step takes the time that the others leave.
Writes: results/gpu_check.json (--dry: runs/gpu_check_dry.json). Command:

    python -m experiments.gpu_check [--minutes 8] [--data parquet:../shared/data/cifar10] [--dry]
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.gpu_check", "run")

from pathlib import Path
from typing import Any

from experiments.lib.arguments import Options, experiment_arguments
from experiments.lib.common import RESULTS
from experiments.lib.gpu_check.process import Row
from experiments.lib.gpu_check.record import Record
from experiments.lib.gpu_check.run import Check, describe_machine, run_steps
from experiments.lib.gpu_check.steps import MACHINE, MINUTES, STEPS
from experiments.lib.gpu_check.table import line_of, show
from vbs.console import print_err, print_out

DRY_MINUTES = 240.0  # on busy processors
OUT = {False: RESULTS / "gpu_check.json", True: Path("runs") / "gpu_check_dry.json"}


def _arguments(texts: list[str] | None) -> Options:
    parser = experiment_arguments(__doc__)
    names = [step.name for step in STEPS]
    parser.add_argument(
        "--minutes", type=float, help=f"time limit of all steps (default {MINUTES:g})"
    )
    parser.add_argument("--dry", action="store_true", help="run every step in a tiny form on a CPU")
    parser.add_argument("--data", help="CIFAR-10, as for train.run")
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=names,
        metavar="STEP",
        help="run these steps, also if they have results",
    )
    parser.add_argument("--out", type=Path, help="result file")
    arguments = parser.parse_args(texts)
    if arguments.minutes is None:
        arguments.minutes = DRY_MINUTES if arguments.dry else MINUTES
    if not 0.5 <= arguments.minutes <= 10_000:
        raise ValueError(f"minutes: {arguments.minutes:g} is not allowed; use .5 to 10000")
    return arguments


def run(texts: list[str] | None = None) -> int:
    """Run the steps, write the result file after each, and print the table."""
    arguments = _arguments(texts)
    out = arguments.out or OUT[arguments.dry]
    out.parent.mkdir(parents=True, exist_ok=True)
    check = Check(
        device="cpu" if arguments.dry else "cuda",
        dry=arguments.dry,
        data=arguments.data,
        minutes=arguments.minutes,
    )
    machine = describe_machine(check, MACHINE)
    print_err(line_of(machine))
    record = Record(out, _settings(check, machine), [step.name for step in STEPS])
    record.take_up(arguments.steps or ())
    wanted = [step for step in STEPS if step.name in (arguments.steps or record.order)]
    run_steps(check, wanted, record, lambda row: print_err(line_of(row)))
    rows = [record.rows[name] for name in record.order if name in record.rows]
    show([machine, *rows])
    print_out(f"results: {out}")
    return int(any(row["status"] == "failed" for row in rows))


def _settings(check: Check, machine: Row) -> dict[str, Any]:
    """Return the settings that all rows of one file share."""
    data = None if check.data is None else Path(check.data).name
    known = machine["finding"]
    return {
        "dry": check.dry,
        "data": data,
        "device": {name: value for name, value in known.items() if name != "passed"},
    }
