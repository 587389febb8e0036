"""Common behaviour of all command lines: exit codes, one-line errors, signals."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vbs import signals
from vbs.children import end_with_parent
from vbs.console import open_missing_streams, print_err
from vbs.failures import Failure, is_infrastructure, is_out_of_memory, reason_of
from vbs.text import shell_command, shell_word, shortened

if TYPE_CHECKING:
    from vbs.options import Command

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130  # exit codes
LONGEST = 2000  # characters of an error message; keys and names in files may be of any length
# OS errors that are caused by a wrong path; all other OS errors are failures of the machine
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


def run_command(
    program: str, action: Callable[[], int], *, interrupted: str | Callable[[], str] = "interrupted"
) -> int:
    """Run the body of a command and return its exit code. Every error is one line on stderr.

    Exit codes: the result of `action`; 2 for a user's mistake (ValueError, or a path that does not
    exist or is not accessible); 1 for a failure of the machine (`Failure`, out of memory, and any
    other OSError, such as a full disk); 130 for Ctrl-C, SIGTERM and SIGHUP, which raise
    KeyboardInterrupt. A command that was started by another command ends soon after that command
    has ended.

    interrupted  line to print for exit code 130, or a function that returns it.
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
    """Return the error line and the exit code for an exception; exit code 0 for a bug."""
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
    """Run a command with the words of the command line, and exit with its exit code.

    module       module that defines the command; default: <program>.config.
    function     function to call in it (None means exit code 0); default: its `COMMAND`, see
                 `vbs.options.Command`.
    interrupted  line to print after Ctrl-C; default: `vbs.options.Command.interrupted`.
    argv         words of the command line; None: those of this process.
    called       how the user called the command, for its help; default: python -m <program>.

    `__main__` must call this function before any other import: it installs the signal handlers,
    and the imports of a command may take seconds.
    """
    texts = [interrupted or "interrupted"]

    def action() -> int:
        imported = importlib.import_module(module or f"{program}.config")
        signals.raise_postponed()
        if function:
            return getattr(imported, function)() or 0
        texts.append(imported.COMMAND.interrupted)
        return imported.COMMAND.execute(argv, called=called)

    try:
        signals.install()
        code = run_command(program, action, interrupted=lambda: texts[-1])
    except KeyboardInterrupt:  # just before or after run_command handles it
        signals.ignore()
        code = _report(program, texts[-1], INTERRUPTED)
    signals.ignore()
    sys.exit(code)


def command_line(program: str, argv: Sequence[str] | None = None) -> int:
    """Run the command defined in <program>.config and return its exit code.

    argv  words of the command line; None: those of this process.
    """
    command: Command = importlib.import_module(f"{program}.config").COMMAND
    return run_command(program, lambda: command.execute(argv), interrupted=command.interrupted)


def os_error_text(error: OSError) -> str:
    """Return the path of a failed operation and the reason."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{error.filename or 'output'}: {reason}"


def _report(program: str, text: str, code: int) -> int:
    print_err(f"{program}: {shortened(text, LONGEST)}")
    return code


def python_command() -> str:
    """Return the shell word that runs this interpreter: "python", or its path.

    The path is needed because `make search` does not activate its environment.
    """
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix:
        return "python"
    nearby = os.path.relpath(sys.executable)
    return shell_word(sys.executable if nearby.startswith("..") else nearby)


def module_command(words: Sequence[str]) -> str:
    """Return the command line that runs a module; `words` are its name and its arguments."""
    return f"{python_command()} -m {shell_command(words)}"


def resume_command(program: str, folder: Path, words: Sequence[str] = ()) -> str:
    """Return the command line that resumes a run in its folder; `words` are further arguments."""
    return module_command([program, "--resume", "--out", str(folder), *words])
