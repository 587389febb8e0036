"""Networks to predict with, in torch or onnxruntime."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.distributed import pick_device
from train.preprocessing import Preprocessing
from train.trained_network import load_network
from vbs.failures import is_out_of_memory
from vbs.json_text import parse_json
from vbs.processes import available_cpus
from vbs.text import shortened

Function = Callable[[Tensor], Tensor]
METADATA = ("classes", "preprocessing")  # keys of an ONNX file's metadata, JSON values


@dataclass(frozen=True)
class Predictor:
    """A network on its device.

    preprocessing  preprocessing of its images.
    classes        names in the order of the probabilities.
    probabilities  maps images float32 [n, channels, side, side] on the CPU to float32 [n, classes].
    device         device for which torch's memory is pinned.
    runtime        description of the runtime and device.
    """

    preprocessing: Preprocessing
    classes: tuple[str, ...]
    probabilities: Function
    device: torch.device
    runtime: str


def load_predictor(source: str, device: str = "auto") -> Predictor:
    """Load the network of a run or an export.

    source  an ONNX file of `train.export`, or a source of `train.trained_network.load_network`.
    device  "auto", "cpu", "cuda" or "cuda:N"; ONNX files use a GPU only if onnxruntime was built
            for it.

    Raises ValueError (one line) if the network cannot be used.
    """
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        return _onnx(path, device)
    where = pick_device(device)
    trained = load_network(path)
    module = trained.module.to(where, memory_format=torch.channels_last)

    @torch.inference_mode()
    def probabilities(images: Tensor) -> Tensor:
        return module(images.to(where, non_blocking=True)).float().softmax(1).cpu()

    return Predictor(
        trained.preprocessing,
        trained.classes,
        _halving(probabilities),
        where,
        f"torch on {_called(where)}",
    )


def _onnx(path: Path, device: str) -> Predictor:
    if not path.is_file():
        raise ValueError(f"network: {shortened(path)} does not exist")
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError(
            "network: onnxruntime is not installed; pip install 'vision-baseline-search[onnx]'"
        )
    import onnxruntime

    where = pick_device(device) if device not in ("auto", "cuda") else torch.device("cpu")
    usable = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" or (device == "auto" and usable):
        where = torch.device("cuda", 0)
    if where.type == "cuda" and not usable:
        raise ValueError(
            f"--device: {device}: this onnxruntime computes on the CPU only; use cpu, or pip "
            "install onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    # a waiting thread that spins takes the processor from the processes that prepare images
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors, which are also raised
    providers: list[Any] = ["CPUExecutionProvider"]
    if where.type == "cuda":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": where.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base class
        why = shortened(" ".join(str(error).split()), 120)
        raise ValueError(f"network: {shortened(path)} cannot be read as ONNX ({why})") from None
    how, classes = _described(path, session)
    return Predictor(
        how,
        classes,
        _halving(_session_function(path, session, how, len(classes))),
        torch.device("cpu"),
        f"onnxruntime on {_called(where)}",
    )


def _described(path: Path, session: Any) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return preprocessing and classes of an ONNX file; raise ValueError if it is no export."""
    metadata = session.get_modelmeta().custom_metadata_map
    lacking = [name for name in METADATA if name not in metadata]
    if lacking:
        raise ValueError(
            f"network: {shortened(path)} is an ONNX file of another tool: its metadata lack "
            f"{' and '.join(lacking)}; give one that python -m train.export --to onnx wrote"
        )
    try:
        content = {name: parse_json(metadata[name]) for name in METADATA}
        classes = content["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("classes: they are not a list of names")
        if not classes:
            raise ValueError("classes: there are none")
        taken = session.get_inputs()[0].shape[1:2]  # the metadata of a grey network may lack it
        how = Preprocessing.from_dict(content["preprocessing"], channels=1 if taken == [1] else 3)
        return how, tuple(classes)
    except ValueError as error:
        raise ValueError(
            f"network: the metadata of {shortened(path)} are damaged ({shortened(error)})"
        ) from None


def _session_function(path: Path, session: Any, how: Preprocessing, classes: int) -> Function:
    """Return the probabilities of a session with one input of images and one output of logits."""
    wanted = [how.channels, how.resolution, how.resolution]
    inputs, outputs = session.get_inputs(), session.get_outputs()
    usual = len(inputs) == len(outputs) == 1 and inputs[0].type == "tensor(float)"
    usual = usual and outputs[0].type == "tensor(float)" and inputs[0].shape[1:] == wanted
    if not usual or outputs[0].shape[1:] != [classes]:
        shown = ", ".join(f"{each.name} {each.type} {each.shape}" for each in (*inputs, *outputs))
        raise ValueError(
            f"network: {shortened(path)} has {shortened(shown)}; only float images [batch, "
            f"{', '.join(map(str, wanted))}] and outputs [batch, {classes}] are supported (a file "
            "with the preprocessing in it comes with a program that uses it)"
        )
    name, output = inputs[0].name, outputs[0].name
    notes = session.get_modelmeta().custom_metadata_map
    softmax = notes.get("output") != json.dumps("probabilities")  # else the file contains softmax

    def probabilities(images: Tensor) -> Tensor:
        try:
            (answer,) = session.run([output], {name: images.contiguous().numpy()})
        except Exception as error:  # onnxruntime's exceptions share no base class
            if is_out_of_memory(error):
                raise
            why = shortened(" ".join(str(error).split()), 120)
            raise ValueError(f"network: {shortened(path)} cannot be computed ({why})") from None
        outputs = torch.from_numpy(np.asarray(answer))
        if outputs.shape != (len(images), classes):  # the file may state another shape
            raise ValueError(
                f"network: {shortened(path)} gives outputs {list(outputs.shape)} for "
                f"{len(images)} images; {[len(images), classes]} are expected"
            )
        return outputs.softmax(1) if softmax else outputs

    return probabilities


def _halving(function: Function) -> Function:
    """Wrap a function so that it computes halves of its images if memory runs out."""

    def within_memory(images: Tensor) -> Tensor:
        try:
            return function(images)
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error) or len(images) == 1:
                raise
        return torch.cat([within_memory(half) for half in images.tensor_split(2)])

    return within_memory


def _called(device: torch.device) -> str:
    return "CPU" if device.type == "cpu" else str(device)
