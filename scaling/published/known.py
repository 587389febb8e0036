"""Known ImageNet top-1 of networks, from which predictions of growth start: `known_top1`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from scaling.published.model import CEILING, checked_top1
from search_spaces.catalog import NETWORKS, zoo
from vbs.json_text import parse_json
from vbs.text import quoted, shortened

EFFICIENTNET = "Tan and Le, EfficientNet, 2019, table 2"
LITE = "github.com/tensorflow/tpu, efficientnet/lite/README.md"
V2 = "github.com/google/automl, efficientnetv2/README.md"
TABLE_3 = "Tan and Le, EfficientNet, 2019, table 3"
V3_PAPER = "Howard et al., Searching for MobileNetV3, 2019, table 3"
V4_PAPER = "Qin et al., MobileNetV4, 2024"
# zoo name -> (percent, source)
KNOWN: Mapping[str, tuple[float, str]] = {
    "mobilenet_v1": (70.6, TABLE_3),
    "mobilenet_v2": (72.0, TABLE_3),
    "mobilenetv3_large_100": (75.2, V3_PAPER),
    "mobilenetv3_small_100": (67.4, V3_PAPER),
    "mobilenetv4_conv_small": (73.8, V4_PAPER),
    "mobilenetv4_conv_medium": (79.9, V4_PAPER),
    "mobilenetv4_conv_large": (82.9, V4_PAPER),
    "resnet50": (76.0, TABLE_3),
    "mnasnet_a1": (75.2, "Tan et al., MnasNet, 2019, table 1"),
    "efficientnet_b0": (77.1, EFFICIENTNET),
    "efficientnet_b1": (79.1, EFFICIENTNET),
    "efficientnet_b2": (80.1, EFFICIENTNET),
    "efficientnet_b3": (81.6, EFFICIENTNET),
    "efficientnet_b4": (82.9, EFFICIENTNET),
    "efficientnet_b5": (83.6, EFFICIENTNET),
    "efficientnet_b6": (84.0, EFFICIENTNET),
    "efficientnet_b7": (84.3, EFFICIENTNET),
    "efficientnet_lite0": (75.1, LITE),
    "efficientnet_lite1": (76.7, LITE),
    "efficientnet_lite2": (77.6, LITE),
    "efficientnet_lite3": (79.8, LITE),
    "efficientnet_lite4": (81.5, LITE),
    "efficientnetv2_b0": (78.7, V2),
    "efficientnetv2_b1": (79.8, V2),
    "efficientnetv2_b2": (80.5, V2),
    "efficientnetv2_b3": (82.1, V2),
    "efficientnetv2_s": (83.9, V2),
    "efficientnetv2_m": (85.2, V2),
    "efficientnetv2_l": (85.7, V2),
}


class KnownTop1(NamedTuple):
    """ImageNet top-1 in percent, and its source in words.

    searched  whether it was predicted by the search that found the network, rather than measured
              in published trainings.
    """

    percent: float
    source: str
    searched: bool = False


def _percent_of(value: float, name: str, base: str) -> float:
    try:
        return checked_top1(value)
    except ValueError:
        raise ValueError(
            f"--base-top1: {name} {quoted(value, 40)} in {shortened(base)} is not a percentage "
            f"between 0 and {CEILING:g}; give the ImageNet top-1, e.g. --base-top1 77.1"
        ) from None


def known_top1(base: str, given: float | None = None) -> KnownTop1:
    """Return the top-1 of a base: given, or else published, or else predicted by its search.

    The prediction of the ImageNet surrogate is read from a best.json. Raises ValueError if the
    top-1 is unknown, or if a best.json contains an invalid percentage.
    """
    if given is not None:
        return KnownTop1(given, "given")
    path = Path(base)
    if not path.is_file():
        network = zoo(base) if base in NETWORKS else None  # None: timm:NAME, package:NAME
        same = [name for name in KNOWN if base in (name, f"tf_{name}") or zoo(name) == network]
        if same:
            return KnownTop1(*KNOWN[same[0]])
    elif path.suffix != ".safetensors":  # weights hold no prediction
        fields = parse_json(path.read_bytes())
        # other evaluators measure on the user's own images
        if isinstance(fields, dict) and fields.get("evaluator", "surrogate") != "surrogate":
            fields = {}
        for name, source in (
            ("accuracy_long", "predicted under the longer schedule"),
            ("accuracy", "from its search"),
        ):
            value = fields.get(name) if isinstance(fields, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                return KnownTop1(_percent_of(value, name, base), source, searched=True)
    raise ValueError(
        f"--base-top1: the ImageNet top-1 of {shortened(base)} is not known; give it in percent, "
        "e.g. --base-top1 77.1"
    )
