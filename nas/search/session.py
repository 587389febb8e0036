"""One run of a search: progress while it runs, how it ends, and its files."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas import history_file
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.search import record, report
from nas.search.config import SearchConfig
from nas.search.doubts import Watch
from nas.search.endings import nothing
from nas.search.page import page
from nas.search.progress import Shown
from nas.search.result import SearchResult
from nas.stopped import TooManyFailures
from vbs import signals
from vbs.failures import InfrastructureError, infrastructure_error
from vbs.page.parts import write_page
from vbs.progress import Progress
from vbs.text import shell_word

SAVE_EVERY = 10.0  # seconds between partial results of a search that takes longer
SAVING = 0.05  # of the time, at most, where saving takes long
# extends the history, calls its argument after every extension, and returns how the search ended
Loop = Callable[[Callable[[History], None]], str]


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a run of a search needs to know of itself.

    total      evaluations that are to come, repeats included.
    each       seconds that one evaluation is expected to take, NaN where unknown.
    started    by `time.perf_counter`.
    past       seconds that earlier parts of the search took.
    resumes    the folder that --resume takes; None: its own.
    """

    folder: Path
    config: SearchConfig
    digests: Mapping[str, Any]
    history: History
    evaluator: Evaluator
    total: int
    started: float
    each: float = math.nan
    past: float = 0.0
    resumes: Path | None = None

    @property
    def seconds(self) -> float:
        """Seconds of the search up to now."""
        return self.past + time.perf_counter() - self.started

    def record(self, *, status: str, **outcome: Any) -> None:
        """Write search.json."""
        record.write_search(self.folder, self.config, self.digests, status=status, **outcome)

    @property
    def continued(self) -> str:
        """How to resume."""
        return f"--resume --out {shell_word(str(self.resumes or self.folder))} continues"


def run_session(session: Session, loop: Loop) -> SearchResult:
    """Run a loop that extends the history, and write what it found."""
    history, evaluator = session.history, session.evaluator
    known = len(history)
    status, reason = _looped(session, loop, Watch(evaluator))
    max_time = session.config.max_time
    reason = reason or nothing(history, status, max_time=max_time, each=session.each)
    found = bool(history.full.any())
    if status == "interrupted" and not found:
        reason = f"{reason}; {session.continued}"
    ranking: tuple[str, ...] = ()
    with signals.deferred():
        unchanged = 0 < known == len(history)
        seconds, written = session.past if unchanged else session.seconds, True
        try:
            ranking = tuple(report.rank_certainty(history, evaluator)) if found else ()
            certainty = [*report.certainty(history, evaluator), *ranking] if found else []
            _write(session, status, reason, seconds, certainty)
        except OSError as error:  # what was evaluated before is in the study, if there is one
            status, written = "failed", False
            failure = f"{infrastructure_error(error)}; {session.continued}"
            reason = "; ".join(filter(None, (reason, failure)))
            with contextlib.suppress(OSError):
                session.record(status=status, reason=reason)
        if found and written:
            report.draw(session.folder, history, evaluator)
            ending = report.ending(history, evaluator, status=status, seconds=seconds)
            write_page(
                session.folder,
                lambda: page(
                    session.config, history, evaluator, ending=ending, certainty=certainty
                ),
            )
    return SearchResult(
        folder=session.folder,
        config=session.config,
        history=history,
        evaluator=evaluator,
        status=status,
        reason=reason,
        seconds=seconds,
        written=written,
        ranking=ranking,
    )


def _write(
    session: Session, status: str, reason: str, seconds: float, certainty: list[str]
) -> None:
    """All files of the results."""
    folder, history, evaluator = session.folder, session.history, session.evaluator
    if len(history):
        history_file.write_history(folder, history, rounded=evaluator.instant)
    if history.full.any():
        report.write(folder, session.config, history, evaluator)
    session.record(
        status=status,
        reason=reason,
        evaluated=len(history),
        failed=int((history.error != "").sum()),
        seconds=round(seconds, 2),
        certainty=certainty,
    )


def _looped(session: Session, loop: Loop, watch: Watch) -> tuple[str, str]:
    """How the loop ended, as in `report.ENDINGS`, and why it failed, or ""."""
    saved, pause = time.monotonic(), SAVE_EVERY

    def on_extension(history: History) -> None:
        nonlocal saved, pause
        progress.update(shown(history))
        watch(history)
        if (began := time.monotonic()) - saved > pause:
            with contextlib.suppress(OSError):  # the final write reports a full disk
                rounded = session.evaluator.instant
                history_file.write_history(session.folder, history, rounded=rounded)
                session.record(  # what a search that is killed has spent counts too
                    status="running", evaluated=len(history), seconds=round(session.seconds, 2)
                )
            saved = time.monotonic()
            pause = max(SAVE_EVERY, (saved - began) / SAVING)

    shown = Shown(session.total)
    with Progress(shown(session.history)) as progress:
        try:
            ending = loop(on_extension)
            progress.complete()
            return ending, ""
        except KeyboardInterrupt:
            return "interrupted", ""
        except TooManyFailures as error:
            return "failed", str(error)
        except (InfrastructureError, OSError) as error:
            return "failed", f"{infrastructure_error(error)}; {session.continued}"
        except ValueError as error:  # of a worker that cannot be set up, say
            if not len(session.history):
                session.record(status="failed", reason=str(error))
                raise
            return "failed", str(error)
