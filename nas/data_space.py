"""Search spaces that fit a data set: its number of classes and the side of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nas.evaluators.surrogate import load_surrogate
from nas.options import SpaceOptions
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from vbs.text import shell_word

if TYPE_CHECKING:
    from train.data import Data
    from train.data.summary import DataSummary

S = TypeVar("S", bound=SpaceOptions)
SMALL = 64  # px up to which networks use the small-image form
CLASSES = 1000  # default number of classes without images
USUAL = 224  # px for images of several sizes, and the largest default side


def space_for(
    data: Data | DataSummary,
    name: str,
    *,
    resolution: int | None = None,
    classes: int | None = None,
    width: float = 1.0,
    small_images: bool | None = None,
) -> StagedSpace:
    """Return the named space for the classes and images of a data set.

    name, width   as in `search_spaces.catalog.space`.
    resolution    input side in pixels. None: the side that all images share, at most 224; 224 if
                  their sides differ.
    classes       number of classes. None: that of the data set. Raises ValueError if it differs.
    small_images  whether networks have fewer strides. None: if the side is at most 64 px.
    """
    known = len(data.classes)
    if classes is not None and classes != known:
        raise ValueError(f"classes: {classes} is not allowed; the data have {known} classes")
    if resolution is None:
        resolution = fitting_side(data)
    if small_images is None:
        small_images = resolution <= SMALL
    return space(name, resolution=resolution, classes=known, width=width, small_images=small_images)


def space_without_images(options: S) -> tuple[S, SearchSpace]:
    """Return the options with all sizes set, and their space, for commands without images.

    The default space is `efficientnet` for images of 224 px and 1,000 classes. Raises ValueError
    for a size that a user's space does not accept.
    """
    options.check_sizes()
    name, side = options.space or "efficientnet", options.resolution or USUAL
    found = space(
        name,
        resolution=side,
        classes=options.classes or CLASSES,
        width=options.width,
        small_images=side <= SMALL if options.small_images is None else options.small_images,
    )
    return options.resolved(name, found), found


def fitting_side(data: Data | DataSummary) -> int:
    """Return the default input side in pixels for a data set, at most 224."""
    return min(side_of(data) or USUAL, USUAL)


def side_of(data: Data | DataSummary) -> int | None:
    """Return the longer side in pixels that all images share.

    None if the sides differ or the images are streamed.
    """
    from train.data.in_memory import MemorySplit
    from train.data.summary import DataSummary

    if isinstance(data, DataSummary):
        return data.side
    if isinstance(data.train, MemorySplit):
        return max(data.train.pixels.images.shape[-2:])
    return None


def space_form(name: str, settings: Mapping[str, Any], *, classes: bool = True) -> str:
    """Return the options of a space and its sizes, e.g. "--space compact --resolution 32".

    settings  `SearchSpace.settings`; a user's own space may have none.
    classes   whether to include the number of classes. A search on images takes it from the images.
    """
    side = settings.get("resolution", USUAL)
    known, width = settings.get("classes", CLASSES), settings.get("width", 1.0)
    small = settings.get("small_images", side <= SMALL)
    words = [f"--space {shell_word(name)}"]
    if side != USUAL or not classes:
        words.append(f"--resolution {side}")
    if classes and known != CLASSES:
        words.append(f"--classes {known}")
    if width != 1.0:
        words.append(f"--width {width}")
    if small != (side <= SMALL):
        words.append("--small-images" if small else "--no-small-images")
    return " ".join(words)


def search_form(name: str, settings: Mapping[str, Any]) -> str:
    """Return the options of `nas.search` for a space.

    If the surrogate does not cover the space, they select an evaluator that trains on images.
    """
    surrogate = load_surrogate()
    if (name, dict(settings)) == (surrogate.space, surrogate.settings):
        return space_form(name, settings)
    return f"--evaluator proxy --data imagefolder:DIR {space_form(name, settings, classes=False)}"
