"""Compare searches: strategies, seeds or settings, with intervals and a figure.

comparison = compare_searches({"evolution": results, "random": ["runs/search-1", ...]})
print(comparison)
comparison.plot("comparison.png")
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.compare import picture
from nas.compare.finished import Finished, check_comparable, finished
from nas.compare.interval import Interval, interval, welch
from nas.search.result import SearchResult
from vbs.text import counted, shortened

if TYPE_CHECKING:
    import pandas as pd

LISTED = 3  # searches named in a note
ALONE = "there is only one group of searches; a comparison needs at least two"


@dataclass(frozen=True)
class SearchComparison:
    """Comparison of groups of searches by their best rewards.

    curves  group -> best reward after each evaluation, float64 [searches, evaluations], cut to the
            shortest search of all groups; NaN before the first successful evaluation.
    seeds   group -> seeds of its searches, in their order; groups whose seeds are unknown are left
            out.
    notes   lines on searches that ended early or are unfinished.
    """

    curves: Mapping[str, np.ndarray]
    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def evaluations(self) -> int:
        """Number of evaluations after which the searches are compared."""
        return next(iter(self.curves.values())).shape[1]

    def best(self, name: str, *, after: int | None = None) -> Interval:
        """Return the best reward of a group after `after` evaluations (None: all)."""
        return interval(self.curves[name][:, (after or self.evaluations) - 1])

    def ranked(self, *, after: int | None = None) -> list[str]:
        """Return the groups by their mean best reward after `after` evaluations, best first.

        Groups with a search that has no successful evaluation yet are last.
        """
        means = {name: self.best(name, after=after).mean for name in self.curves}
        return sorted(means, key=lambda name: (math.isnan(means[name]), -means[name]))

    def paired(self, first: str, second: str) -> bool:
        """Return whether two groups have the same seeds, each once.

        Searches with the same seed are not independent: strategies that begin with random networks
        evaluate the same ones.
        """
        a, b = self.seeds.get(first, ()), self.seeds.get(second, ())
        return bool(a) and sorted(a) == sorted(b) and len({*a}) == len(a)

    def difference(self, first: str, second: str, *, after: int | None = None) -> Interval:
        """Return the best reward of the first group minus that of the second.

        The interval is that of the paired t-test by seed if both groups have the same seeds, see
        `paired`, and otherwise Welch's.

        after  number of evaluations; None: all.
        """
        column = (after or self.evaluations) - 1
        a, b = self.curves[first][:, column], self.curves[second][:, column]
        if self.paired(first, second):
            order = [np.argsort(self.seeds[name]) for name in (first, second)]
            return interval(a[order[0]] - b[order[1]])
        return welch(a, b)

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a row per group: searches, mean best reward, and its interval."""
        import pandas as pd

        rows = {
            name: {"searches": len(curves), **self.best(name)._asdict()}
            for name, curves in self.curves.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        width = max(map(len, self.curves))
        after = counted(self.evaluations, "evaluation")
        lines = [f"best reward after {after}, mean and 95% interval:"]
        order = self.ranked()
        for name in order:
            searches = picture.counted_searches(len(self.curves[name]))
            lines.append(f"  {name:<{width}}  {self.best(name)}, {searches}")
        if len(order) > 1:
            ahead = self.difference(order[0], order[1])
            if not math.isnan(ahead.mean):
                kind = "" if math.isnan(ahead.low) else f", {self.kind(*order[:2])}"
                lines.append(f"  {order[0]} above {order[1]} by {ahead}{kind}")
        else:
            lines.append(f"  {ALONE}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def kind(self, first: str, second: str) -> str:
        """Return the kind of the interval of a difference."""
        return "paired by seed" if self.paired(first, second) else "Welch's interval"

    def plot(self, path: str | Path | None = None) -> Any:
        """Return a matplotlib figure of the mean best reward over evaluations, with 95% bands.

        path  PNG file to save it to; None: not saved.
        """
        curves = {name: self.curves[name] for name in self.ranked()}
        return picture.draw(None if path is None else Path(path), curves)


def marks(evaluations: int) -> list[int]:
    """Return numbers of evaluations at which groups are compared: up to 4, the last is all."""
    steps = [factor * 10**power for power in range(1, 10) for factor in (1, 2, 5)]
    return [*[step for step in steps if step < evaluations][-3:], evaluations]


def compare_searches(
    searches: Mapping[str, Sequence[SearchResult | str | Path]],
) -> SearchComparison:
    """Compare groups of searches by the best reward of each search.

    searches  group, such as a strategy -> its searches (results of `run_search`, or folders), one
              for each seed.

    Raises ValueError for a group without searches, for a search without a history or without a
    successful evaluation, and if searches have different objectives, evaluators or data.
    """
    if not isinstance(searches, Mapping):
        raise TypeError('searches: use a mapping of groups, such as {"evolution": [...]}')
    if not searches:
        raise ValueError("searches: there is no group of searches to compare")
    for name, group in searches.items():
        if isinstance(group, str | Path | SearchResult) or not len(group):
            raise ValueError(f"searches: {name!r} needs a list of searches")
    found = {name: [finished(search) for search in group] for name, group in searches.items()}
    every = [each for group in found.values() for each in group]
    check_comparable(every)
    shortest = min(len(each.curve) for each in every)
    curves = {name: np.array([each.curve[:shortest] for each in of]) for name, of in found.items()}
    return SearchComparison(
        curves,
        {
            name: tuple(each.config.seed for each in of if each.config is not None)
            for name, of in found.items()
            if all(each.config is not None for each in of)
        },
        (*_notes(every), *_equal_groups(curves)),
    )


def _notes(searches: Sequence[Finished]) -> tuple[str, ...]:
    """Return lines on searches that ended early, and on the search that limits the others."""
    endings = [each.ending for each in searches if each.ending]
    notes = endings[:LISTED]
    if len(endings) > LISTED:
        notes.append(f"{len(endings) - LISTED:,} more ended early")
    lengths = [len(each.curve) for each in searches]
    if min(lengths) < max(lengths):
        shortest = searches[lengths.index(min(lengths))]
        notes.append(
            f"the searches are compared after {min(lengths):,} of {max(lengths):,} evaluations, "
            f"because {shortest.place} has no more"
        )
    return tuple(notes)


def _equal_groups(curves: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield a line for each pair of groups with equal curves.

    It is not a coincidence: several strategies begin with the random networks of the seed.
    """
    for first, second in itertools.combinations(curves, 2):
        if np.array_equal(curves[first], curves[second], equal_nan=True):
            yield (
                f"{shortened(first, 40)} and {shortened(second, 40)} have equal results; some "
                "strategies begin with random networks (evolution: 100), so use a larger --budget"
            )
