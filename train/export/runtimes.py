"""Exported files as functions of tensors, computed in their runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

# maps images [n, c, side, side], or decoded uint8 [1, height, width, c], to outputs [n, classes]
Function = Callable[[Tensor], Tensor]


def onnx_function(model: Path | bytes) -> Function:
    """Return an ONNX file, or its content, as a function in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; its warnings are about internal optimisations
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, ["CPUExecutionProvider"]
    )
    (given,), (output,) = session.get_inputs(), session.get_outputs()

    def function(images: Tensor) -> Tensor:
        (answer,) = session.run([output.name], {given.name: images.numpy()})
        return torch.from_numpy(answer)

    return function


def openvino_function(path: Path) -> Function:
    """Return an OpenVINO IR, or an ONNX file, as a function in OpenVINO on the CPU.

    Floating-point parts are computed in float32. By default OpenVINO uses bfloat16 if the processor
    supports it, which loses more accuracy than any export.
    """
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    request = model.create_infer_request()

    def function(images: Tensor) -> Tensor:
        request.infer([images.numpy()])
        return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return function
