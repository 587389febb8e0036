"""Members of a family that are sub-networks of a trained parent and inherit its weights.

The members of this family are smaller than the parent: none has more layers, channels or pixels.
Each inherits the most important of the parent's weights (`train.inherit`).
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
    """The parent of a family whose members inherit weights.

    parent  the trained network.
    search  the search that found the base; None if the user named the parent.
    """

    parent: Parent
    search: Origin | None

    @property
    def network(self) -> Architecture:
        """The architecture of the parent."""
        return self.parent.architecture


def cut_of(source: str | None, search: Origin | None) -> Cut:
    """Return the parent given by the user, or else that of a search.

    Raises ValueError if the parent cannot be read.
    """
    if source is None:
        assert search is not None
        source = str(search.source)
    return Cut(load_parent(source), search)


def check_base(cut: Cut, base: Architecture, config: FamilyConfig) -> None:
    """Raise ValueError if the base is not a sub-network of the parent, or if no sub-networks have
    the FLOPs of the members."""
    try:
        check_child(cut.network, base)
        if base.resolution > cut.network.resolution:
            raise ValueError(
                f"child: its resolution is {base.resolution}; use at most the parent's "
                f"{cut.network.resolution}"
            )
    except ValueError as error:
        text = str(error).removeprefix("child: ")
        raise ValueError(f"--base: it is not a sub-network of the parent; {text}") from None
    if config.objective == "flops":
        _check_range(cut, base, config)


def _check_range(cut: Cut, base: Architecture, config: FamilyConfig) -> None:
    """Raise ConfigError, with the possible range, if members with these FLOPs do not exist."""
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
                f"{is_size} {side} the members of a family inside a parent of "
                f"{short(whole)} FLOPs; {hint}",
            )


def family_range(parent: Architecture, base: Architecture) -> tuple[float, float]:
    """Return the smallest and the largest FLOPs of members.

    The smallest member is the smallest sub-network in the search space of the parent; the largest
    is the parent with the kernels, expansions and squeeze-and-excitation of the base.
    """
    pairs = zip(base.stages, parent.stages, strict=True)
    stages = tuple(
        replace(own, layers=theirs.layers, channels=theirs.channels) for own, theirs in pairs
    )
    least, _ = parent_space(parent).cost_range("flops")
    return least, cost(replace(parent, stages=stages)).flops


def write_member_weights(
    folder: Path, members: Sequence[Member], rows: Sequence[dict[str, Any]], cut: Cut
) -> None:
    """Write NAME.safetensors of each member into a folder, and add the file name to its row.

    If the images are known, channels and layers are selected by their importance for them, batch
    norm statistics are recalibrated if that improves the accuracy, and the row gets the accuracy on
    the held-out images.
    """
    parent = cut.parent
    recipe, data = _images(cut)
    folder.mkdir(exist_ok=True)
    verb = "inherits" if len(members) == 1 else "inherit"
    print_err(f"weights: {counted(len(members), 'member')} {verb} from {parent.source}")
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
    """Return the recipe and the images of the search that found the base."""
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
    """Return the held-out accuracy in percent; keep recalibrated batch norm unless it is worse."""
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
