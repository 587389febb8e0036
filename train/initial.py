"""Initial weights of a network, copied from a run, an export, timm or another package.

All tensors must match by name and shape. Only the classifier may differ: it keeps its random
weights if the number of classes differs. `train.weight_sources` and `train.timm_source` read the
weights; `train.parents` loads a pretrained network together with its architecture.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import Network
from search_spaces.zoo import NETWORKS
from train.checkpoint import check_finite, check_type
from train.weight_sources import COUNTER, Source, Three, read_package, read_path
from vbs.text import printable, quoted

CLASSIFIER = ("classifier.weight", "classifier.bias")
# fields of an architecture that do not change the function that the weights compute
FREE = ("resolution", "classes", "bn_momentum")


@dataclass(frozen=True)
class Initial:
    """A record of the weights that a network was initialised with.

    source     the source as the user named it.
    loaded     number of tensors copied.
    fresh      names of the tensors that kept their random values: the source lacks them or has
               another number of classes.
    mean, std  of the source's input channels, for images in [0, 1]; None if unknown.
    differs    fields in which the architectures differ although all shapes match, one line each;
               the weights are then a worse start. Also empty if the source's architecture is
               unknown.
    """

    source: str
    loaded: int
    fresh: tuple[str, ...]
    mean: Three | None
    std: Three | None
    differs: tuple[str, ...]

    def __str__(self) -> str:
        new = f"new: {', '.join(self.fresh)}" if self.fresh else "classifier included"
        lines = [f"initial weights: {self.loaded} tensors of {self.source}; {new}"]
        if self.mean is None:
            lines.append("its preprocessing is unknown")
        return "; ".join([*lines, *self.differs])


def initialise(network: Network, source: str) -> Initial:
    """Copy pretrained weights into `network`.

    source  folder of a run or of an export; a .safetensors file with timm's names; timm:NAME
            (pretrained weights of timm, which are downloaded); package:NAME, a name of
            `train.weight_sources.PACKAGES`.

    The network is unchanged unless all tensors match. The input resolution may differ. Raises
    ValueError (one line) if the weights are not available or do not match.
    """
    try:
        return _initialise(network, source)
    except ValueError as error:
        raise ValueError(f"init: {printable(error)}") from None


def _initialise(network: Network, source: str) -> Initial:
    kind, colon, name = source.partition(":")
    if colon and kind == "timm":
        found = _timm(name, network)
    elif colon and kind == "package":
        found = read_package(name)
    else:
        found = read_path(Path(source))
    fresh = _check(network, found, source)
    own = network.state_dict()
    taken = {name: found.tensors[name] for name in own if name in found.tensors}
    taken = {name: value for name, value in taken.items() if name not in fresh}
    check_finite(taken, source=source)
    network.load_state_dict({**own, **taken})
    return Initial(
        source,
        len(taken),
        fresh,
        found.mean,
        found.std,
        _differences(found.architecture, network.architecture),
    )


def _timm(name: str, network: Network) -> Source:
    """Return timm's pretrained weights; shapes are compared before anything is downloaded."""
    from train.timm_source import architecture_of, as_source, downloaded, pretrained_config, shapes

    config, model, known = pretrained_config(name), shapes(name), None
    with contextlib.suppress(ValueError):  # the shapes alone decide whether the weights match
        known = architecture_of(name, model, config.input_size[-1])
    _check(network, as_source(model.state_dict(), config, known), f"timm:{name}")
    return as_source(downloaded(name, config), config, known)


def _check(network: Network, found: Source, source: str) -> tuple[str, ...]:
    """Return the names that stay random; raise ValueError for the first tensor that mismatches."""
    own = network.state_dict()
    fresh = []
    for name, value in own.items():
        theirs = found.tensors.get(name)
        if name.endswith(COUNTER) and theirs is None:
            continue
        if name in CLASSIFIER and _of_other_classes(theirs, value):
            fresh.append(name)
            continue
        if theirs is None:
            raise _misfit(network, found, f"{source} lacks tensor {quoted(name)}")
        if theirs.shape != value.shape:
            shapes = f"{list(theirs.shape)} in {source}, {list(value.shape)} in the network"
            raise _misfit(network, found, f"tensor {quoted(name)} is {shapes}")
        check_type(name, theirs, value, source=source)
    for name in found.tensors:
        if name not in own:
            raise _misfit(network, found, f"the network lacks tensor {quoted(name)} of {source}")
    return CLASSIFIER if fresh else ()


def _of_other_classes(theirs: Tensor | None, ours: Tensor) -> bool:
    if theirs is None:
        return True
    return theirs.shape[:1] != ours.shape[:1] and theirs.shape[1:] == ours.shape[1:]


def _misfit(network: Network, found: Source, what: str) -> ValueError:
    theirs = (
        f"the weights are those of {_called(found.architecture)}, the network"
        if found.architecture
        else "the network"
    )
    return ValueError(f"{what}; {theirs} is {_called(network.architecture)}")


def _called(architecture: Architecture) -> str:
    """Return the network's name in the zoo, for any classes and resolution, else its key."""
    free = {name: getattr(architecture, name) for name in FREE}
    for name, make in NETWORKS.items():
        if dataclasses.replace(make(), **free) == architecture:
            return name
    return f"network {architecture.key}"


def _differences(theirs: Architecture | None, ours: Architecture) -> tuple[str, ...]:
    """Return the fields, also of stages, in which architectures of equal shapes differ."""
    if theirs is None:
        return ()
    pairs: list[tuple[str, Any, Any]] = [("", theirs, ours)]
    for index, (one, other) in enumerate(zip(theirs.stages, ours.stages, strict=False)):
        pairs.append((f"stages[{index}].", one, other))
    found = []
    for prefix, one, other in pairs:
        for field in dataclasses.fields(one):
            before, now = getattr(one, field.name), getattr(other, field.name)
            if field.name not in (*FREE, "stages") and before != now:
                found.append(
                    f"{prefix}{field.name} is {quoted(now)}, in the source {quoted(before)}"
                )
    return tuple(found)
