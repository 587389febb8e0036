"""Formats of exported networks: how each is written, and read back by the tool that it is for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from train.checkpoint import Weights
from train.export.block_strings import timm_description, timm_network, timm_program
from train.export.onnx_file import write_onnx
from vbs.folder import write_json

Function = Callable[[Tensor], Tensor]  # images [n, c, side, side] to logits [n, classes]


@dataclass(frozen=True)
class Format:
    """One kind of export.

    name   of the file or folder beside the weights.
    write  (path, weights, network in evaluation mode): makes it, perhaps with a JSON beside it.
    read   the function of images that the other tool makes of it.
    use    a Python program for the file {path}, a string literal, and images of {shape}.
    needs  packages that are not always installed.
    """

    name: str
    write: Callable[[Path, Weights, Network], None]
    read: Callable[[Path], Function]
    use: str
    needs: tuple[str, ...] = ()


def _describe(weights: Weights) -> dict[str, Any]:
    """What is needed to use the tensors, as plain data."""
    return {
        "architecture": json.loads(weights.architecture.to_json()),
        "classes": list(weights.classes),
        "preprocessing": {
            "mean": list(weights.mean),
            "std": list(weights.std),
            "resolution": weights.resolution,
            "crop_share": weights.crop_share,
        },
    }


def _save(path: Path, network: Network) -> None:
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    path.write_bytes(save(tensors, {"format": "pt"}))  # save_file lets only its owner read it


def _write_timm(folder: Path, weights: Weights, network: Network) -> None:
    description = timm_description(
        weights.architecture,
        classes=weights.classes,
        mean=weights.mean,
        std=weights.std,
        resolution=weights.resolution,
        crop_share=weights.crop_share,
    )
    folder.mkdir()
    _save(folder / "model.safetensors", network)
    write_json(folder / "timm.json", {**description, **_describe(weights)})
    (folder / "load.py").write_text(timm_program())


def _read_timm(folder: Path) -> Function:
    network = timm_network(json.loads((folder / "timm.json").read_text()))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def _write_safetensors(path: Path, weights: Weights, network: Network) -> None:
    _save(path, network)
    write_json(path.with_suffix(".json"), _describe(weights))


def _read_safetensors(path: Path) -> Function:
    description = json.loads(path.with_suffix(".json").read_text())
    network = build(Architecture.from_dict(description["architecture"]))
    network.load_state_dict(load_file(path))
    return network.eval()


def _write_onnx(path: Path, weights: Weights, network: Network) -> None:
    write_onnx(path, network, image_shape(weights, 2), any_batch=True, about=_describe(weights))


def _read_onnx(path: Path) -> Function:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def logits(images: Tensor) -> Tensor:
        (answer,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(answer)

    return logits


def _write_torchscript(path: Path, weights: Weights, network: Network) -> None:
    # traced: padding follows the images' size without branches, and script knows no super()
    traced = torch.jit.trace(network, torch.zeros(image_shape(weights, 2)))
    torch.jit.save(traced, str(path), {"description.json": json.dumps(_describe(weights))})


def _read_torchscript(path: Path) -> Function:
    return torch.jit.load(str(path), map_location="cpu")


def image_shape(weights: Weights, batch: int) -> tuple[int, int, int, int]:
    return batch, weights.architecture.in_channels, weights.resolution, weights.resolution


FORMATS = {
    "timm": Format("timm", _write_timm, _read_timm, ""),
    "onnx": Format(
        "network.onnx",
        _write_onnx,
        _read_onnx,
        "import numpy, onnxruntime; "
        "session = onnxruntime.InferenceSession({path}); "
        'print(session.run(["logits"], {{"images": numpy.zeros({shape}, "float32")}}))',
        ("onnx", "onnxscript", "onnxruntime"),
    ),
    "safetensors": Format(
        "network.safetensors",
        _write_safetensors,
        _read_safetensors,
        "from safetensors.torch import load_file; print(*load_file({path}))",
    ),
    "torchscript": Format(
        "network.pt",
        _write_torchscript,
        _read_torchscript,
        "import torch; print(torch.jit.load({path})(torch.zeros({shape})))",
    ),
}
