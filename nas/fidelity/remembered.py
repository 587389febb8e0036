"""Answers of comparisons, remembered for searches: `--fidelity auto`."""

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

VERSION = 2  # of the files; others count as missing (1: not scored by the moving average)


@dataclass(frozen=True)
class Extent:
    """How much a comparison has tried: networks with all their seeds, and the longest fidelity."""

    networks: int
    seeds: int
    longest: Fidelity

    def __str__(self) -> str:
        networks, seeds = counted(self.networks, "network"), counted(self.seeds, "seed")
        return f"{networks} x {seeds}, longest {self.longest}"

    def covers(self, other: Extent) -> bool:
        """Whether it is in nothing less: trainings of a fidelity, and images and side of the
        longest."""
        mine, its = self.longest, other.longest
        return (
            self.networks * self.seeds >= other.networks * other.seeds
            and mine.epochs * mine.share >= its.epochs * its.share
            and (mine.resolution or math.inf) >= (its.resolution or math.inf)  # 0: not reduced
        )


class Remembered(NamedTuple):
    """An answer and what it comes from."""

    fidelity: Fidelity | None
    extent: Extent


def recommended(digests: Mapping[str, str], space: SearchSpace, recipe: Recipe) -> Fidelity | None:
    """What the comparisons on this machine found for equal data, space and recipe: the last one,
    or a larger one before it.

    digests  of the data, as in `train.data.Data.settings` or `train.data.summary.DataSummary`.
    recipe   before it is fitted to a fidelity; its seed does not matter.

    None where there was no comparison, or nothing was worth using. The limits of the search do not
    count: the comparison should have been made within similar ones.
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
    """Keep an answer for `recommended`, with details for a reader, unless there is one of a larger
    comparison (`Extent.covers`).

    What became of another answer, as a sentence; "" where there was none. Raises OSError.
    """
    path = path_of(digests, space, recipe)
    before, now = _read(path), Remembered(found, extent)
    if before is not None and not extent.covers(before.extent):
        return (
            f"--fidelity auto stays {_shown(before.fidelity)}, of a larger comparison "
            f"({before.extent}) than this one ({extent}); remove {path} to forget it"
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
        f"--fidelity auto is {_shown(found)} now; before it was {_shown(before.fidelity)}, of a "
        f"comparison of {before.extent}"
    )


def path_of(digests: Mapping[str, str], space: SearchSpace, recipe: Recipe) -> Path:
    """The file of an answer, beside the results that searches share."""
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
    """What is kept in a file; None where that is nothing, or damaged."""
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
    return "nothing" if fidelity is None else str(fidelity)
