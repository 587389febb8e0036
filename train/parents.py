"""Pretrained parent networks: the architecture and the weights of a run, an export, timm, or a
package.

A parent is what a search, a scaling or a fine-tuning can start from when no architecture is given
beside the weights; `train.initial` copies weights into a network that is given.
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

    source        as it was requested.
    architecture  with the classes of the weights, and with the resolution that they were trained
                  at (that of the evaluation, or the architecture's own, where only that is known).
    tensors       state dict for `build(architecture)`, complete, by its names.
    mean, std     of the input channels, in units of [0, 1] images; None where unknown.
    classes       their names in the order of the logits; None where unknown.
    importance    of its channels and layers, where its sub-networks were trained with it.
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
        """64 hex digits of its architecture, weights and importance."""
        digest = hashlib.sha256(self.architecture.key.encode())
        if self.importance is not None:
            digest.update(json.dumps(self.importance.to_dict(), sort_keys=True).encode())
        for name in sorted(self.tensors):
            value = self.tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def network(self) -> Network:
        """The network with its weights, in evaluation mode."""
        network = build(self.architecture)
        network.load_state_dict(self.tensors)
        return network.eval()


def load_parent(source: str) -> Parent:
    """The network of `source` with its weights.

    source  folder of a run or of an export; a .safetensors file with an architecture in it or in
            the JSON file of its name beside it; a folder of model.safetensors and config.json from
            Hugging Face; timm:NAME, timm's pretrained weights, which are downloaded; package:NAME,
            of `train.weight_sources.PACKAGES`.

    Raises ValueError, one line that begins with "parent: ", where there is no such source, where
    its network cannot be expressed as an `Architecture` (the first part that cannot is named),
    and where its weights do not fit its architecture.
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
    """Weights with their architecture, of a run, an export or a file; ValueError for others."""
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
    """Weights of Hugging Face, whose description has a name of timm as its architecture."""
    if not isinstance(found.description.get("architecture"), str):
        raise ValueError(
            "the weights have no architecture; give the folder of a run, an export with its .json, "
            "or timm:NAME, or save Architecture.to_json() beside them as NAME.json"
        )
    from train.timm_source import described

    return described(found)


def parent_of(source: str, found: Source) -> Parent:
    """The parent of weights with their architecture; ValueError where they do not fit it."""
    architecture = found.architecture
    assert architecture is not None
    with torch.device("meta"):  # shapes only: a description may ask for more memory than there is
        own = build(architecture).state_dict()
    # counters of batch norm, which older files lack, are without effect
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
