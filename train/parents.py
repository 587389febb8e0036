"""Pretrained parent networks: architecture and weights of a run, an export, timm or a package.

A search, a scaling or a fine-tuning starts from a parent if the user gives no architecture beside
the weights. `train.initial` copies weights into a network that is given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from train.checkpoint import check_equal, check_finite
from train.inherit.importance import Importance
from train.weight_sources import (
    COUNTER,
    Source,
    Three,
    described_architecture,
    read_package,
    read_path,
)
from vbs.text import printable


@dataclass(frozen=True)
class Parent:
    """A pretrained network.

    source        the source as the user named it.
    architecture  with the number of classes of the weights, and with the resolution of their
                  training (or of their evaluation, or the architecture's own, if only that is
                  known).
    tensors       complete state dict of `build(architecture)`.
    mean, std     of the input channels, for images in [0, 1]; None if unknown.
    classes       names of the classes in the order of the logits; None if unknown.
    importance    importance of its channels and layers, if it was trained with sub-networks.
    """

    source: str
    architecture: Architecture
    tensors: Mapping[str, Tensor]
    mean: Three | None
    std: Three | None
    classes: tuple[str, ...] | None
    importance: Importance | None = None

    @property
    def digest(self) -> str:
        """Return 64 hex digits of a hash of its architecture, weights and importance."""
        digest = hashlib.sha256(self.architecture.key.encode())
        if self.importance is not None:
            digest.update(json.dumps(self.importance.to_dict(), sort_keys=True).encode())
        for name in sorted(self.tensors):
            value = self.tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def network(self) -> Network:
        """Return the network with its weights, in evaluation mode."""
        network = build(self.architecture)
        network.load_state_dict(self.tensors)
        return network.eval()


def load_parent(source: str) -> Parent:
    """Return a pretrained network with its architecture.

    source  folder of a run or of an export; a .safetensors file that contains an architecture or
            has it in the JSON file of the same name; a folder from Hugging Face with
            model.safetensors and config.json; timm:NAME (pretrained weights of timm, which are
            downloaded); package:NAME, a name of `train.weight_sources.PACKAGES`.

    Raises ValueError, in one line that begins with "parent: ", if the source does not exist, if
    an `Architecture` cannot express its network (the message names the first such part), or if
    its weights do not match its architecture.
    """
    try:
        return parent_of(source, _found(source))
    except ValueError as error:
        raise ValueError(f"parent: {printable(error)}") from None


def _found(source: str) -> Source:
    kind, colon, name = source.partition(":")
    if colon and kind == "timm":
        return _timm(name)
    if colon and kind == "package":
        return read_package(name)
    return path_source(Path(source))


def path_source(source: Path) -> Source:
    """Return the weights and architecture of a run, an export or a file.

    Raises ValueError if the path is none of these.
    """
    found = read_path(source)
    try:
        architecture = found.architecture or described_architecture(found.description)
        if architecture is None:
            return _named(found)
        if found.resolution:
            architecture = dataclasses.replace(architecture, resolution=found.resolution)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return dataclasses.replace(found, architecture=architecture)


def _timm(name: str) -> Source:
    from train.timm_source import architecture_of, as_source, downloaded, pretrained_config, shapes

    config = pretrained_config(name)
    try:
        known = architecture_of(name, shapes(name), config.input_size[-1])
    except ValueError as error:
        raise ValueError(f"timm:{name}: {error}") from None
    return as_source(downloaded(name, config), config, known)


def _named(found: Source) -> Source:
    """Return weights of Hugging Face, whose description names a network of timm."""
    if not isinstance(found.description.get("architecture"), str):
        raise ValueError(
            "the weights have no architecture; give the folder of a run, an export with its .json, "
            "or timm:NAME, or save Architecture.to_json() beside them as NAME.json"
        )
    from train.timm_source import described

    return described(found)


def parent_of(source: str, found: Source) -> Parent:
    """Return the parent; raise ValueError if the weights do not match their architecture."""
    architecture = found.architecture
    assert architecture is not None
    with torch.device("meta"):  # shapes only: a description could request too much memory
        own = build(architecture).state_dict()
    # older files lack the batch counters of batch norms, which have no effect
    counters = [name for name in own if name.endswith(COUNTER) and name not in found.tensors]
    tensors = {**found.tensors, **{name: torch.tensor(0) for name in counters}}
    check_equal(own, tensors, source=source)
    check_finite(tensors, source=source)
    classes = found.classes
    if classes is not None and len(classes) != architecture.classes:
        raise ValueError(
            f"{source}: {len(classes)} names of classes for {architecture.classes} classes"
        )
    importance = None
    if found.importance is not None:
        importance = Importance.from_dict(found.importance, architecture)
    return Parent(source, architecture, tensors, found.mean, found.std, classes, importance)
