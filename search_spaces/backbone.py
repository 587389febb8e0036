"""Backbones of detectors and segmentation networks: networks that return feature maps.

`Backbone` has the interface of timm's `create_model(..., features_only=True)`: called with images,
it returns a list of feature maps, and `feature_info` has their channels and reductions. Its
tensors have the same names as in `search_spaces.network.Network`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from search_spaces.feature_maps import FeatureMap, feature_maps
from search_spaces.network import Network, build
from search_spaces.norm_act import norm_act
from vbs.text import quoted


class FeatureInfo:
    """Description of a backbone's feature maps, finest first; timm's interface."""

    def __init__(self, maps: Sequence[FeatureMap]) -> None:
        self.maps = tuple(maps)

    def channels(self) -> list[int]:
        """Return the channels of each feature map."""
        return [each.channels for each in self.maps]

    def reduction(self) -> list[int]:
        """Return the reduction of each feature map: image pixels per map pixel along one side."""
        return [each.reduction for each in self.maps]

    def module_name(self) -> list[str]:
        """Return the name of the module that computes each feature map."""
        return [each.module for each in self.maps]


class Backbone(nn.Module):
    """Stem and blocks of a network; returns the feature maps of several reductions.

    network     network whose modules are shared, not copied. `build` creates one with fresh
                weights.
    reductions  such as (8, 16, 32); None: all of at least 4 (all, if none is that large).

    The input is float images [n, in_channels, height, width]. The output is a list with one tensor
    [n, channels, ceil(height / reduction), ceil(width / reduction)] for each reduction, finest
    first. Blocks after the last feature map are removed. The attribute `architecture` is the
    architecture of the network. Raises ValueError for a reduction that the network does not have.
    """

    def __init__(self, network: Network, reductions: Sequence[int] | None = None) -> None:
        super().__init__()
        self.architecture = network.architecture
        maps = feature_maps(network.architecture, reductions)
        self.feature_info = FeatureInfo(maps)
        self._returned = frozenset(each.module for each in maps)
        self.conv_stem, self.bn1, self.act = network.conv_stem, network.bn1, network.act
        self.pool = network.pool
        group, number = -1, -1
        if maps[-1].module.startswith("blocks."):
            group, number = (int(word) for word in maps[-1].module.split(".")[1:])
        groups = [nn.Sequential(*blocks) for blocks in network.blocks[: group + 1]]
        if groups:
            groups[-1] = groups[-1][: number + 1]
        self.blocks = nn.Sequential(*groups)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images [n, in_channels, height, width]."""
        found = []
        x = norm_act(self.bn1, self.act, self.conv_stem(images))
        if "act" in self._returned:
            found.append(x)
        x = self.pool(x)
        if "pool" in self._returned:
            found.append(x)
        for group, blocks in enumerate(self.blocks):
            for number, block in enumerate(blocks):
                x = block(x)
                if f"blocks.{group}.{number}" in self._returned:
                    found.append(x)
        return found

    def load_classifier(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Load the state dict of a classifier of the same architecture, without its head.

        Returns the names of the tensors that were not loaded: those of the head, the classifier,
        and blocks after the last feature map. Raises ValueError for a tensor that is missing,
        has another shape, or does not belong to the classifier.
        """
        with torch.device("meta"):
            whole = build(self.architecture).state_dict()
        own = self.state_dict()
        for name in tensors:
            if name not in whole:
                raise ValueError(f"weights: {quoted(name)} is not a tensor of the network")
        for name, tensor in own.items():
            if name not in tensors:
                raise ValueError(f"weights: {quoted(name)} is missing")
            if tensors[name].shape != tensor.shape:
                raise ValueError(
                    f"weights: the shape of {quoted(name)} is {list(tensors[name].shape)}, the "
                    f"network's is {list(tensor.shape)}"
                )
        self.load_state_dict({name: tensors[name] for name in own})
        return tuple(name for name in tensors if name not in own)
