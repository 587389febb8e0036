"""Comparison of strategies from a config: `run_compare`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas import catalog
from nas.compare import record, report
from nas.compare.comparison import compare_searches
from nas.compare.config import COMMAND, FIGURE, RECORD, TABLE, CompareConfig, Planned
from nas.compare.finished import check_inputs, has_success, read_stored
from nas.compare.result import CompareResult
from nas.search.aims import aims, named_space
from nas.search.config import SearchConfig
from nas.search.result import SearchResult
from nas.search.run import run_search
from vbs import signals
from vbs.command import Failure
from vbs.config import code_values, given_values, options
from vbs.console import print_err, warn
from vbs.folder import results_folder
from vbs.page.parts import REPORT
from vbs.plugins import is_reference, load_object
from vbs.progress import labelled
from vbs.runs import opened_run
from vbs.signals import interrupted_with

Groups = Mapping[str, tuple[Path, ...]]


def run_compare(
    config: CompareConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> CompareResult:
    """Search with several strategies and compare the results, as `python -m nas.compare` does.

    config   options; None to resume.
    out      folder of the results; None: a new runs/comparison-N.
    resume   whether to resume the comparison in `out`, with the options stored there.
    changes  options of a resumed comparison that change, such as {"seeds": 10}.

    Raises ValueError for invalid options and folders, `vbs.command.Failure` if a search fails, and
    KeyboardInterrupt after Ctrl-C.
    """
    started, place = time.monotonic(), None if out is None else str(out)
    with opened_run(COMMAND, config, out=out, resume=resume, changes=changes) as earlier:
        if earlier is not None:
            config = record.read_earlier(earlier, changes or {})
        assert config is not None  # see opened_run
        known = None
        if config.searches:
            known = compare_searches(config.groups)  # mistakes are reported before files are made
        elif not resume:
            _check_strategies(config)
        code = record.code_digests(config)
        if earlier is not None:
            record.check_code_files(earlier, config, code)
        elif place is not None:
            record.check_unused(Path(place), config)
        files = (RECORD, TABLE, FIGURE, REPORT)
        with results_folder(
            place, kind="comparison", files=files, command="nas.compare", resume=resume
        ) as folder:
            record.write(folder, config, "running", code)
            with interrupted_with(
                f"interrupted; resume by: {report.resume_command(folder, config)}"
            ):
                groups = config.groups or _searched(folder, config)
                comparison = known or compare_searches(groups)
            seconds = time.monotonic() - started
            result = CompareResult(folder, config, comparison, groups, seconds)
            record.finish(result, code)
            return result


def _check_strategies(config: CompareConfig) -> None:
    """Raise ValueError for a strategy or an objective that cannot be created."""
    images = catalog.evaluator_entry(config.evaluator).images
    for planned in config.planned()[: len(config.strategies)]:
        if not images:
            aims(*named_space(config.search(planned)), fallback=planned.strategy)
        elif is_reference(planned.strategy, catalog.STRATEGIES):  # the space depends on the images
            load_object(planned.strategy, what="strategy")


def _searched(folder: Path, config: CompareConfig) -> Groups:
    """Run the searches that are not finished; return the folders of all, by strategy."""
    planned = config.planned()
    if len(config.strategies) == 1:
        warn("there is only one strategy, so nothing is compared; add others by --strategies")
    known = [each for each in planned if record.is_over(folder / each.folder, config.search(each))]
    _check_inputs(folder, known)
    if known:
        print_err(f"{len(known)} of {len(planned)} searches are finished already")
    for position, each in enumerate(planned, 1):
        if each not in known:
            name = f"search {position} of {len(planned)}, {each.name}, seed {each.seed}"
            with labelled(name):
                _search(folder, config, each)
            _check_inputs(folder, [*known[:1], *planned[:1], each])
    return _successful(folder, planned)


def _check_inputs(folder: Path, searches: Sequence[Planned]) -> None:
    """Raise ValueError if searches read different inputs, before others are run in vain."""
    stored = [(str(folder / each.folder), read_stored(folder / each.folder)) for each in searches]
    check_inputs([(place, each) for place, each in stored if each is not None])


def _successful(folder: Path, planned: Sequence[Planned]) -> Groups:
    """Return the folders of searches with a successful evaluation, by strategy.

    The others are left out with a warning. Raises Failure if none is left.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for each in planned:
        if has_success(folder / each.folder):
            found[each.name] = (*found.get(each.name, ()), folder / each.folder)
        else:
            warn(
                f"{folder / each.folder} has no successful evaluation and is left out of the "
                "comparison"
            )
    if not found:
        raise Failure("no search has a successful evaluation, so nothing can be compared")
    return {name: found[name] for name in dict.fromkeys(e.name for e in planned) if name in found}


def _search(folder: Path, config: CompareConfig, planned: Planned) -> None:
    """Run or resume a search.

    Raises ValueError for a mistake of the user, Failure if the search fails, and KeyboardInterrupt.
    """
    place, search = folder / planned.folder, config.search(planned)
    try:
        if (place / "search.json").is_file():
            result = run_search(out=place, resume=True, changes=_changes(search))
        else:
            result = run_search(search, out=place)
    except ValueError as error:
        if not list(folder.glob("*/search.json")):
            (folder / RECORD).unlink()  # another comparison may use the folder
        raise ValueError(f"{planned.name}, seed {planned.seed}: {error}") from None
    signals.raise_noted()
    if result.status == "interrupted":
        raise KeyboardInterrupt
    evaluated = isinstance(result, SearchResult) and len(result.history)
    if result.status == "failed" or not evaluated:
        why = result.reason or "no network could be evaluated"
        command = report.resume_command(folder, config)
        raise Failure(f"{planned.name}, seed {planned.seed}: {why}; resume by: {command}")


def _changes(search: SearchConfig) -> dict[str, Any]:
    """Return the options of a resumed search that may change, and those that name code."""
    known = options(SearchConfig)
    later = {name: getattr(search, name) for name in given_values(search) if known[name].later}
    return {**later, **code_values(search)}
