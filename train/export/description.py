"""Descriptions inside exports, as plain data: preprocessing of images, and meaning of outputs."""

from __future__ import annotations

import json
from typing import Any

from train.checkpoint import Weights
from train.preprocessing import Preprocessing


def describe_weights(weights: Weights) -> dict[str, Any]:
    """Return the architecture, names of classes and preprocessing of trained weights."""
    return {
        "architecture": json.loads(weights.architecture.to_json()),
        "classes": list(weights.classes),
        "preprocessing": Preprocessing.of_weights(weights).to_dict(),
    }


def describe_file(
    weights: Weights, *, precision: str, pixels: bool, probabilities: bool
) -> dict[str, Any]:
    """Return the description of an exported file.

    precision      of its weights and activations.
    pixels         whether it takes decoded uint8 images instead of prepared ones.
    probabilities  whether it returns probabilities instead of logits.
    """
    return {
        **describe_weights(weights),
        "precision": precision,
        "input": "uint8" if pixels else "float",
        "output": "probabilities" if probabilities else "logits",
    }
