"""timm's networks for architectures of this project, and a check that both are equal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.lib.networks import proxy_network as searched_network
from search_spaces.architecture import Architecture
from search_spaces.network import build
from train.export.block_strings import timm_description, timm_network


def proxy_network(path: str | None, classes: int) -> Architecture:
    """Return the architecture of a JSON file, or the proxy network, with that number of classes.

    Raises ValueError if the file has no architecture or timm's builder cannot express it.
    """
    if path is None:
        return dataclasses.replace(searched_network(), classes=classes)
    try:
        architecture = Architecture.from_json(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"network: {path}: {error}") from None
    timm_description(architecture)
    return dataclasses.replace(architecture, classes=classes)


def timm_twin(
    architecture: Architecture, *, name: str = "", dropout: float = 0.0, drop_path: float = 0.0
) -> nn.Module:
    """Return timm's network of an architecture, by create_model if timm has a name for it."""
    if name:
        import timm

        return timm.create_model(
            name, num_classes=architecture.classes, drop_rate=dropout, drop_path_rate=drop_path
        )
    description = timm_description(architecture)
    description["model"] |= {"drop_rate": dropout, "drop_path_rate": drop_path}
    return timm_network(description)


def check_twins(architecture: Architecture, *, name: str = "", side: int = 0) -> dict[str, Any]:
    """Return parameters of both networks and the largest difference of logits with equal weights.

    The logits are compared in training mode, where batch norms use the batch, and in evaluation
    mode. Raises ValueError if the two are not the same network.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        ours, theirs = build(architecture), timm_twin(architecture, name=name)
        side = side or architecture.resolution
        images = torch.randn(4, architecture.in_channels, side, side)
    counts = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    if counts[0] != counts[1]:
        raise ValueError(f"timm's network has {counts[1]:,} parameters, ours {counts[0]:,}")
    theirs.load_state_dict(ours.state_dict())
    apart = 0.0
    with torch.no_grad():
        for mode in (True, False):
            logits = [network.train(mode)(images) for network in (ours, theirs)]
            scale_of = float(logits[1].abs().max())
            apart = max(apart, float((logits[0] - logits[1]).abs().max()) / max(scale_of, 1e-6))
    if not apart < 1e-3:
        raise ValueError(f"timm's logits differ from ours by {apart:.2g} of the largest one")
    return {"parameters": counts[0], "logits_apart": apart}
