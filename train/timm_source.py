"""timm's pretrained weights by name, as a `Source`, before and after their download."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.zoo import NETWORKS
from train.timm_architecture import derived_architecture
from train.weight_sources import Source, our_names, three
from vbs.text import quoted, shortened

# keywords of timm.create_model that do not change the function, or that the tensors' shapes show
HARMLESS = ("num_classes", "in_chans", "drop_rate", "drop_path_rate")
SIZES = {"num_classes": ("classifier.weight", 0), "in_chans": ("conv_stem.weight", 1)}


def pretrained_config(name: str) -> Any:
    """Return timm's PretrainedCfg; raise ValueError with the nearest names if there is none."""
    config = None
    with contextlib.suppress(RuntimeError):  # an unknown tag
        config = get_pretrained_cfg(name) if is_model(name) else None
    if config is None or not config.has_weights:
        first = name.partition(".")[0]  # without the tag
        near = timm.list_pretrained(f"*{first}*")[:3] if re.fullmatch(r"\w+", first) else []
        near = near or difflib.get_close_matches(name, timm.list_models(pretrained=True), 3)
        hint = f"; it has {', '.join(near)}" if near else "; see timm.list_pretrained()"
        raise ValueError(f"timm has no pretrained weights {quoted(name)}{hint}")
    return config


def shapes(name: str, **options: Any) -> nn.Module:
    """Return timm's network of that name on the meta device: shapes without values."""
    with torch.device("meta"):
        return timm.create_model(name, pretrained=False, **options)


def described(source: Source) -> Source:
    """Return the source with the architecture that its config.json (of Hugging Face) names.

    Raises ValueError if timm has no network of that name, or the file changes its structure.
    """
    name = source.description["architecture"]
    if not is_model(name):
        raise ValueError(f"its config.json names the network {quoted(name)}, which timm lacks")
    changed = source.description.get("model_args") or {}
    options = list(changed) if isinstance(changed, dict) else [changed]
    for option in options:
        if option not in HARMLESS:
            raise ValueError(f"its config.json changes timm's {name} by {quoted(option)}")
    sizes = {
        option: source.tensors[tensor].shape[dimension]
        for option, (tensor, dimension) in SIZES.items()
        if tensor in source.tensors and source.tensors[tensor].ndim > dimension
    }
    model = shapes(name, **sizes)
    side = source.resolution or model.pretrained_cfg["input_size"][-1]
    return dataclasses.replace(source, architecture=architecture_of(name, model, side))


def downloaded(name: str, config: Any) -> dict[str, Tensor]:
    """Download the pretrained tensors; raise ValueError with an alternative if that fails."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every attempt
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the type depends on the library that downloads
        reason = shortened(" ".join(str(error).split()), 160)
        raise ValueError(
            f"timm:{name} could not be downloaded ({reason}); on a machine with a network, fetch "
            f"model.safetensors and config.json of huggingface.co/{config.hf_hub_id} into a "
            "folder and give its path"
        ) from None


def architecture_of(name: str, model: nn.Module, resolution: int) -> Architecture:
    """Return the architecture of timm's network.

    name        name of the network, with or without a tag.
    model       the network.
    resolution  resolution of the architecture, in pixels.

    The zoo's architecture is preferred if the zoo has the same network: it has the batch-norm
    momentum of the original training, and states which stages never have a shortcut. Raises
    ValueError (one line) for the first module that an `Architecture` cannot express.
    """
    make = NETWORKS.get(name.split(".")[0])
    if make and type(model).__name__ == "ResNet":
        free = {"resolution": resolution, "classes": model.num_classes}
        return dataclasses.replace(make(), **free)
    found = derived_architecture(model, resolution=resolution)
    if make:
        free = {"resolution": resolution, "classes": found.classes}
        published = dataclasses.replace(make(), **free)
        if _function(published) == _function(found):
            return published
    return found


def _function(architecture: Architecture) -> tuple[Any, ...]:
    """Return the properties that determine an architecture's function and module names."""
    conventions = (architecture.activation, architecture.padding, architecture.bn_eps)
    return (*conventions, *architecture.places(), *architecture.blocks())


def as_source(
    tensors: Mapping[str, Tensor], config: Any, architecture: Architecture | None
) -> Source:
    """Return timm's tensors, renamed to this project's names, with timm's description.

    architecture  from `architecture_of`; None if no `Architecture` can express the network.
    """
    return Source(
        our_names(tensors),
        architecture,
        three(config.mean),
        three(config.std),
        resolution=config.input_size[-1],
    )
