"""Weights of a smaller network, taken from those of its parent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from train.inherit.importance import Importance
from train.inherit.layout import Group, Part, parts, sizes
from vbs.text import quoted

# fields of the child that may differ from the parent's, because no weight depends on them
FREE = ("resolution", "bn_momentum")
CUT = ("stem", "head")
CUT_OF_STAGE = ("layers", "kernel", "start_kernel", "expand", "channels")
# convolutions of a block whose kernels are cropped, and the stage's field with the kernel size
KERNELS = {
    "conv": "kernel",
    "conv_dw": "kernel",
    "conv_exp": "kernel",
    "conv2": "kernel",
    "dw_start.conv": "start_kernel",
    "dw_mid.conv": "kernel",
}
VECTORS = ("weight", "bias", "running_mean", "running_var")  # tensors of a norm
COUNTER = "num_batches_tracked"


def inherit(
    tensors: Mapping[str, Tensor],
    parent: Architecture,
    child: Architecture,
    importance: Importance,
) -> dict[str, Tensor]:
    """Return the child's weights: the most important layers and channels of the parent.

    tensors     the parent's state dict; gradients flow from the result back into it.
    importance  of the parent. Layers and channels that are kept stay in their order.

    Channels that are connected by residuals are the same in all layers of a stage. Kernels are
    cropped to their centre. A child that is equal to the parent gets its weights unchanged.

    Raises ValueError, with the field, if the child is not a sub-network of the parent.
    """
    check_child(parent, child)
    kept_layers = [
        most_important(values, stage.layers)
        for values, stage in zip(importance.layers, child.stages, strict=True)
    ]
    kept = _kept_channels(parent, child, importance, kept_layers)
    found: dict[str, Tensor] = {}
    places = parent.places()
    for part in parts(child):
        source = part.name
        if part.stage >= 0:
            group, first = places[part.stage]
            layer = first + int(kept_layers[part.stage][part.layer])
            source = f"blocks.{group}.{layer}.{_inside(part)}"
        found |= _taken(tensors, source, part, kept, _kernel(child, part))
    return found


def most_important(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` largest values, ascending; ties go to the first."""
    return np.sort(np.argsort(-values, kind="stable")[:count])


def check_child(parent: Architecture, child: Architecture) -> None:
    """Raise ValueError, with the field, unless the child is a sub-network of the parent."""
    if len(parent.stages) != len(child.stages):
        raise ValueError(
            f"child: it has {len(child.stages)} stages, and the parent has {len(parent.stages)}"
        )
    pairs: list[tuple[str, Any, Any, tuple[str, ...], tuple[str, ...]]]
    pairs = [("", parent, child, (*FREE, "stages"), CUT)]
    for index, (mine, own) in enumerate(zip(parent.stages, child.stages, strict=True)):
        without_se = ("se",) if mine.se and not own.se else ()
        pairs.append((f"stages[{index}].", mine, own, without_se, CUT_OF_STAGE))
    for prefix, mine, own, free, cut in pairs:
        for field in dataclasses.fields(mine):
            before, now = getattr(mine, field.name), getattr(own, field.name)
            name = f"{prefix}{field.name}"
            if field.name in cut and (now > before or bool(now) != bool(before)):
                raise ValueError(
                    f"child: its {name} is {quoted(now)}; use at most the parent's {quoted(before)}"
                )
            if field.name not in (*free, *cut) and before != now:
                raise ValueError(
                    f"child: its {name} is {quoted(now)}, and {quoted(before)} in the parent"
                )
    theirs, ours = (
        {(kind, stage) for kind, stage, _ in sizes(each) if kind != "squeezed"}
        for each in (parent, child)
    )
    if theirs != ours:  # different modules or shortcuts
        stage = min(index for _, index in theirs ^ ours)
        raise ValueError(
            f"child: its stages[{stage}] has other layers or shortcuts than the parent's: "
            f"{child.stages[stage]}"
        )


def _kept_channels(
    parent: Architecture, child: Architecture, importance: Importance, kept_layers: list[np.ndarray]
) -> dict[Group, np.ndarray]:
    """Return, for each group of the child's channels, their indices in the parent."""
    kept = {}
    # a pooling shortcut always drops the last channels, so the channels cannot be chosen here
    tied_by_place = any(stage.skip == "pool" for stage in child.stages)
    for group, count in sizes(child).items():
        kind, stage, layer = group
        if tied_by_place and kind in ("stem", "output"):
            kept[group] = np.arange(count)
            continue
        source = group if layer < 0 else (kind, stage, int(kept_layers[stage][layer]))
        kept[group] = most_important(importance.channels[source], count)
    return kept


def _kernel(child: Architecture, part: Part) -> int | None:
    """Return the kernel size of a spatial convolution of a stage; None for other parts."""
    field = KERNELS.get(_inside(part)) if part.stage >= 0 else None
    return getattr(child.stages[part.stage], field) if field else None


def _inside(part: Part) -> str:
    """Return the name of a part within its block."""
    return part.name.split(".", 3)[3]


def _taken(
    tensors: Mapping[str, Tensor],
    source: str,
    part: Part,
    kept: Mapping[Group, np.ndarray],
    kernel: int | None,
) -> dict[str, Tensor]:
    """Return the tensors of one part of the child."""
    found = {}
    for name in VECTORS:
        value = tensors.get(f"{source}.{name}")
        if value is None:
            continue
        if part.out is not None:
            value = _selected(value, 0, kept[part.out])
        if name == "weight" and part.inputs is not None:
            value = _selected(value, 1, kept[part.inputs])
        if name == "weight" and kernel is not None:
            cut = (value.shape[-1] - kernel) // 2
            value = value[..., cut : cut + kernel, cut : cut + kernel]
        found[f"{part.name}.{name}"] = value
    if part.kind == "norm" and f"{source}.{COUNTER}" in tensors:
        found[f"{part.name}.{COUNTER}"] = tensors[f"{source}.{COUNTER}"]
    return found


def _selected(value: Tensor, axis: int, indices: np.ndarray) -> Tensor:
    if len(indices) == value.shape[axis]:
        return value
    return value.index_select(axis, torch.as_tensor(indices, device=value.device))
