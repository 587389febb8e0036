"""Options of `python -m scaling.baseline`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.parents.options import target_texts
from scaling.family.config import phis_of
from scaling.options import check_family_growth
from search_spaces.catalog import SPACES
from train.options import TIME, DataOptions, data_text, weights_text
from train.parser import check_device
from train.recipe import change, preset
from vbs.config import ConfigError, given_values, option
from vbs.options import Command
from vbs.units import LARGEST, parse_quantity, parse_seconds

STEPS = ("search", "finalists", "grid", "family", "train")
RECORD = "baseline.json"
RECIPE, OF_PARENT = "proxy", "finetune"  # of all trainings; with a parent
# options of steps that a baseline with a parent has not
OF_GROWTH = ("space", "fidelity", "candidates", "growth", "phi", "train_time", "skip")
MOST = 10**9


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(DataOptions):
    """A baseline for images: what is searched, how the winner grows, and for how long."""

    title = "baseline"

    data: str | None = option(None, metavar="DATA", parse=data_text, help="images to train on")
    target_flops: float | None = option(
        None,
        limits=(0.0, LARGEST),
        parse=parse_quantity,
        metavar="SIZE",
        help="of the baseline, e.g. 4M",
    )
    parent: str | None = option(
        None,
        metavar="SOURCE",
        parse=weights_text,
        help="search inside this trained network instead: a run's folder, a .safetensors file, "
        "timm:NAME or package:efficientnet_lite0; what is found is fine-tuned, and does not grow",
    )
    targets: str | None = option(
        None,
        metavar="SIZES",
        parse=target_texts,
        help="with --parent, several targets instead of --target-flops, e.g. 50M,35M",
    )
    space: str = option("compact", catalog=SPACES, help="of the search (default compact)")
    resolution: int | None = option(
        None,
        limits=(8, 100_000),
        metavar="PX",
        help="of the baseline's input (default: the images', at most 224)",
    )
    budget: int = option(
        60,
        limits=(1, MOST),
        metavar="N",
        help="networks to search through, for each target (default 60)",
    )
    max_time: float | None = option(
        None,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        later=True,
        help="the search begins no new network after that, e.g. 1h",
    )
    fidelity: str | None = option(
        None,
        metavar="TEXT",
        help="how much of the recipe a training of search and grid is, e.g. epochs=8,share=0.2 "
        "(default: by the number of images)",
    )
    finalists: int = option(
        3,
        limits=(1, MOST),
        metavar="N",
        help="networks of the search that are trained again (default 3)",
    )
    candidates: int = option(9, limits=(4, MOST), metavar="N", help="of the grid (default 9)")
    seeds: int = option(3, limits=(1, MOST), metavar="N", help="of finalists and grid (default 3)")
    growth: float = option(2.0, metavar="X", help="of FLOPs from member to member (default 2)")
    phi: str = option("0..2", metavar="PHI", help="members (default 0..2)")
    train_time: float = option(
        3600.0,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        later=True,
        help="for the members' trainings together (default 1h)",
    )
    changes: tuple[str, ...] = option(
        (),
        flag="set",
        metavar="FIELD=VALUE",
        help=f"change a field of the recipe, which is {RECIPE}, or {OF_PARENT} with --parent "
        "(repeatable)",
    )
    skip: tuple[str, ...] = option(
        (),
        choices=STEPS,
        metavar="|".join(STEPS),
        later=True,
        help="leave a step out (repeatable)",
    )
    workers: int | None = option(
        None, metavar="N", later=True, help="trainings at once (default: all that fit)"
    )
    gpus: float | None = option(
        None, metavar="X", later=True, help="GPUs of a training (default 1 if there are any)"
    )
    address: str | None = option(
        None, metavar="HOST:PORT", later=True, help="a Ray cluster, or auto"
    )
    device: str = option(
        "auto", metavar="NAME", later=True, help="auto (default), cpu, cuda or cuda:N"
    )

    def check(self) -> None:
        if self.data is None:
            raise ValueError("--data is missing; name images, such as cifar10")
        self._check_parent()
        if self.target_flops is None and self.targets is None:
            raise ValueError("--target-flops is missing; give a size, such as 4M")
        phis_of([self.phi])
        check_family_growth(self.growth)
        check_device(self.device, local=False)
        change(preset(self.recipe), self.changes)

    @property
    def recipe(self) -> str:
        """The preset of all trainings."""
        return RECIPE if self.parent is None else OF_PARENT

    def _check_parent(self) -> None:
        """ValueError for options that do not go with --parent, or with it alone."""
        if self.targets is not None:
            if self.parent is None:
                raise ConfigError("targets", "goes with --parent; add --parent SOURCE")
            if self.target_flops is not None:
                raise ConfigError("target_flops", "leave it out where --targets are given")
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
    description="From images and a budget to a family of networks.",
    epilog="""\
DATA is as in train.run. The steps, each as its own command does it: nas.search by training; the
best few trained again by the whole recipe; scaling.grid of the winner; scaling.family; as many
members trained as --train-time allows. With --parent there is one step, nas.search inside the
trained network for one target or several. DIR gets a folder for each, and report.html. The same
command with the same --out resumes where it was interrupted; --dry-run prints what it would do.
--space also takes code of your own, as package.module:Name or path/to/file.py:Name.""",
    switches={"dry_run": "print what would be done"},
    interrupted="interrupted; the same command resumes",
)
