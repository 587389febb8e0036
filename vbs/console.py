"""What commands print: safe for every terminal, encoding and pipe.

No line acts on a terminal, no character that the encoding lacks ends a command, and neither does
a closed pipe or a full disk behind stdout: results are in files, the lines are extra.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO, cast

from vbs.text import next_steps, printable, shell_word

# how characters of our own texts are spelled where the encoding lacks them
SPELLED = {
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "\u00d7": "x",
    "…": "...",
    "²": "^2",
    "→": "->",
}


def print_out(*lines: object) -> None:
    """Print lines on stdout. A newline inside a line is escaped, as all of it that acts."""
    Stream(sys.stdout).write(_joined(lines))


def print_err(*lines: object) -> None:
    """Print lines on stderr, at once; as `print_out`."""
    Stream(sys.stderr).write(_joined(lines))


def _joined(lines: Iterable[object]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)


def warn(text: object) -> None:
    """Print a warning as one line on stderr."""
    print_err(f"warning: {text}")


def print_results(folder: Path, names: Iterable[str], commands: Sequence[str]) -> None:
    """Print where results are, which files of `names` are there, and what to run next."""
    print_out("", results_line(folder, names), *next_steps(commands))


def results_line(folder: Path, names: Iterable[str]) -> str:
    """Where results are, as a word that can be pasted, and which of `names` are there."""
    found = [name for name in names if (folder / name).exists()]
    return f"results: {shell_word(f'{folder}/')} ({', '.join(found)})"


def open_missing_streams() -> None:
    """Put the null device in place of standard streams that the caller has closed.

    Otherwise they are None, and the next file that is opened becomes what children of this process
    print into.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 it stays open
            setattr(sys, name, stream)


def encodable(text: str, encoding: str) -> str:
    """The text with every character that the encoding lacks spelled in ASCII."""
    try:
        text.encode(encoding)
    except LookupError:
        encoding = "ascii"
    except UnicodeEncodeError:
        pass
    else:
        return text
    return "".join(_spelled(character, encoding) for character in text)


def _spelled(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return SPELLED.get(character) or character.encode("ascii", "backslashreplace").decode()
    return character


class Stream(io.TextIOBase):
    """A text stream in which nothing fails: for stdout or stderr, which may be None.

    Characters that its encoding lacks are spelled in ASCII. Where stdout cannot be written any
    more, it is replaced by the null device: without a word after a closed pipe, as in
    `command | head -1`, and with a warning otherwise, such as for a full disk.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write and flush."""
        if self._stream is not None:
            try:
                self._stream.write(encodable(text, self.encoding))
                self._stream.flush()
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """`write` has done it."""

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        return cast(TextIO, self._stream).fileno()

    def _give_up(self, error: Exception) -> None:
        stream, self._stream = self._stream, None
        is_stdout = stream is sys.stdout
        try:
            # what is left in the buffer would fail again when the interpreter ends
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, cast(TextIO, stream).fileno())
            os.close(null)
        except (OSError, ValueError, AttributeError):
            pass  # a stream without a file
        if is_stdout and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            warn(f"stdout cannot be written ({error.strerror}); results are in their files")
