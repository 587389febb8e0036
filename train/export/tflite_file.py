"""LiteRT files (.tflite) of networks, written by litert-torch and read by ai-edge-litert."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from train.export.runtimes import Function


def write_tflite(path: Path, network: nn.Module, shape: tuple[int, int, int, int]) -> None:
    """Write a network in evaluation mode, from float32 images of a shape to logits."""
    import litert_torch

    litert_torch.convert(network, (torch.zeros(shape),)).export(str(path))


def tflite_function(path: Path) -> Function:
    """Return a LiteRT file of one image as a function of batches, on the CPU."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=torch.get_num_threads())
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def function(images: Tensor) -> Tensor:
        outputs = []
        for image in images.split(1):
            interpreter.set_tensor(given["index"], image.numpy())
            interpreter.invoke()
            outputs.append(torch.from_numpy(interpreter.get_tensor(output["index"])))
        return torch.cat(outputs)

    return function
