"""The space of all sub-networks of a parent network, which inherit its trained weights.

Each stage decides its layers, kernel, expansion, output channels and squeeze-and-excitation; a
universal inverted bottleneck also decides the kernel before its expansion ("a"). A part that the
parent lacks is never added. Stem channels, head channels and the input resolution are decisions
too. No option is larger than the parent's, so that every network of the space can inherit its
weights from the parent (`train.inherit`). The parent itself is in the space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from search_spaces.architecture import Architecture, Stage
from search_spaces.scale import Rounding, round_channels
from search_spaces.staged import StagedSpace

NAME = "parent"
SHARES = (1.0, 0.75, 0.5)  # of the parent's channels
HEAD_SHARES = (1.0, 0.5, 0.25)
LEAST_SIDE = 32  # smallest side in pixels, unless the parent's side is smaller
SMALLEST_SHARE = 1 / 3  # smallest share of the parent's side
FINE_SIDE = 160  # pixels; smaller sides are multiples of 8, others multiples of 16
KERNELS = (3, 5, 7)
_EXPANDS = (2, 3, 4, 6)


def parent_space(parent: Architecture) -> StagedSpace:
    """Return the space of the sub-networks of `parent`, at its resolution and smaller ones.

    Channels are multiples of 8 if those of the parent are. Stem and stages have at least half of
    the parent's channels, the head at least a quarter. Costs are exact, from tables, at every
    resolution.
    """
    tied = _tied(parent)
    choices: dict[str, tuple] = {
        "resolution": resolutions(parent),
        "stem": _channels(parent.stem, SHARES),
    }
    for index, stage in enumerate(parent.stages):
        for letter, options in _options(stage).items():
            if letter != "c" or index not in tied:
                choices[f"block{index}_{letter}"] = options
    _keep_shortcuts(parent, choices)
    if parent.head:
        choices["head"] = _channels(parent.head, HEAD_SHARES)

    def stage_of(index: int, own: dict[str, Any]) -> Stage:
        return replace(
            parent.stages[index],
            layers=own["l"],
            kernel=own["k"],
            expand=own["e"],
            channels=own.get("c", parent.stages[index].channels),
            se=own["se"],
            start_kernel=own.get("a", parent.stages[index].start_kernel),
        )

    frame = {
        field.name: getattr(parent, field.name)
        for field in fields(parent)
        if field.name != "stages" and field.name not in choices
    }
    settings = {
        "resolution": parent.resolution,
        "classes": parent.classes,
        "parent": parent.key,
    }
    return StagedSpace(NAME, choices, stage_of, frame=frame, tied=tied, settings=settings)


def resolutions(parent: Architecture) -> tuple[int, ...]:
    """Return input sides in pixels from the parent's down to a third of it, largest first."""
    side = parent.resolution
    step = 16 if side >= FINE_SIDE else 8
    least = max(min(LEAST_SIDE, side), side * SMALLEST_SHARE, total_stride(parent))
    below = range((side - 1) // step * step, 0, -step)
    return (side, *(each for each in below if each >= least))


def within_parent(network: Architecture, parent: Architecture) -> Architecture | None:
    """Return the network with its layers, channels and pixels limited to those of the parent.

    Both have the same stages; kernels, expansions and squeeze-and-excitation are not changed.
    None if the first layer of a stage would gain or lose a shortcut compared to the parent, so
    that it could not inherit the weights.
    """
    pairs = zip(network.stages, parent.stages, strict=True)
    found = replace(
        network,
        stem=min(network.stem, parent.stem),
        head=min(network.head, parent.head),
        resolution=min(network.resolution, parent.resolution),
        stages=tuple(
            replace(
                own,
                layers=min(own.layers, theirs.layers),
                channels=min(own.channels, theirs.channels),
            )
            for own, theirs in pairs
        ),
    )
    return found if _first_shortcuts(found) == _first_shortcuts(parent) else None


def _first_shortcuts(network: Architecture) -> list[bool]:
    """Return whether the first layer of each stage keeps the channels and the size."""
    before = [network.stem, *(stage.channels for stage in network.stages)]
    return [
        stage.stride == 1 and stage.channels == channels
        for stage, channels in zip(network.stages, before, strict=False)
    ]


def _tied(parent: Architecture) -> set[int]:
    """Return the indices of stages whose channels equal those of the stage they are joined to."""
    shortcuts = _first_shortcuts(parent)
    return {index for index, stage in enumerate(parent.stages) if stage.joined and shortcuts[index]}


def total_stride(network: Architecture) -> int:
    """Return the total stride: input pixels per pixel before the classifier, along one side."""
    stride = network.stem_stride * (2 if network.stem_pool else 1)
    for stage in network.stages:
        stride *= stage.stride
    return stride


def _keep_shortcuts(parent: Architecture, choices: dict[str, tuple]) -> None:
    """Restrict channels so that the first layers of stages have the same shortcuts as the parent.

    If such a layer has a shortcut, its input and output channels are fixed. If it has none despite
    a stride of 1, options that would make its input and output channels equal are removed.
    """
    before, name = parent.stem, "stem"
    tied = _tied(parent)
    for index, stage in enumerate(parent.stages):
        if index in tied:
            continue
        own = f"block{index}_c"
        if stage.op == "identity" or (stage.stride == 1 and stage.channels == before):
            choices[name], choices[own] = (before,), (before,)
        elif stage.stride == 1:
            first, *others = choices[name]
            kept = (each for each in others if each not in choices[own])
            choices[name] = (first, *kept)
            choices[own] = tuple(each for each in choices[own] if each != first)
        before, name = stage.channels, own


def _options(stage: Stage) -> dict[str, tuple]:
    """Return the options of a stage's decisions, the parent's own first."""
    fixed = stage.op in ("identity", "bottleneck")
    smaller = [each for each in reversed(_EXPANDS) if 1 < each < stage.expand]
    multiple = int(stage.expand) if stage.op == "bottleneck" else 1
    channels = _channels(stage.channels, SHARES, multiple=multiple)
    return {
        "l": tuple(range(stage.layers, 0, -1)),
        "k": (stage.kernel,) if stage.op == "identity" else _kernels(stage.kernel),
        **({"a": _kernels(stage.start_kernel)} if stage.op == "uib" else {}),
        "e": (stage.expand, *(() if fixed else smaller)),
        "c": (stage.channels,) if stage.op == "identity" else channels,
        "se": (stage.se, 0.0) if stage.se else (0.0,),
    }


def _kernels(kernel: int) -> tuple[int, ...]:
    """Return a kernel and all smaller ones, largest first."""
    return (kernel, *(each for each in reversed(KERNELS) if each < kernel))


def _channels(parent: int, shares: Iterable[float], *, multiple: int = 1) -> tuple[int, ...]:
    """Return distinct channels near these shares of the parent's, largest first."""
    step = 8 if parent % 8 == 0 else 1
    rounding = Rounding(round_to=step * multiple)
    found = {round_channels(parent, share, rounding) for share in shares if share < 1}
    return (parent, *sorted((each for each in found if each < parent), reverse=True))
