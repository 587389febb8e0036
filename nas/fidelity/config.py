"""Options of `python -m nas.fidelity`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.fidelity.ranks import FEWEST
from nas.options import SpaceOptions
from train.options import DataOptions, PlaceOptions
from train.recipe import PRESETS
from vbs.config import option
from vbs.options import Command
from vbs.units import LARGEST, parse_quantity

RECORD, FIGURE = "fidelity.json", "fidelity.png"


@dataclass(frozen=True, kw_only=True)
class FidelityConfig(SpaceOptions, DataOptions, PlaceOptions):
    """A comparison of fidelities: which networks are trained, on which images, and for how long.

    Images are needed; everything else has a default.
    """

    title = "comparison"
    recorded = ("data_sha256", "fields")

    target_flops: float | None = option(
        None,
        limits=(0.0, LARGEST),
        metavar="SIZE",
        parse=parse_quantity,
        help="networks of at most so many FLOPs, e.g. 4M",
    )
    recipe: str = option(
        "proxy", catalog=PRESETS, metavar="NAME", help="recipe of the trainings (default proxy)"
    )
    changes: tuple[str, ...] = option(
        (), flag="set", metavar="FIELD=VALUE", help="change a field of the recipe (repeatable)"
    )
    networks: int = option(
        12, limits=(FEWEST, 200), metavar="N", help="networks to compare (default 12)"
    )
    seeds: int = option(2, limits=(2, 20), metavar="N", help="seeds of each training (default 2)")
    fidelities: tuple[str, ...] | None = option(
        None,
        metavar="TEXT;...",
        help="fidelities to try (default: some, by the size of the data, its images and the "
        "recipe)",
    )
    longest: str | None = option(
        None,
        metavar="TEXT",
        help="what they are compared with (default: the recipe's epochs, at most 30, of at most "
        "about 20,000 images)",
    )

    def check(self) -> None:
        if self.data is None:
            raise ValueError("--data is missing; e.g. python -m nas.fidelity --data cifar10")


COMMAND = Command(
    program="nas.fidelity",
    config=FidelityConfig,
    run="nas.fidelity.run:run_fidelity",
    report="nas.fidelity.report:show_result",
    kind="fidelity",
    record=RECORD,
    description="Find the cheapest training that ranks networks as a long one does.",
    epilog="""\
DATA is cifar10, cifar100, fashion-mnist, imagenet, imagefolder:DIR, parquet:DIR or
FILE.zip. A fidelity is written epochs=9,share=0.2,resolution=24 (share of the training images;
resolution in pixels, else the network's). The folder gets fidelity.json (settings, networks,
accuracies, correlations, answer) and fidelity.png; finished trainings are kept in
~/.cache/vision-baseline-search/results and are not repeated by later runs on the same kind of
device. Accuracies are those of the moving average of the weights; seconds are the processor's, of
all threads together, or on a GPU those of the clock on the wall.""",
)
