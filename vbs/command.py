"""What all command lines share: parser, exit codes, one-line errors, signals."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from vbs import signals
from vbs.children import end_with_parent
from vbs.console import print_err
from vbs.failures import Failure, is_infrastructure, is_out_of_memory, reason_of
from vbs.text import printable

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130  # exit codes
# errors of the operating system that a wrong path explains; all others are the machine's
OF_A_PATH = frozenset((
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EACCES,
    errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP,
))  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Reports an invalid command line in one line, as every other mistake: raises ValueError."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


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
    with signals.caught():
        end_with_parent()
        try:
            return action()
        except Failure as error:
            return _report(program, str(error), FAILED)
        except ValueError as error:
            return _report(program, str(error), MISTAKE)
        except OSError as error:
            code = MISTAKE if error.errno in OF_A_PATH else FAILED
            return _report(program, os_error_text(error), code)
        except KeyboardInterrupt:
            with signals.deferred():
                text = interrupted if isinstance(interrupted, str) else interrupted()
                return _report(program, text, INTERRUPTED)
        except Exception as error:
            if not (is_out_of_memory(error) or is_infrastructure(error)):
                raise
            return _report(program, reason_of(error), FAILED)


def run_program(
    program: str, module: str, function: str = "run", *, interrupted: str = "interrupted"
) -> NoReturn:
    """Import a command's module, call its function, and exit with the code that it returns (0
    for None).

    To be called by `__main__` before any other import: signals are handled from here on, and the
    imports of a command may take seconds.
    """
    signals.install()
    code = run_command(
        program, lambda: getattr(importlib.import_module(module), function)() or 0,
        interrupted=interrupted,
    )  # fmt: skip
    signals.ignore()
    sys.exit(code)


def os_error_text(error: OSError) -> str:
    """The path that an operation failed on, and why."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{error.filename or 'output'}: {reason}"


def _report(program: str, text: str, code: int) -> int:
    print_err(f"{program}: {printable(text)}")
    return code


def python_command() -> str:
    """What to type for this interpreter: after `make search`, no environment is activated."""
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix:
        return "python"
    nearby = os.path.relpath(sys.executable)
    return sys.executable if nearby.startswith("..") else nearby
