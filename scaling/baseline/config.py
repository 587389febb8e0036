"""Options of `python -m scaling.baseline`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.parents.options import target_texts
from scaling.family.config import phis_of
from scaling.options import check_family_growth
from search_spaces.catalog import SPACES
from train.options import TIME, DataOptions, data_text, weights_text
from train.parser import check_device
from train.recipe import CHANGEABLE, change, preset
from vbs.config import ConfigError, given_values, option
from vbs.options import Command
from vbs.units import LARGEST, parse_quantity, parse_seconds

STEPS = ("search", "finalists", "grid", "family", "train")
RECORD = "baseline.json"
RECIPE, OF_PARENT = "proxy", "finetune"  # preset of all trainings without and with a parent
# options that a baseline with a parent does not use
OF_GROWTH = ("space", "fidelity", "candidates", "growth", "phi", "train_time", "skip")
MOST = 10**9


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(DataOptions):
    """Options of a baseline: data, space, growth of the winner, and time limits."""

    title = "baseline"

    data: str | None = option(None, metavar="DATA", parse=data_text, help="images to train on")
    target_flops: float | None = option(
        None,
        limits=(0.0, LARGEST),
        parse=parse_quantity,
        metavar="SIZE",
        help="FLOPs of the baseline, e.g. 4M",
    )
    parent: str | None = option(
        None,
        metavar="SOURCE",
        parse=weights_text,
        help="search the sub-networks of this trained network instead of a space: a run's folder, "
        "a .safetensors file, timm:NAME or package:efficientnet_lite0; they are fine-tuned, and "
        "there is no grid and no family",
    )
    targets: str | None = option(
        None,
        metavar="SIZES",
        parse=target_texts,
        help="with --parent: several targets instead of --target-flops, e.g. 50M,35M",
    )
    space: str = option("compact", catalog=SPACES, help="space of the search (default compact)")
    resolution: int | None = option(
        None,
        limits=(8, 100_000),
        metavar="PX",
        help="input side of the baseline (default: that of the images, at most 224)",
    )
    budget: int = option(
        60,
        limits=(1, MOST),
        metavar="N",
        help="networks to evaluate for each target (default 60)",
    )
    max_time: float | None = option(
        None,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        later=True,
        help="the search starts no new network after this time, e.g. 1h",
    )
    fidelity: str | None = option(
        None,
        metavar="TEXT",
        help="length of the trainings of search and grid, e.g. epochs=8,share=0.2 "
        "(default: by the number of images)",
    )
    finalists: int = option(
        3,
        limits=(1, MOST),
        metavar="N",
        help="best networks of the search that are trained again (default 3)",
    )
    candidates: int = option(
        9, limits=(4, MOST), metavar="N", help="candidates of the grid (default 9)"
    )
    seeds: int = option(
        3, limits=(1, MOST), metavar="N", help="seeds of finalists and grid (default 3)"
    )
    growth: float = option(
        2.0, metavar="X", help="factor of FLOPs from member to member (default 2)"
    )
    phi: str = option("0..2", metavar="PHI", help="members of the family (default 0..2)")
    train_time: float = option(
        3600.0,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        later=True,
        help="total time for training the members (default 1h)",
    )
    changes: tuple[str, ...] = option(
        (),
        flag="set",
        fields=CHANGEABLE,
        metavar="FIELD=VALUE",
        help=f"change a field of the recipe {RECIPE} (with --parent: {OF_PARENT}; repeatable)",
    )
    skip: tuple[str, ...] = option(
        (),
        choices=STEPS,
        metavar="|".join(STEPS),
        later=True,
        help="skip a step (repeatable)",
    )
    workers: int | None = option(
        None, metavar="N", later=True, help="parallel trainings (default: all that fit)"
    )
    gpus: float | None = option(
        None, metavar="X", later=True, help="GPUs per training (default 1 if there are any)"
    )
    address: str | None = option(
        None, metavar="HOST:PORT", later=True, help="address of a Ray cluster, or auto"
    )
    device: str = option(
        "auto", metavar="NAME", later=True, help="auto (default), cpu, cuda or cuda:N"
    )

    def check(self) -> None:
        if self.data is None:
            raise ValueError("--data is missing; use images, such as cifar10")
        self._check_parent()
        if self.target_flops is None and self.targets is None:
            raise ValueError("--target-flops is missing; use a size, such as 4M")
        phis_of([self.phi])
        check_family_growth(self.growth)
        check_device(self.device, local=False)
        change(preset(self.recipe), self.changes)

    @property
    def recipe(self) -> str:
        """Preset of all trainings."""
        return RECIPE if self.parent is None else OF_PARENT

    def _check_parent(self) -> None:
        """Raise ValueError for options that contradict --parent or need it."""
        if self.targets is not None:
            if self.parent is None:
                raise ConfigError("targets", "needs --parent; add --parent SOURCE")
            if self.target_flops is not None:
                raise ConfigError("target_flops", "leave it out if --targets is given")
        if self.parent is None:
            return
        for name in given_values(self):
            if name in OF_GROWTH:
                raise ConfigError(name, "a baseline with --parent does not use it; leave it out")


COMMAND = Command(
    program="scaling.baseline",
    config=BaselineConfig,
    run="scaling.baseline.run:run_baseline",
    report="scaling.baseline.report:show_result",
    kind="baseline",
    record=RECORD,
    resumable=False,
    description="Search, grow and train a family of networks from images and a budget.",
    epilog="""\
For DATA see train.run. Each step is a command of its own: nas.search by training; longer trainings
of the best few with the whole recipe; scaling.grid of the winner; scaling.family; training of as
many members as --train-time allows. With --parent there is one step, nas.search inside the trained
network, for one target or several. DIR gets a folder for each step, and report.html. The same
command with the same --out resumes where it was interrupted; --dry-run prints the steps.
--space also accepts your own code: package.module:Name or path/to/file.py:Name.""",
    switches={"dry_run": "print the steps without running them"},
    interrupted="interrupted; rerun the command to resume",
)
