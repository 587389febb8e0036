"""Options of `python -m train.run`."""

from __future__ import annotations

from dataclasses import dataclass

from train.data.source import known_source
from train.loggers.catalog import check_installed
from train.options import (
    DataOptions,
    DeviceOptions,
    LogOptions,
    RecipeOptions,
    SizeOptions,
    network_text,
)
from vbs.config import option
from vbs.options import Command

RECORD = "run.json"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataOptions, RecipeOptions, SizeOptions, DeviceOptions, LogOptions):
    """The network, images and recipe of a training."""

    title = "training"
    # fields that version 0.1 stored in the settings, see `train.run.record`
    recorded = (
        "architecture",
        "own_colours",
        "own_epochs",
        "arguments",
        "processes",
        "data_settings",
        "initial",
        "noisy_student",
    )

    network: str | None = option(None, parse=network_text, help="network to train")
    init: str | None = option(
        None,
        metavar="SOURCE",
        help="initial weights: a run's folder, a .safetensors file, timm:NAME, or "
        "package:efficientnet_lite0 (or lite1, lite2)",
    )

    def check(self) -> None:
        for name in ("network", "data"):
            if getattr(self, name) is None:
                example = "efficientnet_b0 --data cifar10"
                raise ValueError(f"{name.upper()} is missing; e.g. python -m train.run {example}")
        check_installed(self.log)

    def check_files(self) -> None:
        if self.data is not None:
            known_source(self.data)


COMMAND = Command(
    program="train.run",
    config=TrainConfig,
    run="train.run.run:run_training",
    report="train.run.report:show_result",
    kind="train",
    record=RECORD,
    positional=("network",),
    description="Train one network on one data set.",
    epilog="""\
NETWORK is a zoo name (efficientnet_b0), or a JSON file: an architecture, a best.json of
nas.search, or a run.json of train.run. DATA is cifar10, cifar100, fashion-mnist, imagenet,
imagefolder:DIR (or DIR alone), parquet:DIR or FILE.zip, with options after a question mark, e.g.
imagefolder:DIR?corrupt_limit=0.05 (see docs/train.md).
On several GPUs: torchrun --nproc-per-node 4 -m train.run NETWORK ... --out DIR.
The folder gets best.safetensors (weights), last.safetensors (to resume), run.json (settings and
result), curves.csv and curves.png, confusion.png, mistakes.png, report.html,
test_predictions.parquet and tensorboard/.""",
)
