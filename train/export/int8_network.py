"""A network of this process in int8, without a file that is kept: for searches."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from train.export.onnx_file import write_onnx
from train.export.runtimes import Function, onnx_function

METHOD = "minmax"  # of the calibration: one for all networks that are compared
NEEDS = ("onnx", "onnxscript", "onnxruntime")  # the packages of the extra onnx


def int8_function(network: nn.Module, batches: Sequence[Tensor]) -> Function:
    """A network in int8 as onnxruntime computes it, images [n, c, side, side] to logits.

    network  in evaluation mode, on the CPU.
    batches  training images as the network gets them, which give the ranges of activations.

    Takes about ten seconds. Raises ValueError where torch is too old to write ONNX.
    """
    from train.export.quantise import calibrated  # needs the extra onnx, and searches may not

    channels, side = batches[0].shape[1], batches[0].shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float32.onnx")
        write_onnx(path, network, (2, channels, side, side), any_batch=True)
        model = calibrated(path, lambda: batches, (METHOD,)).quantised(METHOD)
    return onnx_function(model.SerializeToString())
