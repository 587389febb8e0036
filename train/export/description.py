"""What an export says of itself, as plain data: how images are prepared, and what comes out."""

from __future__ import annotations

import json
from typing import Any

from train.checkpoint import Weights
from train.preprocessing import Preprocessing


def describe_weights(weights: Weights) -> dict[str, Any]:
    """The architecture, the names of the classes and the preprocessing of trained weights."""
    return {
        "architecture": json.loads(weights.architecture.to_json()),
        "classes": list(weights.classes),
        "preprocessing": Preprocessing.of_weights(weights).to_dict(),
    }


def describe_file(
    weights: Weights, *, precision: str, pixels: bool, probabilities: bool
) -> dict[str, Any]:
    """The same, with the numbers that a file computes in, takes and gives.

    pixels         whether it takes decoded uint8 images, not prepared ones.
    probabilities  whether it gives these, not logits.
    """
    return {
        **describe_weights(weights),
        "precision": precision,
        "input": "uint8" if pixels else "float",
        "output": "probabilities" if probabilities else "logits",
    }
