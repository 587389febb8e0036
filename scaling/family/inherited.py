"""Members of a family that inherit the weights of a trained parent: sub-networks of it.

Such a family goes down from the parent. Each member has no more layers, channels and pixels than
the parent has, and gets the most important of its weights (`train.inherit`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.evaluators.inherited import preparation_of, views_of
from nas.evaluators.inherited_scores import accuracy, recalibrate
from nas.parents.options import target_list
from nas.parents.origin import Origin
from scaling.family.config import FamilyConfig
from scaling.family.members import Member
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.parent import parent_space
from train.checkpoint import Weights, write_weights
from train.data import Data, load
from train.inherit.importance import Importance, by_weights, layers_from_the_end
from train.inherit.inheritance import Inheritance, inheritance, some_batches
from train.inherit.weights import check_child
from train.parents import Parent, load_parent
from train.recipe import Recipe, change, preset
from vbs.config import ConfigError
from vbs.console import print_err
from vbs.text import counted
from vbs.units import short


@dataclass(frozen=True)
class Cut:
    """What the members of a family are cut out of.

    parent  the trained network.
    search  that found the base; None where the parent was named by the user.
    """

    parent: Parent
    search: Origin | None

    @property
    def network(self) -> Architecture:
        """The architecture of the parent."""
        return self.parent.architecture


def cut_of(source: str | None, search: Origin | None) -> Cut:
    """What members are cut out of: the parent that is named, or that of a search.

    Raises ValueError where the parent cannot be read.
    """
    if source is None:
        assert search is not None
        source = str(search.source)
    return Cut(load_parent(source), search)


def check_base(cut: Cut, base: Architecture, config: FamilyConfig) -> None:
    """Raise ValueError unless the base is a sub-network of the parent, and members of such FLOPs
    can be."""
    try:
        check_child(cut.network, base)
        if base.resolution > cut.network.resolution:
            raise ValueError(
                f"child: its resolution is {base.resolution}; use at most the parent's "
                f"{cut.network.resolution}"
            )
    except ValueError as error:
        text = str(error).removeprefix("child: ")
        raise ValueError(f"--base: it is no sub-network of the parent; {text}") from None
    if config.objective == "flops":
        _check_range(cut, base, config)


def _check_range(cut: Cut, base: Architecture, config: FamilyConfig) -> None:
    """Raise ConfigError for members whose FLOPs no member can have, with the possible range."""
    least, most = family_range(cut.network, base)
    own, whole = cost(base).flops, cost(cut.network).flops
    if config.targets is not None:
        name, hint = "targets", f"use {short(least)} to {short(most)}"
        wanted = dict(target_list(config.targets))
    else:
        assert config.growth is not None
        step = math.log(config.growth)
        low, high = (math.log(end / own) / step for end in (least, most))
        name, hint = "phi", f"use {low:.2f} to {high:.2f} with --growth {config.growth:g}"
        wanted = {f"{phi:g}": own * config.growth**phi for phi in config.phis()}
    for text, flops in wanted.items():
        if not least <= flops <= most:
            side = "above" if flops > most else "below"
            is_size = (
                f"{short(flops)} FLOPs are"
                if name == "targets"
                else (f"{text} ({short(flops)} FLOPs) is")
            )
            raise ConfigError(
                name,
                f"{is_size} {side} the members of a family that goes down from a parent of "
                f"{short(whole)} FLOPs; {hint}",
            )


def family_range(parent: Architecture, base: Architecture) -> tuple[float, float]:
    """Least and most FLOPs of members: the smallest sub-network that a search considers, and the
    parent with the kernels, expansions and squeeze-and-excitation of the base."""
    pairs = zip(base.stages, parent.stages, strict=True)
    stages = tuple(
        replace(own, layers=theirs.layers, channels=theirs.channels) for own, theirs in pairs
    )
    least, _ = parent_space(parent).cost_range("flops")
    return least, cost(replace(parent, stages=stages)).flops


def write_member_weights(
    folder: Path, members: Sequence[Member], rows: Sequence[dict[str, Any]], cut: Cut
) -> None:
    """Write NAME.safetensors of each member into a folder, and say so in its row.

    Where the images are known, channels and layers are kept by their importance for them, batch
    norm is measured again if that is better, and the row gets the accuracy on the images that are
    held out.
    """
    folder.mkdir(exist_ok=True)
    parent = cut.parent
    recipe, data = _images(cut)
    print_err(f"weights: {counted(len(members), 'member')} inherit from {parent.source}")
    inherited = _inheritance(parent, recipe, data)
    for member, row in zip(members, rows, strict=True):
        network = inherited.network(member.architecture)
        if data is not None:
            views = views_of(data, recipe, member.architecture.resolution, device=_CPU)
            row["inherited_minival_top1"] = _settle(network, views.train, views.held_out)
        path = folder / f"{member.name}.safetensors"
        write_weights(path, _weights(member, parent, recipe, network.state_dict()))
        row["weights"] = path.name


_CPU = torch.device("cpu")


def _images(cut: Cut) -> tuple[Recipe, Data | None]:
    """The recipe and the images of the search that found the base."""
    if cut.search is None:
        return preset("finetune"), None
    config, parent = cut.search.config, cut.parent
    recipe = change(preset(config.recipe), config.changes)
    if parent.mean and parent.std:
        recipe = replace(recipe, mean=parent.mean, std=parent.std)
    assert config.data is not None
    return recipe, load(config.data, minival=recipe.minival, root=config.data_root, test=False)


def _inheritance(parent: Parent, recipe: Recipe, data: Data | None) -> Inheritance:
    network = parent.network()
    if data is None:
        known = parent.importance
        found = known or Importance(by_weights(network), layers_from_the_end(network))
        return inheritance(network, [], found)
    preparation = preparation_of(recipe, parent.architecture.resolution)
    batches = some_batches(data.train, preparation, device=_CPU)
    return inheritance(network, batches, parent.importance)


def _settle(network: Any, train: Any, held_out: Any) -> float:
    """Held-out accuracy in percent; batch norm is recalibrated where that is not worse."""
    before, state = accuracy(network, held_out), copy.deepcopy(network.state_dict())
    recalibrate(network, train)
    after = accuracy(network, held_out)
    if after < before:
        network.load_state_dict(state)
    return round(max(before, after), 3)


def _weights(member: Member, parent: Parent, recipe: Recipe, tensors: Any) -> Weights:
    network = member.architecture
    return Weights(
        tensors,
        network,
        parent.classes or tuple(map(str, range(network.classes))),
        parent.mean or recipe.mean,
        parent.std or recipe.std,
        network.resolution,
        1.0,
        {"inherited_from": parent.source, "parent_sha256": parent.digest},
    )
