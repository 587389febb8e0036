"""Record of a comparison of strategies, and its other files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas import catalog
from nas.compare.comparison import SearchComparison, marks
from nas.compare.config import FIGURE, RECORD, TABLE, CompareConfig
from nas.compare.finished import SEARCH, has_success, read_stored, words
from nas.compare.page import page
from nas.compare.result import CompareResult
from nas.search.aims import named_space
from nas.search.config import SearchConfig, same_value
from nas.search.device_costs import device_digests
from nas.search.record import sha256
from nas.search.targets import objective_of
from vbs.config import ConfigError, code_values, options
from vbs.config_file import resumed, stored_values
from vbs.figure import draw_picture
from vbs.folder import circumstances, write_json, write_whole
from vbs.json_text import parse_json
from vbs.lock import FILE as LOCK
from vbs.page.parts import write_page
from vbs.plugins import code_file, is_reference
from vbs.text import csv_cell, quoted, shell_word, shortened

# options whose defaults are determined by the images
DETERMINED = ("space", "resolution", "classes", "small_images", "fidelity")
# columns of comparison.csv; behind: mean of the best group minus that of this group
COLUMNS = (
    *("evaluations", "group", "searches", "mean", "low", "high"),
    *("behind", "behind_low", "behind_high"),
)


def check_unused(folder: Path, config: CompareConfig) -> None:
    """Raise ValueError if a folder contains files that do not belong to a comparison."""
    if not folder.is_dir() or (folder / RECORD).exists():  # results_folder reports a comparison
        return
    own = {LOCK, *(() if config.searches else (each.folder for each in config.planned()))}
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    others = sorted(set(names) - own)
    if others:
        raise ValueError(
            f"out: {folder} contains {quoted(others[0], 60)}, which does not belong to a "
            "comparison; use another --out"
        )


def read_earlier(folder: Path, changes: Mapping[str, Any]) -> CompareConfig:
    """Return the options of the comparison in a folder, with changes.

    Raises ValueError if there is none, or if `changes` contains an option that must not change.
    """
    config = resumed(CompareConfig, changes, folder / RECORD, what="comparison")
    known = stored_values(CompareConfig, folder / RECORD, what="comparison")["strategies"]
    if not {*known} <= {*config.strategies}:
        every = ",".join(dict.fromkeys([*known, *config.strategies]))
        raise ConfigError(
            "strategies",
            f"a resumed comparison keeps its strategies; use --strategies {shell_word(every)}",
        )
    return config


def code_digests(config: CompareConfig) -> dict[str, str]:
    """Return the SHA-256 of each file of code that the options name."""
    known, texts = options(CompareConfig), []
    for name, value in code_values(config).items():
        several = value if isinstance(value, tuple | list) else [value]
        texts += [text for text in several if is_reference(text, known[name].catalog)]
    files = [code_file(text) for text in texts]
    return {str(file): sha256(file) for file in files if file is not None and file.is_file()}


def check_code_files(folder: Path, config: CompareConfig, digests: Mapping[str, str]) -> None:
    """Raise ValueError if code has changed since a search of the comparison evaluated networks.

    digests  digests of the files now, see `code_digests`.
    """
    content = parse_json((folder / RECORD).read_bytes())
    known = content.get("digests", {}).get("code_sha256", {})
    for file, digest in known.items():
        if digests.get(file, digest) == digest:
            continue
        begun = [each for each in _folders_with(Path(file), config) if _has_results(folder / each)]
        if begun:
            again = f"remove {', '.join(str(folder / each) for each in begun)}"
            raise ValueError(
                f"resume: {shortened(file)} has changed since the comparison began; restore it, or "
                f"{shortened(again, 200)} to run the searches again"
            )


def _folders_with(file: Path, config: CompareConfig) -> list[str]:
    """Return the names of the folders of the searches that use a file of code."""
    strategies = {text for text in config.strategies if is_reference(text, catalog.STRATEGIES)}
    using = {text for text in strategies if code_file(text) == file}
    if not using:  # evaluator, reward or space of all searches
        using = {*config.strategies}
    return [each.folder for each in config.planned() if each.strategy in using]


def _has_results(folder: Path) -> bool:
    """Return whether the folder of a search contains more than its record."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return not names <= {SEARCH, LOCK}


def is_over(folder: Path, search: SearchConfig) -> bool:
    """Return whether a search is over: it ended by itself, after the budget of its config.

    Raises ValueError if the folder contains another search, or if its files are damaged.
    """
    if not folder.is_dir():
        return False
    with _advised(folder):
        stored = read_stored(folder)
        if stored is None:
            names = [each.name for each in folder.iterdir() if not each.name.startswith(".")]
            if {*names} - {LOCK}:
                raise ValueError(f"{folder} holds no {SEARCH}")
            return False
    _check_planned(folder, search, stored.config, stored.digests)
    known, status = stored.config, stored.status
    assert search.budget is not None  # see CompareConfig.check
    ended = {
        "finished": known.budget is not None and known.budget >= search.budget,
        "exhausted": True,
        "out of time": known.max_time is not None
        and search.max_time is not None
        and known.max_time >= search.max_time,
    }
    if not ended.get(status, False):
        return False
    with _advised(folder):
        has_success(folder)  # reports a damaged history
    return True


@contextmanager
def _advised(folder: Path) -> Iterator[None]:
    """Extend errors about the search in a folder by advice on how to run it again."""
    try:
        yield
    except ValueError as error:
        text = str(error).removeprefix("searches: ")
        raise ValueError(f"resume: {text}; remove {folder} to run this search again") from None


def _check_planned(
    folder: Path, planned: SearchConfig, known: SearchConfig, digests: Mapping[str, Any]
) -> None:
    """Raise ValueError if the search in a folder is not the planned one."""
    again = f"use another --out, or remove {folder} to run this search again"
    filled = {"exponent": objective_of(planned).exponent}
    if not catalog.evaluator_entry(planned.evaluator).images:
        planned = named_space(planned)[0]  # otherwise, the images determine it
    for name, option in options(SearchConfig).items():
        wanted, found = filled.get(name, getattr(planned, name)), getattr(known, name)
        unset = wanted is None and name in DETERMINED
        if option.later or unset or wanted == found:
            continue
        if wanted is not None and same_value(name, wanted, known.settings()):
            continue
        if wanted == getattr(planned, name):
            shown = f", not {words(planned, name)}"
        else:
            shown = ""
        raise ValueError(f"resume: {folder} is a search with {words(known, name)}{shown}; {again}")
    present: dict[str, Any] = {"devices_sha256": device_digests(planned)}
    if planned.table is not None:
        present["table_sha256"] = sha256(Path(planned.table))
    for name, digest in present.items():
        if digest and digests.get(name, digest) != digest:
            what = "table" if name == "table_sha256" else "devices"
            raise ValueError(f"resume: {folder} is a search with other {what}; {again}")


def write(
    folder: Path, config: CompareConfig, status: str, code: Mapping[str, str], **outcome: Any
) -> None:
    """Write comparison.json: all settings needed to repeat the comparison, and its outcome.

    code  digests of files of code, see `code_digests`.
    """
    write_json(
        folder / RECORD,
        {
            "status": status,
            "settings": config.settings(),
            "digests": {"code_sha256": dict(code)} if code else {},
            "outcome": outcome,
            **circumstances(("numpy", "scipy", "optuna", "torch")),
        },
    )


def finish(result: CompareResult, code: Mapping[str, str]) -> None:
    """Write the record, the table, the figure and the page of a finished comparison."""
    folder, comparison = result.folder, result.comparison
    rows = table_rows(comparison)
    write_whole(folder / TABLE, lambda path: _write_table(path, rows))
    write(
        folder,
        result.config,
        "finished",
        code,
        evaluations=comparison.evaluations,
        seconds=round(result.seconds, 2),
        table=[dict(zip(COLUMNS, map(_plain, row), strict=True)) for row in rows],
        searches={name: list(map(str, each)) for name, each in result.searches.items()},
    )
    draw_picture(folder / FIGURE, comparison.plot)
    write_page(folder, lambda: page(result, circumstances(("numpy", "scipy"))))


def table_rows(comparison: SearchComparison) -> list[tuple[Any, ...]]:
    """Return the rows of comparison.csv: one for each group after some numbers of evaluations."""
    rows: list[tuple[Any, ...]] = []
    for after in marks(comparison.evaluations):
        order = comparison.ranked(after=after)
        for name in order:
            behind: tuple[float | None, ...] = (None, None, None)
            if name != order[0]:
                behind = tuple(comparison.difference(order[0], name, after=after))
            found = comparison.best(name, after=after)
            rows.append((after, name, len(comparison.curves[name]), *found, *behind))
    return rows


def _write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(_rounded(_plain(value))) for value in row] for row in rows)


def _plain(value: Any) -> Any:
    """Return the value; None for NaN, which JSON lacks."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _rounded(value: Any) -> Any:
    return f"{value:.8g}" if isinstance(value, float) else value
