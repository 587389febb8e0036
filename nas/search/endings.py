"""One-line reasons why a search ended without a result."""

from __future__ import annotations

import math

from nas.history import History
from vbs.units import minutes


def nothing(
    history: History, status: str, *, max_time: float | None = None, each: float = math.nan
) -> str:
    """Return the reason why a search has no result; "" if any full evaluation finished.

    status    a key of `nas.search.report.ENDINGS`.
    max_time  seconds within which new evaluations may start; None for no limit.
    each      seconds of one training; NaN if unknown.
    """
    if history.full.any():
        return ""
    if not len(history):
        return _before_the_first(status, max_time, each)
    return f"{_what_became(history)}{_advice(history, status)}"


def _before_the_first(status: str, max_time: float | None, each: float) -> str:
    if status == "out of time" and max_time is not None:
        takes = "" if math.isnan(each) else f"; one training takes about {minutes(max(1.0, each))}"
        return (
            f"no training could start within --max-time {minutes(max_time)}, while the worker "
            f"processes were set up{takes}; use a larger --max-time"
        )
    return {
        "interrupted": "interrupted before the first evaluation ended",
        "exhausted": "no network within the limits could be proposed; use wider limits",
        "finished": "nothing was evaluated: other processes on the same study used up the budget",
    }.get(status, "nothing was evaluated")


def _what_became(history: History) -> str:
    """Return how the evaluations ended; none of them finished."""
    count = len(history)
    failed = [reason for reason in history.error if reason]
    evaluations = "the only evaluation" if count == 1 else f"all {count:,} evaluations"
    if len(failed) == count:
        first = failed[0] if count == 1 else f"the first: {failed[0]}"
        return f"{evaluations} failed ({first})"
    if not failed:
        return f"{evaluations} {'was' if count == 1 else 'were'} stopped early"
    return (
        f"none of {count:,} evaluations finished: {count - len(failed):,} were stopped "
        f"early and {len(failed):,} failed (the first: {failed[0]})"
    )


def _advice(history: History, status: str) -> str:
    stopped = (history.error == "").any()
    if status == "out of time":
        return "; no further training could start in time; use a larger --max-time"
    if stopped:
        return "; use --scheduler fifo to train all networks to the end"
    if status == "exhausted":
        return "; no other network within the limits is left"
    return (
        "; use --resume with a larger --budget to evaluate others" if status == "finished" else ""
    )
