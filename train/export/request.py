"""The request for an export, which all functions that write an export take."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from search_spaces.network import Network
from train.checkpoint import Weights
from train.export.config import ExportConfig
from train.export.images import Images
from train.export.onnx_file import write_onnx
from train.preprocessing import Preprocessing


@dataclass(frozen=True)
class Request:
    """A network and the requested export.

    network  in evaluation mode, in float32.
    source   file of the weights.
    images   images to calibrate, choose and measure on; None if there are none.
    why      reason why there are no images.
    scratch  folder of temporary files.
    """

    config: ExportConfig
    weights: Weights
    network: Network
    source: Path
    images: Images | None
    why: str
    scratch: Path

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the network's images."""
        return Preprocessing.of_weights(self.weights)

    def image_shape(self, batch: int) -> tuple[int, int, int, int]:
        """Return the shape of a batch of prepared images."""
        how = self.preprocessing
        return batch, how.channels, how.resolution, how.resolution

    @cached_property
    def float_onnx(self) -> Path:
        """An ONNX file of the network in float32, written on first use."""
        path = self.scratch / "float32.onnx"
        write_onnx(path, self.network, self.image_shape(2), any_batch=True)
        return path

    @cached_property
    def half_onnx(self) -> Path:
        """An ONNX file with weights and activations in float16, and float32 images and logits."""
        path = self.scratch / "fp16.onnx"
        write_onnx(path, _Half(self.network), self.image_shape(2), any_batch=True)
        return path


class _Half(nn.Module):
    """A network in float16 that takes and returns float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.half()).to(torch.float32)
