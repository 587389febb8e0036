"""What all searches of the command line have in common: aims, progress, endings, results."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nas import catalog, record
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import Objective
from nas.search import check_limits
from nas.settings import measured_costs, objective_of
from nas.strategies.base import Strategy
from search_spaces.catalog import one_of
from search_spaces.space import SearchSpace

SAVE_EVERY = 10.0  # seconds between partial results of a search that takes longer


def aims(
    settings: dict[str, Any], the_space: SearchSpace, *, fallback: str
) -> tuple[SearchSpace, Objective, Strategy]:
    """The space with the measured costs that the limits need, the objective, and the strategy."""
    objective = objective_of(settings)
    settings["exponent"] = objective.exponent
    settings["strategy"] = settings["strategy"] or fallback
    one_of("strategy", settings["strategy"], catalog.STRATEGIES)
    for name in measured_costs(objective):
        the_space = with_times(settings, the_space, name)
    check_limits(the_space, objective)
    return the_space, objective, catalog.strategy(settings["strategy"], the_space, objective)


def with_times(settings: dict[str, Any], the_space: SearchSpace, kind: str) -> SearchSpace:
    """The space with a measured cost, from a file of --times or from this machine."""
    from nas.block_times.command import times_for
    from nas.block_times.table import read_times

    path = next((path for path in settings["times"] if read_times(Path(path)).kind == kind), None)
    recipe = settings["recipe"]
    times = times_for(the_space, kind=kind, path=path, device=settings["device"], recipe=recipe)
    known = settings.setdefault("times_sha256", {})
    if known.setdefault(kind, times.digest) != times.digest:
        raise ValueError(f"resume: the {kind} table is not the one of the search; give --times")
    return the_space.measured_by(**{kind: times.of(the_space)})


def conduct(
    folder: Path, settings: dict[str, Any], history: History, evaluator: Evaluator,
    loop: Callable[[Callable[[History], None]], str], *, started: float, total: int,
) -> int:  # fmt: skip
    """Run a loop that extends the history, write and show what it found; the exit code.

    loop   called with what it is to call after every extension; returns how it ended.
    total  evaluations that are to come, repeats included.
    """
    try:
        status, reason = _looped(folder, history, loop, total)
        if status == "failed" and not history.full.any():
            record.write_search(folder, settings, status=status, reason=reason)
            print(f"nas.search: {reason}", file=sys.stderr)
            return 1
        with interrupts_wait():
            record.write_history(folder, history)
            from nas import report

            report.write(folder, settings, history, evaluator)
    except ValueError as error:
        record.write_search(folder, settings, status="failed", reason=str(error))
        raise
    with interrupts_wait():
        seconds = time.perf_counter() - started
        failed = int((history.error != "").sum())
        record.write_search(
            folder, settings, status=status, reason=reason,
            evaluated=len(history), failed=failed, seconds=round(seconds, 2),
        )  # fmt: skip
        report.show(folder, settings, history, evaluator, status=status, seconds=seconds)
    if reason:
        print(f"nas.search: {reason}", file=sys.stderr)
    return {"interrupted": 130, "failed": 1}.get(status, 0)


def _looped(
    folder: Path, history: History, loop: Callable[[Callable[[History], None]], str], total: int
) -> tuple[str, str]:
    """How the loop ended, as in `report.ENDINGS`, and why it failed, or ""."""
    from nas.progress import Progress

    saved = time.monotonic()

    def on_extension(history: History) -> None:
        nonlocal saved
        progress.update(history)
        if time.monotonic() - saved > SAVE_EVERY:
            record.write_history(folder, history)
            saved = time.monotonic()

    with Progress(total) as progress:
        try:
            return loop(on_extension), ""
        except KeyboardInterrupt:
            if not len(history):
                raise
            return "interrupted", ""
        except RuntimeError as error:  # too many failures, or the record of the search is lost
            return "failed", str(error)


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C is ignored inside: results that were found are written first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals, or may say how they are handled
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
