"""The ONNX file of a network in the requested precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train.export.request import Request

if TYPE_CHECKING:
    from train.export.int8 import Quantised


@dataclass(frozen=True)
class Reduced:
    """An ONNX file from "images" to "logits", and how it was quantised (None in float)."""

    path: Path
    quantised: Quantised | None = None


def reduced(request: Request) -> Reduced:
    """Return the network in the precision of the request, in a temporary file."""
    precision = request.config.precision
    if precision == "float32":
        return Reduced(request.float_onnx)
    if precision == "fp16":
        return Reduced(request.half_onnx)
    import onnx

    from train.export.int8 import quantise

    found = quantise(request)
    path = request.scratch / "int8.onnx"
    onnx.save(found.model, path)
    return Reduced(path, found)
