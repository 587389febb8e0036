"""Progress display: a bar and a table on a terminal, lines elsewhere, with elapsed and left time.

with Progress(State(0, 8, "trained")) as progress:
    for count in range(1, 9):
        train()
        progress.update(State(count, 8, "trained", notes=("best 61.20%",)))
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from vbs.console import print_err
from vbs.tables import Console, Table
from vbs.text import printable
from vbs.units import clock

EVERY = 30.0  # seconds after which a line is printed if there is no terminal, even without progress
LOOK = 2.0  # seconds between two queries for a newer state, on a terminal
LEAST = 1.0  # seconds between two lines of progress without a terminal, except for the last line
LINES = 10  # maximum number of progress lines of a run, without a terminal

_labels: ContextVar[tuple[str, ...]] = ContextVar("labels", default=())


@contextlib.contextmanager
def labelled(text: str) -> Iterator[None]:
    """Begin the progress lines of the block with `text`, such as "random, seed 0".

    For commands that run several searches or trainings one after another. Blocks can be nested.
    """
    token = _labels.set((*_labels.get(), text))
    try:
        yield
    finally:
        _labels.reset(token)


def label() -> str:
    """Return the beginning of progress lines, such as "random, seed 0: "; "" outside `labelled`."""
    return "".join(f"{text}: " for text in _labels.get())


def timing(elapsed: float, left: float = math.nan) -> str:
    """Format seconds as "1:30 elapsed, 4:10 left"; a time that is not finite is omitted."""
    text = f"{clock(elapsed)} elapsed"
    return f"{text}, {clock(left)} left" if math.isfinite(left) else text


def seconds_left(elapsed: float, done: float, total: float) -> float:
    """Return the seconds for the remaining work at the mean speed so far; NaN if none is done.

    done, total  amounts of work in any one unit: evaluations, steps, shares.
    """
    return elapsed / done * max(total - done, 0.0) if done > 0 else math.nan


class Pulse:
    """A context manager that calls `report` after `every` seconds without a report.

    Without a terminal there is no moving bar, so a long training would look as if it hung.
    `report` is called from a thread. Call `reported` after printing a line.
    """

    def __init__(self, report: Callable[[], None], *, every: float = EVERY) -> None:
        self._report, self._every = report, every
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def reported(self) -> None:
        """Restart the interval, because a line was printed."""
        self._last = time.monotonic()

    def __enter__(self) -> Pulse:
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(max(0.05, self._last + self._every - time.monotonic())):
            if time.monotonic() - self._last >= self._every:
                self.reported()
                self._report()


@dataclass(frozen=True)
class State:
    """State of the work.

    count, of  number of finished items, and of all items.
    unit       name of what is counted: "trained".
    share      share of the work that is done, 0 to 1, if items differ in length or report their
               own progress; None: count / of.
    notes      parts of the line after the times, such as the best result so far.
    rows       rows of the table on a terminal: cells of the items in progress.
    """

    count: int
    of: int
    unit: str
    share: float | None = None
    notes: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    @property
    def done(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return self.count / max(1, self.of) if self.share is None else self.share

    def __str__(self) -> str:
        total = f"{self.of:,}"
        text = f"{self.count:>{len(total)},} of {total} {self.unit}"
        return text if self.share is None else f"{int(100 * self.share):>3}%, {text}"


class Progress:
    """A context manager that shows the progress of work on stderr.

    On a terminal it shows a bar and a table of the items in progress. Elsewhere it prints a line
    when `update` reports enough progress, and at least every 30 seconds. A resumed run begins with
    a line about the work that was done before. The remaining time is estimated from the mean speed
    of this run.

    state    state before this run.
    lines    approximate number of lines that updates print, without a terminal.
    columns  header of the table -> "left" or "right".
    look     function that returns the newest state; called from a thread every few seconds, for
             states that change between updates.
    """

    def __init__(
        self,
        state: State,
        *,
        lines: int = LINES,
        columns: Mapping[str, Any] | None = None,
        look: Callable[[], State] | None = None,
    ) -> None:
        self._state, self._before, self._printed = state, state, state
        self._lines, self._columns, self._look = lines, columns or {}, look
        self._began, self._label = time.monotonic(), label()
        self._at = -math.inf  # time of the last line of an update
        self._warned: set[str] = set()
        self._lock = threading.RLock()
        self._live: Any = None
        self._pulse = Pulse(self._report)

    def __enter__(self) -> Progress:
        if self._before.count:
            print_err(f"{self._label}{self._before} before")
        console = Console(stderr=True)
        if console.is_terminal and not console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                console=console,
                refresh_per_second=4,
                transient=True,
                get_renderable=self._picture,
                # stdout may be redirected to a file, which must receive what is printed
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
            self._pulse = Pulse(self._report, every=LOOK)
        self._began = time.monotonic()
        self._pulse.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pulse.__exit__(kind, error, trace)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, state: State, note: str = "") -> None:
        """Show a state.

        note  description of what has just ended; it is always printed.
        """
        with self._lock:
            self._state = state
            if note:
                self._print_line(f": {note}")
            elif self._live is None and self._is_due(state):
                self._at = time.monotonic()
                self._print_line()

    def complete(self) -> None:
        """Show the work as complete, even if fewer items were done than planned."""
        with self._lock:
            count, ended = self._state.count, self._state
            self._state = replace(ended, of=count, share=None if ended.share is None else 1.0)
            if self._live is None and count != self._printed.count:
                self._print_line()

    def print(self, *lines: str) -> None:
        """Print lines above the bar."""
        if self._live is None:
            print_err(*lines)
        else:
            self._live.console.print(*lines, soft_wrap=True)

    def warn(self, kind: str, text: str) -> None:
        """Print a warning, once for each kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            self.print(f"warning: {text}")

    def _is_due(self, state: State) -> bool:
        """Return whether an update prints a line."""
        if self._step(state) <= self._step(self._printed):
            return False
        return state.done >= 1 or time.monotonic() - self._at >= LEAST

    def _step(self, state: State) -> int:
        """Return how many of the lines are due at a state."""
        if state.share is None:
            return self._lines * state.count // max(1, state.of)
        return int(self._lines * state.share)

    def _report(self) -> None:
        """Show the newest state after some time without a line."""
        state = None if self._look is None else self._look()  # this may take seconds
        with self._lock:
            self._state = self._state if state is None else state
            if self._live is None:
                self._print_line()

    def _print_line(self, end: str = "") -> None:
        self._printed = self._state
        self._pulse.reported()
        self.print(f"{self._line()}{end}")

    def _line(self) -> str:
        state, before = self._state, self._before.done
        spent = time.monotonic() - self._began
        left = seconds_left(spent, state.done - before, 1 - before)
        times = timing(spent, left if state.done < 1 else math.nan)
        return self._label + ", ".join([str(state), times, *state.notes])

    def _picture(self) -> Any:
        """Return what a terminal shows."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        with self._lock:
            state, line = self._state, self._line()
        parts: list[Any] = [Text(printable(line)), ProgressBar(1.0, min(1.0, state.done))]
        if self._columns:
            table = Table(box=None, pad_edge=False)
            for name, justify in self._columns.items():
                table.add_column(name, justify=justify)
            room = max(3, Console(stderr=True).size.height - 5)
            for row in state.rows[:room]:
                table.add_row(*row)
            parts.append(table)
        return Group(*parts)
