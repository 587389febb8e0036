"""Initial weights from elsewhere: of a run, of an export, of timm, of a package.

Everything must fit by name and shape except the classifier, which stays fresh where the classes are
others in number. `train.weight_sources` and `train.timm_source` read the weights.
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
# what does not change the function that weights stand for
FREE = ("resolution", "classes", "bn_momentum")


@dataclass(frozen=True)
class Initial:
    """What a network was given.

    source     as it was requested.
    loaded     number of tensors taken over.
    fresh      names of those that were not there, or of other classes.
    mean, std  of the source's input channels, in units of [0, 1] images; None where unknown.
    differs    conventions in which the networks differ although all shapes fit, a line each; the
               weights are a worse start then. Empty too where the source's network is unknown.
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
    """Copy weights into `network`; ValueError, one line, where they are not to be had or not fit.

    source  folder of a run or of an export; a .safetensors file with timm's names; timm:NAME,
            timm's pretrained weights, which are downloaded; package:NAME, of
            `train.weight_sources.PACKAGES`.

    The network is changed only where everything fits. The input side may be another.
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
    """timm's pretrained weights; that they fit is checked before they are downloaded."""
    from train.timm_source import architecture_of, as_source, downloaded, pretrained_config, shapes

    config, model, known = pretrained_config(name), shapes(name), None
    with contextlib.suppress(ValueError):  # names and shapes say whether the tensors fit
        known = architecture_of(name, model, config.input_size[-1])
    _check(network, as_source(model.state_dict(), config, known), f"timm:{name}")
    return as_source(downloaded(name, config), config, known)


def _check(network: Network, found: Source, source: str) -> tuple[str, ...]:
    """Names of the tensors that stay fresh; ValueError names the first that does not fit."""
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
            shapes = f"{list(theirs.shape)} in {source} and {list(value.shape)} here"
            raise _misfit(network, found, f"tensor {quoted(name)} is {shapes}")
        check_type(name, theirs, value, source=source)
    for name in found.tensors:
        if name not in own:
            raise _misfit(network, found, f"{source} has a tensor {quoted(name)} that is not here")
    return CLASSIFIER if fresh else ()


def _of_other_classes(theirs: Tensor | None, ours: Tensor) -> bool:
    if theirs is None:
        return True
    return theirs.shape[:1] != ours.shape[:1] and theirs.shape[1:] == ours.shape[1:]


def _misfit(network: Network, found: Source, what: str) -> ValueError:
    theirs = f"that is {_called(found.architecture)}, this" if found.architecture else "the network"
    return ValueError(f"{what}; {theirs} is {_called(network.architecture)}")


def _called(architecture: Architecture) -> str:
    """The zoo's name of a network with any classes and side, else its key."""
    free = {name: getattr(architecture, name) for name in FREE}
    for name, make in NETWORKS.items():
        if dataclasses.replace(make(), **free) == architecture:
            return name
    return f"network {architecture.key}"


def _differences(theirs: Architecture | None, ours: Architecture) -> tuple[str, ...]:
    """Fields, of stages too, that differ between networks of equal shapes."""
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
                found.append(f"{prefix}{field.name} was {quoted(before)}, here {quoted(now)}")
    return tuple(found)
