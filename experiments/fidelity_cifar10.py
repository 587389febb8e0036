"""Which short training ranks networks of the compact space on CIFAR-10 as a longer one does?

What: `nas.fidelity` with 12 networks spread over the compact space within 4M FLOPs at 32 px, each
trained with the recipe `proxy`, two seeds and three fidelities. The longest fidelity, 6 epochs of
15% of the images, is compared with its own first epochs and with two fidelities that cost about a
quarter and two fifths of it: fewer epochs of fewer images, and fewer epochs at 24 px. Reported:
Kendall's tau with its interval, the variation between seeds, the learning curves, and the fidelity
that a search takes with `--fidelity auto`.
Expected: the tau between two seeds of the longest fidelity, which limits all others, is well below
1, since the networks differ by a few points only; some cheap fidelity is not far below it.
Measured: results/fidelity_cifar10.json, results/fidelity_cifar10.png. Time: an hour of processor
time, half an hour on 2 CPU cores; rerun the command to resume. Command:

    python -m experiments.fidelity_cifar10 --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.fidelity_cifar10")

import json
import shutil
from pathlib import Path

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from nas.fidelity import FidelityConfig, run_fidelity
from nas.fidelity.report import show_result
from vbs.folder import write_json

NAME = "fidelity_cifar10"
LONGEST = "epochs=6,share=0.15"
CHEAPER = "epochs=2,share=0.1;epochs=4,share=0.15,resolution=24"


def main() -> int:
    """Start or resume the comparison; copy its result and figure to the results."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--longest", default=LONGEST)
    parser.add_argument("--fidelities", default=CHEAPER)
    parser.add_argument("--processes", type=int, default=2, help="trainings at once (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{NAME}.json")
    args = parser.parse_args()
    config = FidelityConfig(
        data=args.data,
        space="compact",
        target_flops=4e6,
        resolution=32,
        networks=args.networks,
        longest=args.longest,
        fidelities=(args.fidelities,),
        workers=args.processes,
        device="cpu",
    )
    if (args.work / "fidelity.json").exists():
        changes = {name: getattr(config, name) for name in ("data", "workers", "device")}
        result = run_fidelity(out=args.work, resume=True, changes=changes)
    else:
        result = run_fidelity(config, out=args.work)
    show_result(result)
    if result.exit_code:
        return result.exit_code
    found = json.loads((args.work / "fidelity.json").read_text())
    names = ("space", "target_flops", "resolution", "recipe", "seeds", "longest", "fidelities")
    write_json(
        args.out,
        {
            "settings": {name: found["settings"][name] for name in names},
            "processes": args.processes,
            **settings_of_machine(),
            **found["outcome"],
        },
    )
    shutil.copyfile(args.work / "fidelity.png", args.out.with_suffix(".png"))
    return 0
