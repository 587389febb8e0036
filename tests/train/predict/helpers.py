"""Test helper: predictions, and the same by an evaluation of the training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.network import build
from train import PredictConfig, predict_images
from train.checkpoint import read_weights
from train.data.stores import FileStore
from train.data.streaming import StreamSplit
from train.evaluate import predict as evaluated
from train.export import formats
from train.preprocessing import Preprocessing

ONNX = all(importlib.util.find_spec(name) for name in formats.FORMATS["onnx"].needs)
needs_onnx = pytest.mark.skipif(not ONNX, reason="onnx, onnxscript or onnxruntime is missing")


def predicted(network: Path, *images: object, **options: object):
    config = PredictConfig(
        network=str(network), images=tuple(map(str, images)), device="cpu", **options
    )
    return predict_images(config)


def whole(result) -> np.ndarray:
    """Return probabilities [n, classes] in the order of classes."""
    table = np.zeros_like(result.probabilities)
    np.put_along_axis(table, result.labels, result.probabilities, 1)
    return table


def as_evaluated(run: Path, paths: list[Path]) -> np.ndarray:
    """Return probabilities [n, classes] as an evaluation of the training computes them."""
    weights = read_weights(run / "best.safetensors")
    network = build(weights.architecture)
    network.load_state_dict(dict(weights.tensors))
    split = StreamSplit(
        FileStore(paths), torch.zeros(len(paths), dtype=torch.int64), np.arange(len(paths))
    )
    how = Preprocessing.of_weights(weights).preparation
    return evaluated(network, split, how, device=torch.device("cpu"))[0].numpy()
