"""What all command lines share: parser, exit codes, one-line errors, signals."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from vbs import signals
from vbs.children import end_with_parent
from vbs.console import open_missing_streams, print_err
from vbs.failures import Failure, is_infrastructure, is_out_of_memory, reason_of
from vbs.text import shell_command, shell_word, shortened

if TYPE_CHECKING:
    from vbs.options import Command

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
    except KeyboardInterrupt:  # just before run_command handles it, or after
        signals.ignore()
        code = _report(program, texts[-1], INTERRUPTED)
    signals.ignore()
    sys.exit(code)


def command_line(program: str, argv: Sequence[str] | None = None) -> int:
    """Run a command that is defined in <program>.config for the words of a command line; its exit
    code."""
    command: Command = importlib.import_module(f"{program}.config").COMMAND
    return run_command(program, lambda: command.execute(argv), interrupted=command.interrupted)


def os_error_text(error: OSError) -> str:
    """The path that an operation failed on, and why."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{error.filename or 'output'}: {reason}"


def _report(program: str, text: str, code: int) -> int:
    print_err(f"{program}: {shortened(text, LONGEST)}")
    return code


def python_command() -> str:
    """This interpreter as a word of the shell; after `make search`, no environment is activated."""
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix:
        return "python"
    nearby = os.path.relpath(sys.executable)
    return shell_word(sys.executable if nearby.startswith("..") else nearby)


def module_command(words: Sequence[str]) -> str:
    """The command line that runs a module, its name first and then its arguments."""
    return f"{python_command()} -m {shell_command(words)}"
