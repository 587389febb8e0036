"""A network as the backbone of a detector or a segmentation network: its feature maps.

`Backbone` behaves like timm's `create_model(..., features_only=True)`: called with images, it
returns a list of feature maps, and `feature_info` has their channels and reductions. Its tensors
have the names that they have in `search_spaces.network.Network`.
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
    """What the feature maps of a backbone are, finest first; timm's interface."""

    def __init__(self, maps: Sequence[FeatureMap]) -> None:
        self.maps = tuple(maps)

    def channels(self) -> list[int]:
        """Channels of each feature map."""
        return [each.channels for each in self.maps]

    def reduction(self) -> list[int]:
        """Pixels of the image for one of each feature map, along one side."""
        return [each.reduction for each in self.maps]

    def module_name(self) -> list[str]:
        """The module of the network that returns each feature map."""
        return [each.module for each in self.maps]


class Backbone(nn.Module):
    """Stem and blocks of a network, with the feature maps of several reductions as output.

    network     whose modules it uses; they are shared, not copied. `build` makes one with fresh
                weights.
    reductions  such as (8, 16, 32); None for all from 4 on (all where none is that large).

    The module takes float images [n, in_channels, height, width] and returns one tensor
    [n, channels, ceil(height / reduction), ceil(width / reduction)] for each reduction, finest
    first. Blocks behind the last one are left out. Carries `.architecture`. ValueError for a
    reduction that the network does not have.
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
        """The feature maps of images [n, in_channels, height, width]."""
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
        """Load the state dict of a classifier of the same architecture, strictly but for its head.

        Returns the names of the tensors that were left out: of the head, of the classifier, and of
        blocks behind the last feature map. ValueError, one line, for a tensor that is missing, has
        another shape, or is none of that network's.
        """
        with torch.device("meta"):
            whole = build(self.architecture).state_dict()
        own = self.state_dict()
        for name in tensors:
            if name not in whole:
                raise ValueError(f"weights: {quoted(name)} is no tensor of the network")
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
