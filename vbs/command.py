"""What all command lines share: parser, exit codes, one-line errors, signals."""

from __future__ import annotations

import argparse
import errno
import importlib
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vbs import signals
from vbs.children import end_with_parent
from vbs.console import open_missing_streams, print_err
from vbs.failures import Failure, is_infrastructure, is_out_of_memory, reason_of
from vbs.options import Command, execute
from vbs.text import shortened

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130  # exit codes
LONGEST = 2000  # characters of an error message; files may hold keys and names of any length
# errors of the operating system that a wrong path explains; all others are the machine's
OF_A_PATH = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    )
)


# what an option of that name may be, in every command; those without a lower limit have one that
# depends on the command
SCALES, SIDES, MANY = (1e-3, 1e3), (1, 100_000), (-math.inf, 100_000)
LIMITS: dict[str, tuple[float, float]] = {
    "width": SCALES,
    "depth": SCALES,
    "proxy_width": SCALES,
    "resolution": SIDES,
    "proxy_resolution": SIDES,
    "max_resolution": SIDES,
    "round_resolution": SIDES,
    "classes": (1, 1_000_000),
    "cpus": (0, 1e6),
    "gpus": (0, 1e6),
    "cpus_per_trial": (0, 1e6),
    "gpus_per_trial": (0, 1e6),
    "workers": MANY,
    "workers_per_trial": MANY,
    "loaders": MANY,
    "max_concurrent": MANY,
    "nodes": MANY,
    "retries": MANY,
    "batch": (1, 1_000_000),
    "measure_batch": (1, 1_000_000),
    "threads": (1, 1024),
    "measure_threads": (1, 1024),
    "ratio": (-math.inf, 1e3),
}


class Parser(argparse.ArgumentParser):
    """Reports an invalid command line in one line, as every other mistake: raises ValueError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # argparse takes what looks like a negative number for a value; its own has no exponent
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.I)
        # argparse looks the types of options up here first
        self.register("type", float, _finite)
        self.register("type", int, _whole)

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """As argparse has it; ValueError where a number is outside of LIMITS."""
        found, rest = super().parse_known_args(*args, **kwargs)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if action.dest in LIMITS and isinstance(value, int | float):
                _check_limits([action.dest, *action.option_strings][-1], value, action.dest)
        return found, rest

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _check_limits(name: str, value: float, dest: str) -> None:
    low, high = LIMITS[dest]
    if not low <= value <= high:
        least, most = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (low, high))
        allowed = f"from {least} to {most}" if low > -math.inf else f"up to {most}"
        raise ValueError(f"{name}: {value} is not allowed; use a number {allowed}")


def _finite(text: str) -> float:
    """The number of an option; NaN and infinity are none that an option could mean."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{shortened(repr(text), 40)} is not a finite number")
    return value


def _whole(text: str) -> int:
    """The whole number of an option, within what 64 bits hold."""
    shown = shortened(repr(text), 40)
    try:
        value = int(text)
    except ValueError:  # of more than 4,300 digits, too
        raise argparse.ArgumentTypeError(f"{shown} is not a whole number") from None
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{shown} is too large")
    return value


def run_command(
    program: str, action: Callable[[], int], *, interrupted: str | Callable[[], str] = "interrupted"
) -> int:
    """Run a command's body; its exit code. Whatever goes wrong is one line on stderr.

    Codes: what `action` returns; 2 for a user's mistake (ValueError, or a path that does not
    exist or is not allowed); 1 for a failure of the machine (`Failure`, and any other OSError:
    a full disk, a lost storage; memory that ran out); 130 for Ctrl-C, SIGTERM and SIGHUP, which
    raise KeyboardInterrupt. A process that another command started ends soon after that one.

    interrupted  the line for the last case, or a function that returns it.
    """
    open_missing_streams()
    with signals.caught():
        end_with_parent()
        try:
            return action()
        except KeyboardInterrupt as error:
            with signals.deferred():
                text = interrupted if isinstance(interrupted, str) else interrupted()
                text = str(error) if isinstance(error, signals.Interrupted) else text
                return _report(program, text, INTERRUPTED)
        except Exception as error:
            text, code = explained(error)
            if not code:
                raise
            return _report(program, text, code)


def explained(error: Exception) -> tuple[str, int]:
    """The line that reports an error of a command, and its exit code; 0 for one of the program."""
    if isinstance(error, Failure):
        return str(error), FAILED
    if isinstance(error, ValueError):
        return str(error), MISTAKE
    if isinstance(error, OSError):
        return os_error_text(error), MISTAKE if error.errno in OF_A_PATH else FAILED
    if is_out_of_memory(error) or is_infrastructure(error):
        return reason_of(error), FAILED
    return reason_of(error), 0


def run_program(
    program: str,
    module: str = "",
    function: str = "",
    *,
    interrupted: str = "",
    argv: Sequence[str] | None = None,
    called: str = "",
) -> NoReturn:
    """Run a command for the words of the command line, and exit with its code.

    module       where it is defined, default <program>.config.
    function     what is called there (0 for None); default: its `COMMAND`, see
                 `vbs.options.Command`.
    interrupted  what is printed after Ctrl-C; default: what the command says.
    argv         words of the command line where they are not those of this process.
    called       how the command was called, for its help, where that is not python -m <program>.

    To be called by `__main__` before any other import: signals are handled from here on, and the
    imports of a command may take seconds.
    """
    signals.install()
    told = [interrupted or "interrupted"]

    def action() -> int:
        imported = importlib.import_module(module or f"{program}.config")
        signals.raise_postponed()
        if function:
            return getattr(imported, function)() or 0
        told.append(imported.COMMAND.interrupted)
        return execute(imported.COMMAND, argv, called=called)

    code = run_command(program, action, interrupted=lambda: told[-1])
    signals.ignore()
    sys.exit(code)


def command_line(program: str, argv: Sequence[str] | None = None) -> int:
    """Run a command that is defined in <program>.config for the words of a command line; its exit
    code."""
    command: Command = importlib.import_module(f"{program}.config").COMMAND
    return run_command(program, lambda: execute(command, argv), interrupted=command.interrupted)


def os_error_text(error: OSError) -> str:
    """The path that an operation failed on, and why."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{error.filename or 'output'}: {reason}"


def _report(program: str, text: str, code: int) -> int:
    print_err(f"{program}: {shortened(text, LONGEST)}")
    return code


def python_command() -> str:
    """What to type for this interpreter: after `make search`, no environment is activated."""
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix:
        return "python"
    nearby = os.path.relpath(sys.executable)
    return sys.executable if nearby.startswith("..") else nearby
