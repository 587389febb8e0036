"""Weights and training states on disk, as safetensors with a JSON header.

There are two kinds of files. *Weights* (`best.safetensors`, exports) hold one network's tensors
with its architecture, classes and preprocessing. A *state* (`last.safetensors`) holds everything to
resume a run bit for bit: weights, their moving average, optimizer state and counters. Files are
written atomically, and none contains a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import build
from train.recipe_fields import RANGES
from vbs.folder import write_whole
from vbs.json_text import parse_json
from vbs.text import quoted, shortened

WEIGHTS = "vision-baseline-search weights 1"
# allowed values in the header of weights; recipes never write others
SIDE, CROPS = 4096, RANGES["eval_crop"]
MEANS, STDS = RANGES["mean"], RANGES["std"]
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
STATE = "vision-baseline-search training state 1"


class BrokenCheckpoint(ValueError):
    """Raised if a training cannot be resumed: its state is damaged or from another training."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a network by timm's names, and the settings needed to use them.

    classes     names of the classes in the order of the logits.
    mean, std   of the input channels, for images in [0, 1].
    resolution  input size of the evaluation in pixels.
    crop_share  side of the centre crop, as a share of the resized image's shorter side.
    about       further plain data: recipe, data set, accuracies.
    """

    tensors: Mapping[str, Tensor]
    architecture: Architecture
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: int
    crop_share: float
    about: Mapping[str, Any]


def write_weights(path: Path, weights: Weights) -> None:
    """Write a safetensors file that `read_weights`, timm and other tools can read."""
    header = {
        "architecture": json.loads(weights.architecture.to_json()),
        "classes": list(weights.classes),
        "mean": list(weights.mean),
        "std": list(weights.std),
        "resolution": weights.resolution,
        "crop_share": weights.crop_share,
        "about": dict(weights.about),
    }
    _write(path, weights.tensors, WEIGHTS, header)


def read_weights(path: Path) -> Weights:
    """Read a file of `write_weights`; raise ValueError if it is truncated or of another kind."""
    tensors, header = _read(path, WEIGHTS)
    try:
        weights = _described(tensors, header)
    except KeyError as error:
        raise ValueError(f"{path}: its header is damaged ({error} is missing)") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its header is damaged ({error})") from None
    with torch.device("meta"):  # shapes only: the header could request too much memory
        expected = build(weights.architecture).state_dict()
    check_equal(expected, tensors, source=path)
    check_finite(tensors, source=path)
    return weights


def _described(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Weights:
    """Return the weights that a header describes; raise ValueError if it is not valid."""
    architecture = Architecture.from_dict(header["architecture"])
    classes = header["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes: they are not a list of names")
    if len(classes) != architecture.classes:
        raise ValueError(f"classes: {len(classes)} names for {architecture.classes} classes")
    resolution = _number("resolution", header["resolution"], 1, SIDE)
    if resolution != int(resolution):
        raise ValueError(f"resolution: {resolution} is not a whole number")
    if not isinstance(header["about"], dict):
        raise ValueError("about: it is not an object")
    return Weights(
        tensors,
        architecture,
        tuple(classes),
        _three("mean", header["mean"], *MEANS),
        _three("std", header["std"], *STDS),
        int(resolution),
        _number("crop_share", header["crop_share"], *CROPS),
        dict(header["about"]),
    )


def write_state(path: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Write a training state; `counters` is plain data."""
    _write(path, tensors, STATE, counters)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_state`; raise ValueError if it is truncated or of another kind."""
    return _read(path, STATE)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer state as {"<parameter index>.<name>": tensor}."""
    flat = {}
    for index, memory in optimizer.state_dict()["state"].items():
        for name, value in memory.items():
            flat[f"{index}.{name}"] = torch.as_tensor(value)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Restore the state from `flatten_optimizer` in an optimizer of the same parameters."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        param = params[int(index)]
        if (
            value.shape == param.shape
        ):  # in the parameter's memory format, for the fast path of foreach
            value = torch.empty_like(param, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_into(network: torch.nn.Module, tensors: Mapping[str, Tensor], *, source: object) -> None:
    """Copy tensors into a network; raise ValueError for the first name or shape that differs."""
    check_equal(network.state_dict(), tensors, source=source)
    network.load_state_dict(dict(tensors))


def check_equal(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, source: object
) -> None:
    """Raise ValueError if names or shapes differ, or a data type is not allowed."""
    for name in sorted(set(own) ^ set(tensors)):
        where = "lacks" if name in own else "has an unknown"
        raise ValueError(
            f"{source}: {where} tensor {shortened(repr(name))}; it belongs to another network"
        )
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{source}: tensor {quoted(name)} is {list(value.shape)}, the network's is "
                f"{list(own[name].shape)}"
            )
        check_type(name, value, own[name], source=source)


def check_type(name: str, value: Tensor, own: Tensor, *, source: object) -> None:
    """Raise ValueError if a tensor's data type is not allowed for the network's tensor `own`.

    For example, integers for weights, complex numbers and 8-bit floats are not allowed.
    """
    allowed = FLOATS if own.is_floating_point() else (torch.int64, torch.int32)
    if value.dtype not in allowed:
        raise ValueError(
            f"{source}: tensor {quoted(name)} holds {str(value.dtype).removeprefix('torch.')}; "
            f"use {str(allowed[0]).removeprefix('torch.')}"
        )


def check_finite(tensors: Mapping[str, Tensor], *, source: object) -> None:
    """Raise ValueError for the first tensor with NaN or infinite numbers."""
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(f"{source}: tensor {quoted(name)} has numbers that are not finite")


def _write(path: Path, tensors: Mapping[str, Tensor], kind: str, header: Mapping[str, Any]) -> None:
    plain = {
        name: value.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    metadata = {"format": kind, "content": json.dumps(dict(header), sort_keys=True)}
    # save_file would create files that only their owner can read
    content = save(plain, metadata)
    write_whole(path, lambda unfinished: unfinished.write_bytes(content))


def _read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise ValueError(f"{path}: not a {kind.rsplit(' ', 1)[0]} file")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = metadata["content"]
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: truncated or not a safetensors file ({error})") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    try:
        header = parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: its header is damaged ({error})") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: its header is damaged")
    return tensors, header


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use a number from {low:g} to "
            f"{high:g}"
        )
    return float(value)


def _three(name: str, values: object, low: float, high: float) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{name}: {shortened(repr(values))} is not three numbers")
    first, second, third = (_number(name, value, low, high) for value in values)
    return first, second, third
