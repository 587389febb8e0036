"""What all searches of the command line have in common: aims, progress, endings, results."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas import catalog, history_file, record
from nas.doubts import Watch
from nas.endings import nothing
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import Objective
from nas.search import check_limits
from nas.settings import measured_costs, objective_of
from nas.stopped import TooManyFailures
from nas.strategies.base import Strategy
from search_spaces.catalog import one_of
from search_spaces.space import SearchSpace
from vbs import signals
from vbs.command import FAILED, INTERRUPTED
from vbs.console import print_err
from vbs.failures import InfrastructureError, infrastructure_error
from vbs.text import shell_word

if TYPE_CHECKING:
    from nas.block_times.table import Times

SAVE_EVERY = 10.0  # seconds between partial results of a search that takes longer


class Aims(NamedTuple):
    """What a search is for: tables are those of the measured costs of the space, by kind."""

    space: SearchSpace
    objective: Objective
    strategy: Strategy
    tables: dict[str, Times]


def aims(
    settings: dict[str, Any], the_space: SearchSpace, *, fallback: str, kept: Path | None = None
) -> Aims:
    """The space with the measured costs that the limits need, the objective, and the strategy.

    kept  the folder of a search that goes on, with the tables that it was made with.
    """
    objective = objective_of(settings)
    settings["exponent"] = objective.exponent
    settings["strategy"] = settings["strategy"] or fallback
    one_of("strategy", settings["strategy"], catalog.STRATEGIES)
    tables = {
        kind: times_of(settings, the_space, kind, kept=kept) for kind in measured_costs(objective)
    }
    the_space = the_space.measured_by(
        **{kind: times.of(the_space) for kind, times in tables.items()}
    )
    check_limits(the_space, objective)
    strategy = catalog.strategy(settings["strategy"], the_space, objective)
    return Aims(the_space, objective, strategy, tables)


def times_of(
    settings: dict[str, Any], the_space: SearchSpace, kind: str, *, kept: Path | None
) -> Times:
    """The table of a measured cost: a file of --times, the search's own, or measured here."""
    from nas.block_times.command import times_for
    from nas.block_times.table import read_times

    files = [Path(path) for path in settings["times"]]
    if kept is not None and (kept / times_file(kind)).is_file():
        files.append(kept / times_file(kind))
    path = next((path for path in files if read_times(path).kind == kind), None)
    recipe = settings["recipe"]
    times = times_for(the_space, kind=kind, path=path, device=settings["device"], recipe=recipe)
    known = settings.setdefault("times_sha256", {})
    if known.setdefault(kind, times.digest) != times.digest:
        raise ValueError(f"resume: the {kind} table is not the one of the search; give --times")
    return times


def times_file(kind: str) -> str:
    """The name of a table in the folder of a search."""
    return f"times-{kind}.json"


def keep_times(folder: Path, tables: Mapping[str, Times]) -> None:
    """Put the tables that a search goes by into its folder: it may go on elsewhere."""
    for kind, times in tables.items():
        if not (folder / times_file(kind)).is_file():
            times.write(folder / times_file(kind))


def conduct(
    folder: Path, settings: dict[str, Any], history: History, evaluator: Evaluator,
    loop: Callable[[Callable[[History], None]], str], *, started: float, total: int,
    each: float = math.nan, past: float = 0.0,
) -> int:  # fmt: skip
    """Run a loop that extends the history, write and show what it found; the exit code.

    loop   called with what it is to call after every extension; returns how it ended.
    total  evaluations that are to come, repeats included.
    each   seconds that one evaluation is expected to take, NaN where unknown.
    past   seconds that earlier parts of the search took, which are all where nothing is added.
    """
    from nas import report

    known = len(history)

    watch = Watch(evaluator)
    status, reason = _looped(folder, settings, history, loop, total, started, watch)
    reason = reason or nothing(history, status, max_time=settings.get("max_time"), each=each)
    found = bool(history.full.any())
    if status == "interrupted" and not found:
        reason = f"{reason}; {_continued(folder)}"
    with signals.deferred():
        unchanged = 0 < known == len(history)
        seconds, written = past if unchanged else time.perf_counter() - started, True
        try:
            _write(folder, settings, history, evaluator, (status, reason), seconds)
        except OSError as error:  # what was evaluated before is in the study, if there is one
            status, written = "failed", False
            failure = f"{infrastructure_error(error)}; {_continued(folder)}"
            reason = "; ".join(filter(None, (reason, failure)))
            with contextlib.suppress(OSError):
                record.write_search(folder, settings, status=status, reason=reason)
        if found and written:
            report.draw(folder, history, evaluator)
        if found:
            report.show(folder, settings, history, evaluator, status=status, seconds=seconds)
        if reason:
            print_err(f"nas.search: {reason}")
    return {"interrupted": INTERRUPTED, "failed": FAILED}.get(status, 0 if found else FAILED)


def _continued(folder: Path) -> str:
    return f"--resume --out {shell_word(str(folder))} continues"


def _write(
    folder: Path, settings: dict[str, Any], history: History, evaluator: Evaluator,
    ending: tuple[str, str], seconds: float,
) -> None:  # fmt: skip
    """All files of the results; `ending` is the status and its reason."""
    from nas import report

    if len(history):
        history_file.write_history(folder, history)
    if history.full.any():
        report.write(folder, settings, history, evaluator)
    record.write_search(
        folder, settings, status=ending[0], reason=ending[1], evaluated=len(history),
        failed=int((history.error != "").sum()), seconds=round(seconds, 2),
        certainty=report.certainty(history, evaluator) if history.full.any() else [],
    )  # fmt: skip


def _looped(
    folder: Path, settings: dict[str, Any], history: History,
    loop: Callable[[Callable[[History], None]], str], total: int, started: float, watch: Watch,
) -> tuple[str, str]:  # fmt: skip
    """How the loop ended, as in `report.ENDINGS`, and why it failed, or ""."""
    from nas.progress import Progress

    saved = time.monotonic()

    def on_extension(history: History) -> None:
        nonlocal saved
        progress.update(history)
        watch(history)
        if time.monotonic() - saved > SAVE_EVERY:
            with contextlib.suppress(OSError):  # a full disk is told by what must be written
                history_file.write_history(folder, history)
                record.write_search(  # what a search that is killed has spent counts too
                    folder, settings, status="running", evaluated=len(history),
                    seconds=round(time.perf_counter() - started, 2),
                )  # fmt: skip
            saved = time.monotonic()

    with Progress(total) as progress:
        progress.start(history)
        try:
            return loop(on_extension), ""
        except KeyboardInterrupt:
            return "interrupted", ""
        except TooManyFailures as error:
            return "failed", str(error)
        except (InfrastructureError, OSError) as error:
            return "failed", f"{infrastructure_error(error)}; {_continued(folder)}"
        except ValueError as error:  # of a worker that cannot be set up, say
            if not len(history):
                record.write_search(folder, settings, status="failed", reason=str(error))
                raise
            return "failed", str(error)
