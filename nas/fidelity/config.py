"""Options of `python -m nas.fidelity`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.options import SpaceOptions
from train.options import DataOptions, PlaceOptions
from train.recipe import CHANGEABLE, PRESETS
from vbs.config import option
from vbs.options import Command
from vbs.units import LARGEST, parse_quantity

RECORD, FIGURE = "fidelity.json", "fidelity.png"
FEWEST = 4  # fewest networks for a rank correlation


@dataclass(frozen=True, kw_only=True)
class FidelityConfig(SpaceOptions, DataOptions, PlaceOptions):
    """Options of a comparison of fidelities: networks, images, and durations of the trainings.

    All options except the images have defaults.
    """

    title = "comparison"
    recorded = ("data_sha256", "fields")

    target_flops: float | None = option(
        None,
        limits=(0.0, LARGEST),
        metavar="SIZE",
        parse=parse_quantity,
        help="largest FLOPs of the networks, e.g. 4M",
    )
    recipe: str = option(
        "proxy", catalog=PRESETS, metavar="NAME", help="recipe of the trainings (default proxy)"
    )
    changes: tuple[str, ...] = option(
        (),
        flag="set",
        metavar="FIELD=VALUE",
        fields=CHANGEABLE,
        help="change a field of the recipe (repeatable)",
    )
    networks: int = option(
        12, limits=(FEWEST, 200), metavar="N", help="networks to compare (default 12)"
    )
    seeds: int = option(2, limits=(2, 20), metavar="N", help="seeds of each training (default 2)")
    fidelities: tuple[str, ...] | None = option(
        None,
        metavar="TEXT;...",
        help="fidelities to compare (default: chosen by the number and size of the images and the "
        "recipe)",
    )
    longest: str | None = option(
        None,
        metavar="TEXT",
        help="fidelity that the others are compared with (default: the recipe's epochs, at most "
        "30, on at most about 20,000 images)",
    )

    def check(self) -> None:
        if self.data is None:
            raise ValueError("--data is missing; use images, such as --data cifar10")


COMMAND = Command(
    program="nas.fidelity",
    config=FidelityConfig,
    run="nas.fidelity.run:run_fidelity",
    report="nas.fidelity.report:show_result",
    kind="fidelity",
    noun="comparison",
    record=RECORD,
    description="Find the cheapest training that ranks networks as a long training does.",
    epilog="""\
DATA is cifar10, cifar100, fashion-mnist, imagenet, imagefolder:DIR, parquet:DIR or
FILE.zip. A fidelity is written as epochs=9,share=0.2,resolution=24 (share of the training images;
resolution in pixels, default that of the networks). The folder gets fidelity.json (settings,
networks, accuracies, correlations, recommended fidelity) and fidelity.png. Results of finished
trainings are cached in ~/.cache/vision-baseline-search/results for later runs on the same kind of
device. Accuracies are those of the moving average of the weights. Seconds are processor time of all
threads together, or wall-clock time on a GPU.""",
)
