"""Conversion of a network in memory to int8, without files; used by searches."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from train.export.onnx_file import write_onnx
from train.export.runtimes import Function, onnx_function

METHOD = "minmax"  # calibration method, the same for all networks that are compared
NEEDS = ("onnx", "onnxscript", "onnxruntime")  # the packages of the extra onnx


def int8_function(network: nn.Module, batches: Sequence[Tensor]) -> Function:
    """Return a network in int8 as a function in onnxruntime.

    It maps images [n, c, side, side] to logits. Making it takes about ten seconds.

    network  in evaluation mode, on the CPU.
    batches  prepared training images that determine the ranges of activations.

    Raises ValueError if torch is too old to write ONNX.
    """
    from train.export.quantise import calibrated  # needs the extra onnx, and searches may not

    channels, side = batches[0].shape[1], batches[0].shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float32.onnx")
        write_onnx(path, network, (2, channels, side, side), any_batch=True)
        model = calibrated(path, lambda: batches, (METHOD,)).quantised(METHOD)
    return onnx_function(model.SerializeToString())
