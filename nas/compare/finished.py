"""Finished searches: their curves, and checks that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.options import SpaceOptions, StudyOptions
from nas.search.config import SearchConfig
from nas.search.result import SearchResult
from nas.search.targets import TARGETS
from train.options import WorkerOptions
from vbs.config import flag, options
from vbs.config_file import recorded_values
from vbs.console import warn
from vbs.json_text import parse_json
from vbs.options import option_words
from vbs.text import counted, quoted, shortened

if TYPE_CHECKING:
    import pandas as pd

SEARCH, HISTORY, COMPARISON = "search.json", "history.parquet", "comparison.json"
NEEDED = ("reward", "fidelity", "error")
# options that define the reward
REWARDED = (*TARGETS, "reward", "exponent", "also")
# options in which compared searches may differ, besides those that a resumed search may change
FREE = (
    *("strategy", "seed", "scheduler", "grace", "factor", "scores", "finalists", "repeats"),
    *options(StudyOptions),
    *options(WorkerOptions),
)
SPACE = (*options(SpaceOptions), "activations")  # options of the space, which give a warning
DIGESTS = {
    "table_sha256": "table of measured networks",
    "data_sha256": "images",
    "devices_sha256": "devices",
    "parent_sha256": "parent",
    "times_sha256": "measured times",
}
# status -> reason why a search evaluated fewer networks than its budget
REASONS = {
    "exhausted": "the strategy proposed no new network",
    "out of time": "--max-time ended it",
    "interrupted": "it was interrupted",
    "failed": "it failed",
    "running": "it is running or was killed",
}


class Finished(NamedTuple):
    """A search to compare.

    place    its folder, for messages.
    curve    best reward after each evaluation, float64 [evaluations]; NaN before the first
             successful evaluation.
    config   None if the folder has no record.
    status   of the record; "" without a record.
    digests  of the input files.
    """

    place: str
    curve: np.ndarray
    config: SearchConfig | None
    status: str
    digests: dict[str, Any]

    @property
    def ending(self) -> str:
        """A line about a search that is unfinished or evaluated less than its budget; "": none."""
        budget = self.config.budget if self.config is not None else None
        early = budget is not None and len(self.curve) < budget
        if not early and self.status in ("", "finished", "exhausted", "out of time"):
            return ""
        of = f" of {budget:,}" if early else ""
        count = counted(budget if early and budget else len(self.curve), "evaluation")
        after = f"{len(self.curve):,}{of} {count.rpartition(' ')[2]}"
        reason = REASONS.get(self.status, f"its status is {shortened(self.status, 20)}")
        return f"{self.place} ended after {after}: {reason}"


class Stored(NamedTuple):
    """The content of search.json."""

    config: SearchConfig
    status: str
    digests: dict[str, Any]


def read_stored(folder: Path) -> Stored | None:
    """Return the record of the search in a folder, None if there is none.

    Raises ValueError if it cannot be read.
    """
    path = folder / SEARCH
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_bytes())
        config = SearchConfig(**recorded_values(SearchConfig, content, str(path)))
        return Stored(config, str(content["status"]), dict(content.get("digests") or {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({_reason(error)})") from None


def finished(search: SearchResult | str | Path) -> Finished:
    """Read a search.

    Raises ValueError if it cannot be read or has no successful evaluation, TypeError for anything
    that is not a search.
    """
    if isinstance(search, SearchResult):
        place, table = str(search.folder), search.to_pandas()
        known = read_stored(search.folder)
        stored: Stored | None = Stored(
            search.config, search.status, {} if known is None else known.digests
        )
    elif isinstance(search, str | Path):
        place, stored = str(search), read_stored(Path(search))
        table = _read(Path(search))
        if stored is None:
            warn(f"{place} has no {SEARCH}, so its options are not checked")
    else:
        raise TypeError(f"searches: {quoted(search, 60)} is not a result or a folder")
    if not len(table):
        raise ValueError(f"searches: {place} has no evaluation; leave it out")
    curve = _curve(table)
    if np.isnan(curve[-1]):
        raise ValueError(
            f"searches: {place} has no successful evaluation, so it cannot be compared; leave it "
            "out"
        )
    return Finished(place, curve, *(stored or (None, "", {})))


def has_success(folder: Path) -> bool:
    """Return whether an evaluation of a search succeeded; ValueError for a damaged history."""
    return not np.isnan(_curve(_read(folder))[-1:]).all()


def _curve(table: pd.DataFrame) -> np.ndarray:
    succeeded = (table["fidelity"] >= 1) & (table["error"].astype(str) == "")
    rewards = np.where(succeeded, table["reward"], -np.inf).astype(np.float64)
    best = np.maximum.accumulate(rewards)
    return np.where(np.isfinite(best), best, np.nan)


def _read(folder: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    path = folder / HISTORY
    if not path.is_file():
        raise ValueError(_no_search(folder))
    try:
        table = pd.read_parquet(path, columns=list(NEEDED))
        for name in ("reward", "fidelity"):
            if table[name].dtype.kind not in "fiu":
                raise ValueError(f"column {name} does not contain numbers")
        return table
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({_reason(error)})") from None


def _no_search(folder: Path) -> str:
    """Return why a folder is no search."""
    if not folder.exists():
        return f"searches: {folder} does not exist"
    if (folder / COMPARISON).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{HISTORY}"))
        which = f", such as {', '.join(inside[:3])}" if inside else ""
        return f"searches: {folder} is a comparison; use the folders of the searches in it{which}"
    return f"searches: {folder} holds no search (there is no {HISTORY} in it)"


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return shortened(lines[0].removeprefix("resume: "))


def check_comparable(searches: Sequence[Finished]) -> None:
    """Raise ValueError if two searches maximise or measure different things.

    Different spaces give a warning on stderr.
    """
    known = [each for each in searches if each.config is not None]
    warned = False
    for other in known[1:]:
        first = known[0]
        names = _differing(first.config, other.config)
        pair = f"{first.place} and {other.place}"
        if any(name in REWARDED for name in names):
            raise ValueError(
                f"searches: {pair} maximise different rewards, which cannot be compared"
            )
        refused = [name for name in names if name not in SPACE]
        if refused:
            shown = " and ".join(words(each.config, refused[0]) for each in (first, other))
            raise ValueError(
                f"searches: {pair} have different options ({shown}), so their rewards cannot be "
                "compared"
            )
        if names and not warned:
            shown = " and ".join(words(each.config, names[0]) for each in (first, other))
            warn(f"{pair} search different spaces ({shown})")
            warned = True
    check_inputs([(each.place, each) for each in known])


def check_inputs(searches: Sequence[tuple[str, Finished | Stored]]) -> None:
    """Raise ValueError if two searches, with their folders, read different inputs."""
    for name, what in DIGESTS.items():
        first: dict[Any, tuple[str, Any]] = {}
        for place, each in searches:
            digest = each.digests.get(name)
            if not digest:
                continue
            # a table of times contains the blocks of one space
            space = [getattr(each.config, one) for one in SPACE] if name == "times_sha256" else ()
            other, known = first.setdefault(tuple(space), (place, digest))
            if digest != known:
                raise ValueError(
                    f"searches: {other} and {place} use different {what}, so their rewards cannot "
                    "be compared"
                )


def _differing(first: SearchConfig | None, second: SearchConfig | None) -> list[str]:
    """Return the options in which compared searches may not differ, and those of the space."""
    return [
        name
        for name, known in options(SearchConfig).items()
        if not known.later and name not in FREE and getattr(first, name) != getattr(second, name)
    ]


def words(config: SearchConfig | None, name: str) -> str:
    """Return an option as it is typed, such as "--target-flops 300M"."""
    value = getattr(config, name)
    shown = option_words(SearchConfig, {name: value}) if value is not None else []
    return shortened(" ".join(shown), 80) if shown else f"no {flag(name, SearchConfig)}"
