"""Static quantisation of an ONNX file to 8-bit integers with onnxruntime.

Weights are signed and symmetric, with a scale for each output channel; activations are unsigned,
with a scale and a zero point for each tensor. Their ranges are determined on images: the smallest
and the largest value ("minmax"), the range whose histogram loses the least entropy ("entropy"), or
the range of 99.999% of the values ("percentile"). The file has QuantizeLinear and DequantizeLinear
nodes (QDQ), which onnxruntime and OpenVINO turn into integer kernels.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnxruntime import quantization
from onnxruntime.quantization import calibrate
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from torch import Tensor

METHODS = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "entropy": quantization.CalibrationMethod.Entropy,
    "percentile": quantization.CalibrationMethod.Percentile,
}
OPERATORS = (
    "Add",
    "Clip",
    "Conv",
    "Gemm",
    "GlobalAveragePool",
    "HardSwish",
    "MaxPool",
    "AveragePool",
    "Mul",
    "Relu",
    "Sigmoid",
)


@dataclass(frozen=True)
class Quantiser:
    """A network in float32 with the ranges of its activations, by calibration method.

    model   the ONNX model with the shapes of its tensors.
    ranges  method -> result of onnxruntime's calibrator.
    """

    model: onnx.ModelProto
    ranges: dict[str, Any]

    def quantised(self, method: str, in_float: Collection[str] = ()) -> onnx.ModelProto:
        """Return the network in int8, except the layers `in_float` (see `layer_matches`)."""
        left = [
            node.name
            for node in self.model.graph.node
            if any(layer_matches(node.name, name) for name in in_float)
        ]
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        quantiser = QDQQuantizer(
            copy,
            True,  # a scale for each channel of the weights
            False,  # all 8 bits; docs/deploy.md describes processors without VNNI
            quantization.QuantType.QInt8,
            quantization.QuantType.QUInt8,
            self.ranges[method],
            [],
            left,
            list(OPERATORS),
            {},
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        return quantiser.model.model


def calibrated(
    path: Path, images: Callable[[], Sequence[Tensor]], methods: Sequence[str] = tuple(METHODS)
) -> Quantiser:
    """Calibrate the ranges of all tensors of an ONNX file, by each method.

    images  returns batches [n, c, side, side] of training images; called for each method.
    """
    ranges = {}
    for method in methods:
        with tempfile.TemporaryDirectory() as folder:
            calibrator = calibrate.create_calibrator(
                path,
                list(OPERATORS),
                augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=METHODS[method],
            )
            for batch in images():
                # batch by batch, because the calibrator keeps all tensors of what it reads
                with contextlib.redirect_stdout(io.StringIO()):  # hides its progress
                    calibrator.collect_data(_Reader(batch))
            with contextlib.redirect_stdout(io.StringIO()):
                ranges[method] = calibrator.compute_data()
    return Quantiser(load_model_with_shape_infer(path), ranges)


class _Reader(calibrate.CalibrationDataReader):
    """A reader of one batch of images."""

    def __init__(self, batch: Tensor) -> None:
        self._left = [{"images": batch.numpy()}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def layers_of(model: onnx.ModelProto) -> list[str]:
    """Return the layers that can be left in float one at a time, from the first to the last."""
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in OPERATORS:
            found.setdefault(layer_of(node.name))
    return list(found)


def layer_of(node: str) -> str:
    """Return the layer of a node MODULE/OPERATOR_NUMBER: a block, stem, head or classifier."""
    module = node.partition("/")[0]
    first = module.split(".")[0]
    if first == "blocks":
        return ".".join(module.split(".")[:3])
    if first in ("conv_stem", "bn1", "act", "pool"):
        return "stem"
    return "classifier" if first == "classifier" else "head"


def layer_matches(node: str, name: str) -> bool:
    """Return whether a node belongs to a layer.

    name  one of `layers_of`, a module, a stage ("blocks.3"), or "se" for every
          squeeze-and-excitation.
    """
    module = node.partition("/")[0]
    if name == "se":
        return "se" in module.split(".")
    return layer_of(node) == name or module == name or module.startswith(f"{name}.")
