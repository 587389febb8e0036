"""One run of a search: its progress display, its outcome and its files."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
SAVING = 0.05  # largest share of the time for saving
# function that extends the history, calls its argument after each extension, and returns the status
Loop = Callable[[Callable[[History], None]], str]


@dataclass(frozen=True, kw_only=True)
class Session:
    """The context of one run of a search.

    folder     folder of the results.
    digests    digests of the input files.
    evaluator  description of the evaluator.
    total      number of planned evaluations, including further seeds.
    started    start time, from `time.perf_counter`.
    each       expected seconds of one evaluation; NaN if unknown.
    past       seconds of earlier parts of the search.
    resumes    folder to resume from; None for `folder`.
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
        """Seconds of the search so far."""
        return self.past + time.perf_counter() - self.started

    def record(self, *, status: str, **outcome: Any) -> None:
        """Write search.json."""
        if self.history.cut is not None:
            outcome["cut"] = asdict(self.history.cut)
        record.write_search(self.folder, self.config, self.digests, status=status, **outcome)

    @property
    def continued(self) -> str:
        """Text that says how to resume."""
        return f"--resume --out {shell_word(str(self.resumes or self.folder))} continues"


def run_session(session: Session, loop: Loop) -> SearchResult:
    """Run a loop that extends the history, and write the results."""
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
        except OSError as error:  # earlier evaluations are in the study, if there is one
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
    """Write the files of the results, except the figure and the page."""
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
    """Run the loop; return its status, a key of `report.ENDINGS`, and the reason of a failure."""
    saved, pause = time.monotonic(), SAVE_EVERY

    def on_extension(history: History) -> None:
        nonlocal saved, pause
        progress.update(shown(history))
        watch(history)
        if (began := time.monotonic()) - saved > pause:
            with contextlib.suppress(OSError):  # the final write reports a full disk
                rounded = session.evaluator.instant
                history_file.write_history(session.folder, history, rounded=rounded)
                session.record(  # so that the time of a killed search counts
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
        except ValueError as error:  # for example of a worker that cannot be set up
            if not len(session.history):
                session.record(status="failed", reason=str(error))
                raise
            return "failed", str(error)
