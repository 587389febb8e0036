"""Exported files as functions of tensors, in the runtimes that they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

# images [n, c, side, side], or decoded ones uint8 [1, height, width, c], to outputs [n, classes]
Function = Callable[[Tensor], Tensor]


def onnx_function(model: Path | bytes) -> Function:
    """An ONNX file, or its content, in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; warnings are about its own optimisations
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, ["CPUExecutionProvider"]
    )
    (given,), (output,) = session.get_inputs(), session.get_outputs()

    def function(images: Tensor) -> Tensor:
        (answer,) = session.run([output.name], {given.name: images.numpy()})
        return torch.from_numpy(answer)

    return function


def openvino_function(path: Path) -> Function:
    """An OpenVINO IR, or an ONNX file, in OpenVINO on the CPU.

    What is not quantised is computed in float32: by default OpenVINO uses bfloat16 where the
    processor has it, which loses more than any file does.
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
