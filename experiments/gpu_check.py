"""Everything that only a GPU can show, checked and measured by one command, in order of importance.

What: CPU and GPU compute the same logits, losses and gradients (float32, bfloat16); the loop learns
with channels_last, bfloat16 and torch.compile; EfficientNet-B0 at 224 px and the proxy network at
32 px in images a second, over timm's best in the same run (goal: at least 1.0); a resumed training
is the same training; a batch that does not fit is answered with one that does; the GPU does not
wait for augmented images at 32 px; two trials on half a GPU each, through Ray; one process with
DistributedDataParallel over NCCL; block times by CUDA events (goal: Kendall tau .9); what cuDNN's
choice by timing would gain; CIFAR-10 to 90% in seconds; and with the time that is left the grid of
alpha, beta and gamma, with trainings so long that depth is not punished.
Each step is a process of its own, ended at its limit, so that one that hangs or crashes costs the
others nothing. A step whose packages (Ray, timm, ...) or images are missing is skipped by name. The
result file is written after every step; the same command continues where it was interrupted, and
--steps runs some again. Exit code 1 where a step failed. torch 2.11 or newer.
With --dry every step runs on a CPU with tiny networks, without verdicts: two minutes at most.
Measured: not yet. Time: --minutes (8), of which the last step takes what the others leave.
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
    parser.add_argument("--minutes", type=float, help=f"in all (default {MINUTES:g})")
    parser.add_argument("--dry", action="store_true", help="every step in a tiny form, on a CPU")
    parser.add_argument("--data", help="CIFAR-10, as train.run takes it")
    parser.add_argument(
        "--steps", nargs="+", choices=names, metavar="STEP", help="run these, whatever is known"
    )
    parser.add_argument("--out", type=Path, help="result file")
    arguments = parser.parse_args(texts)
    if arguments.minutes is None:
        arguments.minutes = DRY_MINUTES if arguments.dry else MINUTES
    if not 0.5 <= arguments.minutes <= 10_000:
        raise ValueError(f"minutes: {arguments.minutes:g} is not allowed; use .5 to 10000")
    return arguments


def run(texts: list[str] | None = None) -> int:
    """The command: run the steps, write the result file after each, show the table."""
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
    """What rows of one file have in common."""
    data = None if check.data is None else Path(check.data).name
    known = machine["finding"]
    return {
        "dry": check.dry,
        "data": data,
        "device": {name: value for name, value in known.items() if name != "passed"},
    }
