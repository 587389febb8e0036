"""Stored recommendations of comparisons, which searches use with `--fidelity auto`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nas.evaluators.proxy import Fidelity
from nas.storage.cache import default_folder, key_of
from search_spaces.space import SearchSpace
from train.recipe import NORM_STATISTICS, Recipe
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.text import counted

VERSION = 2  # version of the files; others are ignored (version 1 did not score moving averages)


@dataclass(frozen=True)
class Extent:
    """Size of a comparison: numbers of networks and seeds, and the longest fidelity."""

    networks: int
    seeds: int
    longest: Fidelity

    def __str__(self) -> str:
        networks, seeds = counted(self.networks, "network"), counted(self.seeds, "seed")
        return f"{networks} x {seeds}, longest {self.longest}"

    def covers(self, other: Extent) -> bool:
        """Return whether this comparison is at least as large as another one.

        The criteria are the trainings of a fidelity, and the images and the side of the longest.
        """
        mine, its = self.longest, other.longest
        return (
            self.networks * self.seeds >= other.networks * other.seeds
            and mine.epochs * mine.share >= its.epochs * its.share
            and (mine.resolution or math.inf) >= (its.resolution or math.inf)  # 0: not reduced
        )


class Remembered(NamedTuple):
    """A recommended fidelity (None: none is worth using), and the size of its comparison."""

    fidelity: Fidelity | None
    extent: Extent


def recommended(digests: Mapping[str, str], space: SearchSpace, recipe: Recipe) -> Fidelity | None:
    """Return the fidelity that comparisons of the same data, space and recipe recommended.

    The comparisons have run on this machine. The last one counts, unless an earlier one was larger.
    Limits are not checked; the comparison should have had limits similar to those of the search.

    digests  digests of the data, from `train.data.Data.settings` or
             `train.data.summary.DataSummary`.
    recipe   recipe that is not fitted to a fidelity; its seed is ignored.

    Returns None if there was no comparison, or no fidelity was worth using.
    """
    known = _read(path_of(digests, space, recipe))
    return None if known is None else known.fidelity


def remember(
    found: Fidelity | None,
    digests: Mapping[str, str],
    space: SearchSpace,
    recipe: Recipe,
    *,
    extent: Extent,
    details: Mapping[str, Any],
) -> str:
    """Store a recommendation for `recommended`, unless there is one of a larger comparison.

    found    the recommended fidelity; None: no fidelity is worth using.
    extent   size of the comparison; see `Extent.covers`.
    details  further entries of the file for readers.

    Returns a sentence if an earlier recommendation differs or is kept, otherwise "". Raises OSError
    if the file cannot be written.
    """
    path = path_of(digests, space, recipe)
    before, now = _read(path), Remembered(found, extent)
    if before is not None and not extent.covers(before.extent):
        return (
            f"--fidelity auto remains {_shown(before.fidelity)} from a larger comparison "
            f"({before.extent}) than this one ({extent}); remove {path} to delete it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "version": VERSION,
            "fidelity": None if found is None else str(found),
            "networks": extent.networks,
            "seeds": extent.seeds,
            "longest": str(extent.longest),
            **details,
        },
    )
    if before is None or before == now:
        return ""
    return (
        f"--fidelity auto is now {_shown(found)}; before it was {_shown(before.fidelity)}, from a "
        f"comparison of {before.extent}"
    )


def path_of(digests: Mapping[str, str], space: SearchSpace, recipe: Recipe) -> Path:
    """Return the file of a recommendation, next to the folder of cached results."""
    fields = recipe.to_dict()
    for unimportant in ("name", "seed"):
        del fields[unimportant]
    content = {
        "digests": dict(digests),
        "space": space.name,
        "settings": space.settings,
        "choices": space.choices,
        "recipe": fields,
        "norm_statistics": NORM_STATISTICS,
    }
    return default_folder().with_name("fidelity") / f"{key_of(content)}.json"


def _read(path: Path) -> Remembered | None:
    """Return the recommendation in a file; None if it is missing or damaged."""
    try:
        content = parse_json(path.read_bytes())
        counts = content["networks"], content["seeds"]
        if content["version"] != VERSION or not all(type(each) is int for each in counts):
            return None
        text = content["fidelity"]
        fidelity = None if text is None else Fidelity.parse(text, epochs=0)
        return Remembered(fidelity, Extent(*counts, Fidelity.parse(content["longest"], epochs=0)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _shown(fidelity: Fidelity | None) -> str:
    return "undefined" if fidelity is None else str(fidelity)
