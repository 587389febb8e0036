"""Registry of all search spaces and published networks by name."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any, cast

from search_spaces.architecture import Architecture
from search_spaces.zoo import NETWORKS
from vbs.plugins import call_with, is_reference, load_object
from vbs.text import one_of, quoted, shortened

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace
    from search_spaces.staged import StagedSpace

# name -> function that returns the space, in the form that `vbs.plugins.load_object` reads
SPACES: dict[str, str] = {
    "efficientnet": "search_spaces.efficientnet:efficientnet",
    "efficientnetv2": "search_spaces.efficientnetv2:efficientnetv2",
    "mnasnet": "search_spaces.mnasnet:mnasnet",
    "mobilenetv4": "search_spaces.mobilenetv4:mobilenetv4",
    "compact": "search_spaces.compact:compact",
}


SIZES = ("resolution", "classes", "width", "small_images")  # keyword arguments of a space


def space(
    name: str,
    *,
    resolution: int = 224,
    classes: int = 1000,
    width: float = 1.0,
    small_images: bool = False,
) -> StagedSpace:
    """Return the search space with this name.

    name          a name in `SPACES`, or a reference to your own space, "package.module:Name" or
                  "path/to/file.py:Name": a `SearchSpace`, or a function that returns one and
                  accepts any of the other arguments.
    resolution    input side of the networks in pixels.
    classes       number of classes.
    width         factor of all channels.
    small_images  whether two stages lose their stride, see `search_spaces.scale.for_small_images`.

    Raises ValueError for an unknown name; the message suggests similar names.
    """
    sizes = {
        "resolution": resolution,
        "classes": classes,
        "width": width,
        "small_images": small_images,
    }
    if not is_reference(name, SPACES):
        make = load_object(SPACES[one_of("space", name, SPACES)], what="space")
        return cast("StagedSpace", make(**sizes))
    import numpy as np

    from search_spaces.space import SearchSpace

    make = load_object(name, what="space")
    sizes = {size: sizes[size] for size in _keywords(make)}
    made = make if isinstance(make, SearchSpace) else _called(name, make, sizes)
    network = made.decode(made.sample(1, np.random.default_rng(0))[0])
    if isinstance(network, Architecture):  # the commands read these settings
        sizes |= {"resolution": network.resolution, "classes": network.classes}
    made = copy.copy(made)  # it may be a global object of the module
    made.settings = {**sizes, **made.settings}
    return cast("StagedSpace", made)  # functions that need stages check for them


def size_options(name: str) -> tuple[str, ...]:
    """Return those of `SIZES` that the space with this name accepts."""
    return _keywords(load_object(name, what="space")) if is_reference(name, SPACES) else SIZES


def _keywords(make: Any) -> tuple[str, ...]:
    from search_spaces.space import SearchSpace

    if isinstance(make, SearchSpace) or not callable(make):
        return ()
    parameters = inspect.signature(make).parameters
    every = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return SIZES if every else tuple(name for name in SIZES if name in parameters)


def _called(name: str, make: Any, sizes: dict[str, Any]) -> SearchSpace:
    from search_spaces.space import SearchSpace

    made = call_with(make, what="space", **sizes) if callable(make) else make
    if not isinstance(made, SearchSpace):
        raise ValueError(
            f"space: {shortened(name)} is {quoted(made, 60)}, not a SearchSpace or a function that "
            "returns one"
        )
    return made


def zoo(name: str) -> Architecture:
    """Return the published network with this timm name.

    Raises ValueError for an unknown name; the message suggests similar names.
    """
    return NETWORKS[one_of("network", name, NETWORKS)]()
