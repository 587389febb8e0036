"""Formats of exported networks: functions that write them and read them in their target tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from train.export.block_strings import timm_description, timm_network, timm_program
from train.export.description import describe_file, describe_weights
from train.export.hub import read_hub, write_card, write_hub
from train.export.measure import Measured
from train.export.reduced import Reduced, reduced
from train.export.request import Request
from train.export.runtimes import Function, onnx_function, openvino_function
from vbs.folder import write_json


@dataclass(frozen=True)
class Format:
    """A format of exports.

    name     name of the file or folder beside the weights.
    write    function (path, request) that writes the export, and further files if needed, and
             returns how it was quantised.
    read     function (path, request) that returns the export, loaded by the target tool, as a
             function.
    runtime  name of the runtime that computes this function.
    program  for a folder, name of the program in it that classifies photographs; "" for a file,
             whose program comes from `train.export.programs`.
    beside   suffixes of further files that belong to a file.
    needs    optional packages, all in the extra of the format's name.
    finish   function (path, request, measured) that writes the parts that need the measurements.
    """

    name: str
    write: Callable[[Path, Request], Reduced | None]
    read: Callable[[Path, Request], Function]
    runtime: str = "torch"
    program: str = ""
    beside: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    finish: Callable[[Path, Request, Measured], None] | None = None


def _save(path: Path, network: Network) -> None:
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    # save_file would create a file that only its owner can read
    path.write_bytes(save(tensors, {"format": "pt"}))


def _write_timm(folder: Path, request: Request) -> None:
    folder.mkdir()
    _save(folder / "model.safetensors", request.network)
    write_json(folder / "timm.json", timm_notes(request))
    (folder / "load.py").write_text(timm_program())


def _write_hub(folder: Path, request: Request) -> None:
    _write_timm(folder, request)
    write_hub(folder, request)


def timm_notes(request: Request) -> dict[str, object]:
    """Return the content of timm.json."""
    weights = request.weights
    description = timm_description(
        weights.architecture,
        classes=weights.classes,
        mean=weights.mean,
        std=weights.std,
        resolution=weights.resolution,
        crop_share=weights.crop_share,
    )
    return {**description, **describe_weights(weights)}


def _read_timm(folder: Path, request: Request) -> Function:
    network = timm_network(json.loads((folder / "timm.json").read_text()))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def _write_safetensors(path: Path, request: Request) -> None:
    _save(path, request.network)
    write_json(path.with_suffix(".json"), describe_weights(request.weights))


def _read_safetensors(path: Path, request: Request) -> Function:
    description = json.loads(path.with_suffix(".json").read_text())
    network = build(Architecture.from_dict(description["architecture"]))
    network.load_state_dict(load_file(path))
    return network.eval()


def _write_onnx(path: Path, request: Request) -> Reduced:
    import onnx

    from train.export.onnx_graph import describe, with_preprocessing, with_softmax

    config, made = request.config, reduced(request)
    model = onnx.load(made.path)
    if config.softmax:
        model = with_softmax(model)
    if config.with_preprocessing:
        model = with_preprocessing(model, request.preprocessing)
    describe(model, _notes(request))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return made


def _read_onnx(path: Path, request: Request) -> Function:
    return onnx_function(path)


def _write_openvino(path: Path, request: Request) -> Reduced:
    import onnx

    from train.export.onnx_graph import with_softmax
    from train.export.openvino_file import write_openvino

    # for fp16, OpenVINO rounds the weights when it saves them
    half = request.config.precision == "fp16"
    made = Reduced(request.float_onnx) if half else reduced(request)
    source = made.path
    if request.config.softmax:
        source = request.scratch / "softmax.onnx"
        onnx.save(with_softmax(onnx.load(made.path)), source)
    write_openvino(path, source, half=half, about=_notes(request))
    return made


def _read_openvino(path: Path, request: Request) -> Function:
    return openvino_function(path)


def _notes(request: Request) -> dict[str, object]:
    config = request.config
    return describe_file(
        request.weights,
        precision=config.precision,
        pixels=config.with_preprocessing,
        probabilities=config.softmax,
    )


def _write_tflite(path: Path, request: Request) -> None:
    from train.export.tflite_file import write_tflite

    write_tflite(path, request.network, request.image_shape(1))


def _read_tflite(path: Path, request: Request) -> Function:
    from train.export.tflite_file import tflite_function

    return tflite_function(path)


def _write_torchscript(path: Path, request: Request) -> None:
    # traced, because script does not support super(), and padding needs no branches
    traced = torch.jit.trace(request.network, torch.zeros(request.image_shape(2)))
    notes = json.dumps(describe_weights(request.weights))
    torch.jit.save(traced, str(path), {"description.json": notes})


def _read_torchscript(path: Path, request: Request) -> Function:
    return torch.jit.load(str(path), map_location="cpu")


FORMATS = {
    "timm": Format("timm", _write_timm, _read_timm, program="load.py"),
    "hub": Format("hub", _write_hub, read_hub, program="load.py", finish=write_card),
    "onnx": Format(
        "network.onnx",
        _write_onnx,
        _read_onnx,
        runtime="onnxruntime",
        needs=("onnx", "onnxscript", "onnxruntime"),
    ),
    "openvino": Format(
        "network.xml",
        _write_openvino,
        _read_openvino,
        runtime="openvino",
        beside=(".bin",),
        needs=("onnx", "onnxscript", "openvino"),
    ),
    "tflite": Format(
        "network.tflite",
        _write_tflite,
        _read_tflite,
        runtime="litert",
        needs=("litert_torch", "ai_edge_litert"),
    ),
    "safetensors": Format(
        "network.safetensors", _write_safetensors, _read_safetensors, beside=(".json",)
    ),
    "torchscript": Format("network.pt", _write_torchscript, _read_torchscript),
}
