"""Actor that runs the jobs of a pool (`train.cluster.pool`) in one process, and its answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from vbs.failures import infrastructure_error, is_infrastructure, reason_of

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Job = Callable[[Any], Iterator[Any]]


class Yielded(NamedTuple):
    """An item that a job yielded."""

    value: Any


class Ended(NamedTuple):
    """The end of a job; reason "" if it ended by itself or was stopped.

    infrastructure  whether the infrastructure caused the failure, not the job (see `vbs.failures`);
                    the job was then retried as often as PAUSES allows.
    """

    reason: str
    infrastructure: bool = False


Item = Yielded | Ended


class Worker:
    """The actor in a slot's process."""

    def __init__(self, make: Callable[[], Job], threads: int) -> None:
        for name in THREADS:
            os.environ[name] = str(threads)
        self._job: Job = lambda _: iter(())
        self._wrong = ""
        try:
            self._job = make()
        except (Exception, SystemExit) as error:
            self._wrong = reason_of(error)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        self._items: Iterator[Any] = iter(())

    def ready(self) -> str:
        """Return the reason if the set-up failed, else "". Ray runs this call after the set-up."""
        return self._wrong

    def begin(self, payload: Any) -> tuple[bool, Any]:
        """Start a new job; return its first item as `proceed` does."""
        try:
            self._items = iter(self._job(payload))
        except (Exception, SystemExit) as error:
            return False, failure(error)
        return self.proceed()

    def proceed(self) -> tuple[bool, Any]:
        """Return (True, next item) or (False, an Ended)."""
        try:
            return True, next(self._items)
        except StopIteration:
            return False, Ended("")
        except (Exception, SystemExit) as error:
            return False, failure(error)

    def stop(self) -> tuple[bool, Any]:
        """Close the job's generator."""
        try:
            if hasattr(self._items, "close"):
                self._items.close()
        except (Exception, SystemExit) as error:
            return False, failure(error)
        return False, Ended("")


def failure(error: BaseException) -> Ended:
    """Return the end of a job that raised this exception."""
    if is_infrastructure(error):
        return Ended(str(infrastructure_error(error)), infrastructure=True)
    return Ended(reason_of(error))
