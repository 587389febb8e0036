"""Options of `python -m train.ray_tune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from train.loggers.catalog import check_installed
from train.options import DataOptions, LogOptions, RecipeOptions, SizeOptions, network_text
from train.parser import FACTOR, FACTORS, SCHEDULERS
from vbs.config import ConfigError, option
from vbs.console import print_err
from vbs.options import Command

RECORD = "run.json"
RETRIES = 3  # default number of retries
WAITING = 32  # default limit of concurrent trials with several processes, which wait for nodes


@dataclass(frozen=True, kw_only=True)
class TuneConfig(DataOptions, RecipeOptions, SizeOptions, LogOptions):
    """Trainings of many networks by one recipe, each network with each seed."""

    title = "trainings"

    architectures: tuple[str, ...] = option(
        (), metavar="FILE", parse=network_text, many=True, help="networks to train"
    )
    seeds: int | None = option(
        None,
        metavar="N",
        limits=(1, 10_000),
        help="train each network N times, by the recipe's seed and those after it (default 1)",
    )
    seed_list: tuple[int, ...] = option(
        (),
        metavar="N",
        limits=(0, 2**31 - 1),
        many=True,
        help="train each network once with each of these seeds",
    )
    scheduler: str = option(
        "fifo",
        metavar="asha|fifo",
        choices=SCHEDULERS,
        help="asha stops the worse trials early, fifo (default) stops none",
    )
    grace: int | None = option(
        None,
        metavar="N",
        limits=(1, 10**6),
        help="epoch of asha's first rung (default: 1/4 of the epochs, >= 100 steps)",
    )
    factor: float | None = option(
        None,
        metavar="X",
        limits=FACTORS,
        help=f"at each rung of asha, one of X trials continues (default {FACTOR:g})",
    )
    processes_per_trial: int = option(
        1,
        metavar="N",
        limits=(1, 100_000),
        old=("--workers-per-trial",),
        help="processes that train one network together (default 1)",
    )
    gpus_per_trial: float | None = option(
        None,
        metavar="X",
        limits=(0.0, 1e6),
        later=True,
        help="GPUs of each trial; 0.5: two trials share one; 4: for 4 processes (default: 1 for "
        "each process if a node has GPUs, else 0)",
    )
    cpus_per_trial: float | None = option(
        None,
        metavar="X",
        limits=(0.1, 1e6),
        later=True,
        help="CPUs of each trial (default: 1 for each process)",
    )
    loaders: int | None = option(
        None,
        metavar="N",
        limits=(0, 100_000),
        later=True,
        help="processes of each trial that decode streamed images (default: by its CPUs)",
    )
    workers: int | None = option(
        None,
        metavar="N",
        later=True,
        old=("--max-concurrent",),
        help=f"trials at once (default: all that fit; with several processes at most {WAITING}, "
        "or as many as fit at first)",
    )
    retries: int | None = option(
        None,
        metavar="N",
        later=True,
        help=f"times a trial is resumed after its node or process was lost (default {RETRIES})",
    )
    address: str | None = option(
        None, metavar="HOST:PORT", later=True, help="a Ray cluster, auto, or local (default)"
    )
    nodes: int | None = option(
        None, metavar="N", later=True, help="wait until the cluster has N nodes"
    )

    def check(self) -> None:
        for name in ("architectures", "data"):
            if not getattr(self, name):
                raise ValueError(
                    f"--{name} is missing; e.g. python -m train.ray_tune --architectures "
                    "efficientnet_b0 net.json --data cifar10"
                )
        if self.seeds is not None and self.seed_list:
            raise ValueError("--seed-list: leave it out if --seeds is given")
        check_installed(self.log)
        for name in ("grace", "factor"):
            if self.scheduler == "fifo" and getattr(self, name) is not None:
                raise ValueError(
                    f"--{name}: fifo stops nothing early; leave it out, or add --scheduler asha"
                )
        if self.nodes is not None and self.is_local:
            raise ConfigError("nodes", "there are no nodes to wait for; add --address auto")

    @property
    def is_local(self) -> bool:
        """Whether Ray is started on this machine."""
        return self.address in (None, "local")

    def seeds_from(self, first: int) -> Sequence[int]:
        """Return the seeds of each network; `first` is the recipe's."""
        return self.seed_list or range(first, first + (self.seeds or 1))


def earlier_spellings(words: list[str]) -> list[str]:
    """Replace "--seeds 0 1 2", a list of seeds in version 0.1, by --seed-list."""
    if "--seeds" not in words:
        return words
    start = words.index("--seeds") + 1
    values = []
    for word in words[start:]:
        if not word.isdigit():
            break
        values.append(word)
    if len(values) < 2 and values != ["0"]:
        return words
    print_err(
        "warning: --seeds is now a number of seeds; a list is --seed-list "
        f"{' '.join(values)}; the old form works for one version"
    )
    return [*words[: start - 1], "--seed-list", *words[start:]]


COMMAND = Command(
    program="train.ray_tune",
    config=TuneConfig,
    run="train.ray_tune.run:run_tune",
    report="train.ray_tune.report:show_result",
    kind="tune",
    record=RECORD,
    earlier="train.ray_tune.config:earlier_spellings",
    description="Train many networks at once with Ray Tune.",
    epilog="""\
FILE is a zoo name (efficientnet_b0), or a JSON file: an architecture, a best.json of
nas.search, or a list of either. DATA is as in train.run. By default Ray is started on this machine;
on a node of a cluster, add --address auto. --out is a folder or a URL; several nodes must share it.
--resume --out PLACE trains what is not finished, as does the same command again if it names --out.
PLACE gets run.json, results.json and results.csv, owner.json while it runs, and for each trial
trials/NAME/ with best.safetensors (weights), last.safetensors (to resume), curve.json, curves.csv,
tensorboard/, and run.json when it has ended.""",
)
