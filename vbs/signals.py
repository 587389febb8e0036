"""Signal handling of commands: SIGTERM and SIGHUP act like Ctrl-C at any moment."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.05  # seconds until a signal that could not be delivered is sent again
_IMPORTING = "<frozen importlib._bootstrap>"  # file name of the frames of every import

_Handler = Any  # type of the result of `signal.getsignal`
_installed_by = 0  # process ID; a forked process inherits the handlers
_noted: list[int] = []  # signals that arrived while signals were deferred
_postponed: dict[int, threading.Timer] = {}  # signal -> timer that sends it again after an import


class Interrupted(KeyboardInterrupt):
    """A command was interrupted; its text is the line to print."""


@contextlib.contextmanager
def interrupted_with(text: str) -> Iterator[None]:
    """Report an interruption of the block by `text` instead of the command's own line."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(text) from None


def install() -> dict[int, _Handler]:
    """Make the signals raise KeyboardInterrupt in the main thread; return the previous handlers.

    A signal that is ignored, as under nohup, stays ignored. Does nothing in other threads.
    """
    global _installed_by
    if threading.current_thread() is not threading.main_thread():
        return {}
    _installed_by = os.getpid()
    return {
        number: signal.signal(number, interrupt)
        for number in ENDING
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }


def interrupt(number: int, frame: FrameType | None) -> None:
    """Signal handler that raises KeyboardInterrupt, but not inside an import.

    A module may catch any exception while it is imported, and a partly imported module fails
    later; therefore the signal is sent again until the import has ended. In a forked process,
    SIGTERM and SIGHUP have their default action.
    """
    if os.getpid() != _installed_by and number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    if _is_importing(frame):
        _send_later(number)
        return
    _postponed.pop(number, None)
    raise KeyboardInterrupt(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _send_later(number: int) -> None:
    """Send the signal again to the main thread, so that it interrupts a blocking call."""
    main = threading.main_thread().ident
    if main is None:
        return
    timer = threading.Timer(AGAIN, signal.pthread_kill, (main, number))
    timer.daemon = True
    _postponed[number] = timer
    timer.start()


def raise_postponed() -> None:
    """Raise KeyboardInterrupt immediately if a signal was postponed by an import."""
    for number in list(_postponed):
        _postponed.pop(number).cancel()
        raise KeyboardInterrupt(number)


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Raise KeyboardInterrupt for signals inside the block; restore the handlers after it.

    An interrupt raised where Python ignores exceptions, such as in a `__del__`, is raised again.
    A library that logs the interrupt before it raises it again, as SQLAlchemy does while it closes
    a connection, does not print a traceback.
    """
    before, hook, last = install(), sys.unraisablehook, logging.lastResort
    _noted.clear()

    def raise_again(event: sys.UnraisableHookArgs) -> None:
        if issubclass(event.exc_type, KeyboardInterrupt):
            number = event.exc_value.args[0] if event.exc_value and event.exc_value.args else 2
            _send_later(number)
        else:
            hook(event)

    sys.unraisablehook = raise_again
    if last is not None:
        last.addFilter(_not_of_an_interrupt)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if last is not None:
            last.removeFilter(_not_of_an_interrupt)
        _restore(before)


def _not_of_an_interrupt(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, KeyboardInterrupt)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Only record signals inside the block, so that it can finish writing.

    A caller with more work afterwards calls `raise_noted`.
    """

    def note(number: int, frame: FrameType | None) -> None:
        _noted.append(number)

    before: dict[int, _Handler] = {}
    if threading.current_thread() is threading.main_thread():  # only this thread may set handlers
        before = {
            number: signal.signal(number, note)
            for number in ENDING
            if signal.getsignal(number) not in (signal.SIG_IGN, None)
        }
    try:
        yield
    finally:
        _restore(before)


def raise_noted() -> None:
    """Raise KeyboardInterrupt if a signal arrived while signals were deferred."""
    if _noted:
        number = _noted[0]
        _noted.clear()
        raise KeyboardInterrupt(number)


def ignore() -> None:
    """Ignore the signals from now on, because the program ends with a known exit code."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _restore(handlers: dict[int, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
