"""Runtimes of deployed networks: conversion of a module to a function in each runtime.

    run = MAKERS["onnxruntime"](module, images, threads)
    outputs = run(inputs_of("onnxruntime", images))

A module is compiled for the shape of its example. Outputs of a function are valid inputs of other
functions of the same runtime: tensors in torch, arrays elsewhere.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.export.onnx_file import write_onnx

Function = Callable[[Any], Any]


def _torch(module: nn.Module, example: Tensor, threads: int) -> Function:
    return module


def _torch_compile(module: nn.Module, example: Tensor, threads: int) -> Function:
    return torch.compile(module, dynamic=False)


def _onnxruntime(module: nn.Module, example: Tensor, threads: int) -> Function:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(
            str(_onnx_file(module, example, Path(folder))), options, ["CPUExecutionProvider"]
        )
    return lambda images: session.run(None, {"images": images})[0]


def _openvino(module: nn.Module, example: Tensor, threads: int) -> Function:
    import openvino

    # float32 as in the other runtimes; the default on processors with bfloat16 is bfloat16
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    with tempfile.TemporaryDirectory() as folder:
        model = openvino.Core().compile_model(
            str(_onnx_file(module, example, Path(folder))), "CPU", settings
        )
    request = model.create_infer_request()

    def run(images: Any) -> Any:
        request.infer([images], share_inputs=True)
        return request.get_output_tensor(0).data

    return run


def _onnx_file(module: nn.Module, example: Tensor, folder: Path) -> Path:
    path = folder / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter uses deprecated functions
        write_onnx(path, module, tuple(example.shape), any_batch=False)
    return path


# name -> function of (module in evaluation mode, example input, threads) that returns a function
MAKERS: dict[str, Callable[[nn.Module, Tensor, int], Function]] = {
    "torch": _torch,
    "torch-compile": _torch_compile,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def inputs_of(runtime: str, images: Tensor) -> Any:
    """Return images in the form that functions of the runtime accept."""
    return images if runtime.startswith("torch") else images.contiguous().numpy()
