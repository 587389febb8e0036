"""The factorized hierarchical space of MnasNet (Tan et al. 2019, section 4.1).

The seven stages of MobileNetV2 have seven decisions each: convolution op, kernel k, expansion e,
squeeze-and-excitation se, skip, filters c (relative to MobileNetV2's) and layers l (MobileNetV2's,
one more, or one fewer, but at least one). The expansion has an effect only for "mbconv", so op and
expansion have 4 combinations, and a stage has the 4 x 2 x 2 x 3 x 3 x 3 = 432 forms of the paper.
"dwsep" is the paper's SepConv, whose pointwise convolution is linear.
"""

from __future__ import annotations

from typing import Any

from search_spaces.architecture import Stage
from search_spaces.scale import round_channels
from search_spaces.staged import StagedSpace, choices_of_rows, image_settings

CHANNELS = (16, 24, 32, 64, 96, 160, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
LAYERS = (1, 2, 3, 4, 3, 3, 1)
MOBILENET_V2 = choices_of_rows(
    "op k e se skip c l",
    [("dwsep", 3, 3, 0.0, "identity", 1.0, 1)]
    + [("mbconv", 3, 6, 0.0, "identity", 1.0, layers) for layers in LAYERS[1:]],
)


def mnasnet(
    *, resolution: int = 224, classes: int = 1000, width: float = 1.0, small_images: bool = False
) -> StagedSpace:
    """Return the space; the arguments are those of `search_spaces.catalog.space`."""
    settings, strides, frame = image_settings(
        resolution=resolution,
        classes=classes,
        width=width,
        small_images=small_images,
        strides=STRIDES,
    )
    choices: dict[str, tuple] = {}
    only_if: dict[str, tuple[str, tuple]] = {}
    for index, layers in enumerate(LAYERS):
        choices[f"block{index}_op"] = ("conv", "dwsep", "mbconv")
        choices[f"block{index}_k"] = (3, 5)
        choices[f"block{index}_e"] = (3, 6)
        choices[f"block{index}_se"] = (0.0, 0.25)
        choices[f"block{index}_skip"] = ("none", "identity", "pool")
        choices[f"block{index}_c"] = (0.75, 1.0, 1.25)
        choices[f"block{index}_l"] = tuple(n for n in (layers - 1, layers, layers + 1) if n)
        only_if[f"block{index}_e"] = (f"block{index}_op", ("mbconv",))

    def stage_of(index: int, own: dict[str, Any]) -> Stage:
        op = "conv" if own["op"] == "conv" else "mbconv"
        expand = own["e"] if own["op"] == "mbconv" else 1
        channels = round_channels(CHANNELS[index], own["c"] * width)
        return Stage(
            op, own["l"], own["k"], strides[index], expand, channels, own["se"], own["skip"]
        )

    frame["activation"] = "relu"
    return StagedSpace(
        "mnasnet",
        choices,
        stage_of,
        frame=frame,
        only_if=only_if,
        settings=settings,
    ).with_references({"MobileNetV2 (ReLU)": MOBILENET_V2})
