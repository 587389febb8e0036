"""Compare searches: strategies, seeds or settings, with intervals and a figure.

comparison = compare_searches({"evolution": results, "random": ["runs/search-1", ...]})
print(comparison)
comparison.plot("comparison.png")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.search.config import SearchConfig
from nas.search.result import SearchResult
from nas.search.targets import TARGETS
from vbs.accuracy import standard_error
from vbs.config_file import stored_values
from vbs.figure import label, new_figure, save_png
from vbs.text import quoted

if TYPE_CHECKING:
    import pandas as pd

HISTORY = "history.parquet"
NEEDED = ("reward", "fidelity", "error")
# options that define the reward
REWARDED = (*TARGETS, "reward", "exponent", "also")


class Interval(NamedTuple):
    """A mean over searches with its 95% confidence interval, which is NaN for a single search."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class SearchComparison:
    """Comparison of groups of searches by their best rewards.

    curves  group -> best reward after each evaluation, float64 [searches, evaluations], cut to the
            shortest search of all groups; NaN before the first successful evaluation.
    """

    curves: Mapping[str, np.ndarray]

    @property
    def evaluations(self) -> int:
        """Number of evaluations after which the searches are compared."""
        return next(iter(self.curves.values())).shape[1]

    def best(self, name: str, *, after: int | None = None) -> Interval:
        """Return the best reward of a group after `after` evaluations (None: all)."""
        return interval(self.curves[name][:, (after or self.evaluations) - 1])

    def ranked(self, *, after: int | None = None) -> list[str]:
        """Return the groups by their mean best reward after `after` evaluations, best first."""
        means = {name: self.best(name, after=after).mean for name in self.curves}
        return sorted(
            means, key=lambda name: -means[name] if means[name] == means[name] else math.inf
        )

    def difference(self, first: str, second: str, *, after: int | None = None) -> Interval:
        """Return the best reward of the first group minus that of the second (Welch's interval).

        after  number of evaluations; None: all.
        """
        column = (after or self.evaluations) - 1
        a, b = self.curves[first][:, column], self.curves[second][:, column]
        mean = float(a.mean() - b.mean())
        if min(len(a), len(b)) < 2 or math.isnan(mean):
            return Interval(mean, math.nan, math.nan)
        parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
        if not parts.sum():
            return Interval(mean, mean, mean)
        freedom = parts.sum() ** 2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum()
        half = _quantile(freedom) * math.sqrt(parts.sum())
        return Interval(mean, mean - half, mean + half)

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
        lines = [f"best reward after {self.evaluations:,} evaluations, mean and 95% interval:"]
        order = self.ranked()
        for name in order:
            count = len(self.curves[name])
            searches = f"{count} search{'es' if count > 1 else ''}"
            lines.append(f"  {name:<{width}}  {self.best(name)}, {searches}")
        if len(order) > 1:
            ahead = self.difference(order[0], order[1])
            lines.append(f"  {order[0]} above {order[1]} by {ahead}")
        return "\n".join(lines)

    def plot(self, path: str | Path | None = None) -> Any:
        """Return a matplotlib figure of the mean best reward over evaluations, with 95% bands.

        path  PNG file to save it to; None: not saved.
        """
        figure = new_figure(7, 4.5)
        axes = figure.add_subplot()
        steps = np.unique(np.geomspace(1, self.evaluations, 200).astype(int))
        for name, curves in self.curves.items():
            rows = [interval(curves[:, step - 1]) for step in steps]
            mean, low, high = np.array(rows).T
            (line,) = axes.plot(steps, mean, label=label(f"{name}, {len(curves)} searches"))
            axes.fill_between(steps, low, high, alpha=0.2, color=line.get_color(), lw=0)
        axes.set_xscale("log")
        axes.set_xlabel("evaluations")
        axes.set_ylabel("best reward so far")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        if path is not None:
            save_png(figure, Path(path))
        return figure


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

    Raises ValueError for a group without searches, for a search without a history, and if searches
    have different objectives.
    """
    if not isinstance(searches, Mapping):
        raise TypeError('searches: use a mapping of groups, such as {"evolution": [...]}')
    if not searches:
        raise ValueError("searches: there is no group of searches to compare")
    for name, group in searches.items():
        if isinstance(group, str | Path | SearchResult) or not len(group):
            raise ValueError(f"searches: {name!r} needs a list of searches")
    _check_comparable([search for group in searches.values() for search in group])
    found = {name: [_curve(search) for search in group] for name, group in searches.items()}
    shortest = min(len(curve) for group in found.values() for curve in group)
    return SearchComparison(
        {name: np.array([curve[:shortest] for curve in group]) for name, group in found.items()}
    )


def _check_comparable(searches: Sequence[SearchResult | str | Path]) -> None:
    """Raise ValueError if two searches maximise different rewards."""
    known: dict[tuple[Any, ...], str] = {}
    for search in searches:
        if isinstance(search, SearchResult):
            config, place = search.config, str(search.folder)
        elif isinstance(search, str | Path):
            record, place = Path(search) / "search.json", str(search)
            if not record.is_file():
                continue  # the folder contains a history without options
            values = stored_values(SearchConfig, record, what="search")
            config = SearchConfig(**values)
        else:
            raise TypeError(f"searches: {quoted(search, 60)} is not a result or a folder")
        reward = tuple(getattr(config, name) for name in REWARDED)
        known.setdefault(reward, place)
    if len(known) > 1:
        first, second = list(known.values())[:2]
        raise ValueError(
            f"searches: {first} and {second} maximise different rewards, which cannot be compared"
        )


def _curve(search: SearchResult | str | Path) -> np.ndarray:
    """Return the best reward after each evaluation of one search, float64 [evaluations]."""
    if isinstance(search, SearchResult):
        table, place = search.to_pandas(), str(search.folder)
    else:
        table, place = _read(Path(search)), str(search)
    if not len(table):
        raise ValueError(f"{place}: nothing was evaluated")
    succeeded = (table["fidelity"] >= 1) & (table["error"].astype(str) == "")
    rewards = np.where(succeeded, table["reward"], -np.inf).astype(np.float64)
    best = np.maximum.accumulate(rewards)
    return np.where(np.isfinite(best), best, np.nan)


def _read(folder: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    path = folder / HISTORY
    if not path.is_file():
        raise ValueError(f"{folder} holds no search (there is no {HISTORY} in it)")
    try:
        return pd.read_parquet(path, columns=list(NEEDED))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None


def interval(values: np.ndarray) -> Interval:
    """Return the mean of values [n] with its 95% interval by Student's t."""
    mean = float(np.mean(values))
    if len(values) < 2 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)
    half = _quantile(len(values) - 1) * standard_error(values)
    return Interval(mean, mean - half, mean + half)


def _quantile(freedom: float) -> float:
    """Return the 97.5% quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
