"""Values published for each model: dropout, and the last stage of progressive learning.

Sources: tensorflow/tpu's models/official/efficientnet; google/automl's efficientnetv2/hparams.py
and Tan & Le 2021 (EfficientNetV2), section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple


class V2Ends(NamedTuple):
    """The last stage of progressive learning, in the paper and in Google's code."""

    resolution: int
    eval_resolution: int
    magnitude: float
    mixup: float
    dropout: float
    google_magnitude: float
    google_dropout: float


V2_ENDS = {
    "efficientnetv2_b0": V2Ends(192, 224, 15, 0.0, 0.3, 10, 0.2),
    "efficientnetv2_b1": V2Ends(192, 240, 15, 0.0, 0.3, 10, 0.2),
    "efficientnetv2_b2": V2Ends(208, 260, 15, 0.0, 0.3, 10, 0.2),
    "efficientnetv2_b3": V2Ends(240, 300, 15, 0.0, 0.3, 10, 0.2),
    "efficientnetv2_s": V2Ends(300, 384, 15, 0.0, 0.3, 10, 0.2),
    "efficientnetv2_m": V2Ends(380, 480, 20, 0.2, 0.4, 15, 0.3),
    "efficientnetv2_l": V2Ends(380, 480, 25, 0.5, 0.5, 20, 0.4),
    "efficientnetv2_xl": V2Ends(380, 512, 25, 0.5, 0.5, 20, 0.4),
}

DROPOUT = {
    "efficientnet_b0": 0.2,
    "efficientnet_b1": 0.2,
    "efficientnet_b2": 0.3,
    "efficientnet_b3": 0.3,
    "efficientnet_b4": 0.4,
    "efficientnet_b5": 0.4,
    "efficientnet_b6": 0.5,
    "efficientnet_b7": 0.5,
    "efficientnet_b8": 0.5,
    "efficientnet_l2": 0.5,
}


def published(network: str) -> str:
    """Return a zoo name without "tf_"; timm's "tf_" networks differ only in their padding."""
    return network.removeprefix("tf_")
