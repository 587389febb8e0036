"""Importance of channels and layers, which decides what a smaller network keeps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Architecture
from search_spaces.network import Network, Residual
from train.inherit.layout import Group, Part, layers, parts, sizes

Batch = tuple[Tensor, Tensor]  # images [n, channels, height, width], targets int64 [n]


@dataclass(frozen=True)
class Importance:
    """Importance of the parts of a network; larger values are more important.

    channels  importance of the channels, for each group of channels pruned together, float64
              [channels].
    layers    importance of the layers of each stage, float64 [layers]. The first layer of a stage
              is always kept, because it strides and changes the channels.
    """

    channels: Mapping[Group, np.ndarray]
    layers: tuple[np.ndarray, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: ranks, 0 for the most important; see `from_dict`."""
        return {
            "channels": {
                " ".join(map(str, group)): _ranks(values).tolist()
                for group, values in self.channels.items()
            },
            "layers": [_ranks(values).tolist() for values in self.layers],
        }

    @classmethod
    def from_dict(cls, content: Any, network: Architecture) -> Importance:
        """Return the importance of a network from the ranks of `to_dict`.

        Raises ValueError if they are damaged or belong to another network.
        """
        try:
            found: dict[Group, np.ndarray] = {}
            for text, ranks in content["channels"].items():
                kind, stage, layer = text.split(" ")
                found[kind, int(stage), int(layer)] = _from_ranks(ranks)
            kept = tuple(_from_ranks(ranks) for ranks in content["layers"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError("importance: it is damaged") from None
        sizes_found = {group: len(values) for group, values in found.items()}
        counts = [len(values) for values in kept]
        if sizes_found != sizes(network) or counts != [s.layers for s in network.stages]:
            raise ValueError("importance: it belongs to another network")
        return cls(found, kept)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value in descending order, from 0; ties in order."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return ranks


def _from_ranks(ranks: Any) -> np.ndarray:
    if not isinstance(ranks, list) or sorted(ranks) != list(range(len(ranks))):
        raise ValueError("ranks")
    return -np.array(ranks, np.float64)


def by_weights(network: Network) -> Mapping[Group, np.ndarray]:
    """Return L1 norms of the weights that produce and use each channel.

    Each convolution's norms are divided by their mean. Source: Li et al. 2017, Pruning Filters for
    Efficient ConvNets.
    """

    def of(part: Part, own: bool) -> Tensor | None:
        if part.kind != "conv":
            return None
        weight = _module(network, part).weight.detach().abs()
        return weight.sum([axis for axis in range(weight.ndim) if axis != (0 if own else 1)])

    return _summed(network, of)


def by_order(network: Network) -> Mapping[Group, np.ndarray]:
    """Return importances by which the last channels are dropped first."""
    counts = sizes(network.architecture)
    return {group: -np.arange(count, dtype=np.float64) for group, count in counts.items()}


def by_norm_scale(network: Network) -> Mapping[Group, np.ndarray]:
    """Return absolute scales of each channel's batch norms (Liu et al. 2017, Network Slimming)."""

    def of(part: Part, own: bool) -> Tensor | None:
        return _module(network, part).weight.detach().abs() if part.kind == "norm" else None

    return {**by_weights(network), **_summed(network, of)}


def by_taylor(network: Network, batches: Iterable[Batch]) -> Mapping[Group, np.ndarray]:
    """Return the squared first-order change of the loss if a channel's batch norms give 0.

    Source: Molchanov et al. 2019, Importance Estimation for Neural Network Pruning.

    batches  prepared training images; their squared changes are added. The network is used in
             evaluation mode and is not changed.
    """
    network = copy.deepcopy(network).eval()
    norms = [part for part in parts(network.architecture) if part.kind == "norm"]
    found = {part.name: torch.zeros(0) for part in norms}
    for images, targets in batches:
        network.zero_grad()
        F.cross_entropy(network(images).float(), targets).backward()
        for part in norms:
            module = _module(network, part)
            change = module.weight * module.weight.grad + module.bias * module.bias.grad
            square = change.detach() ** 2
            found[part.name] = found[part.name] + square if len(found[part.name]) else square

    def of(part: Part, own: bool) -> Tensor | None:
        return found.get(part.name)

    return {**by_weights(network), **_summed(network, of, relative=False)}


def layers_by_loss(network: Network, batches: Sequence[Batch]) -> tuple[np.ndarray, ...]:
    """Return how much the loss rises if a layer is skipped, for the layers of each stage.

    batches  prepared training images.

    The value is infinite for the first layer of a stage and for layers without a shortcut, which
    cannot be skipped.
    """
    network = copy.deepcopy(network).eval()
    found = []
    whole = _loss(network, batches)
    places = network.architecture.places()
    for (group, first), blocks in zip(places, layers(network.architecture), strict=True):
        modules = network.blocks[group]
        rises = np.full(len(blocks), np.inf)
        for layer, block in enumerate(blocks[1:], 1):
            module = modules[first + layer]
            if not isinstance(module, Residual) or block.skip != "identity":
                continue
            modules[first + layer] = nn.Identity()
            rises[layer] = _loss(network, batches) - whole
            modules[first + layer] = module
        found.append(rises)
    return tuple(found)


def layers_from_the_end(network: Network) -> tuple[np.ndarray, ...]:
    """Return importances by which the last layers of a stage are dropped first."""
    return tuple(
        np.arange(len(blocks), 0, -1, dtype=np.float64) for blocks in layers(network.architecture)
    )


@torch.no_grad()
def _loss(network: Network, batches: Sequence[Batch]) -> float:
    """Return the mean loss per image."""
    losses = [
        F.cross_entropy(network(images).float(), targets, reduction="sum").item()
        for images, targets in batches
    ]
    return sum(losses) / sum(len(targets) for _, targets in batches)


def _module(network: Network, part: Part) -> nn.Module:
    return network.get_submodule(part.name)


def _summed(
    network: Network, of: Callable[[Part, bool], Tensor | None], *, relative: bool = True
) -> dict[Group, np.ndarray]:
    """Return the sum over all parts of a group of their values for the group's channels.

    of        (part, whether the channels are its outputs) -> [channels], or None.
    relative  whether each part is divided by its mean, so that parts have equal weight.
    """
    found: dict[Group, np.ndarray] = {}
    counts = sizes(network.architecture)
    for part in parts(network.architecture):
        for group, own in ((part.out, True), (part.inputs, False)):
            if group is None or (not own and part.kind == "norm"):
                continue
            value = of(part, own)
            if value is None or len(value) != counts[group]:
                continue
            array = value.double().cpu().numpy()
            if relative:
                array = array / max(array.mean(), 1e-30)
            found[group] = found.get(group, 0.0) + array
    return found
