"""Output of commands on stdout and stderr, safe for every terminal, encoding and pipe.

Control characters are escaped, and characters that the encoding lacks are replaced. A closed pipe
or a full disk behind stdout does not end a command, because all results are in files.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO, cast

from vbs.text import next_steps, printable, shell_word

# replacements of our own characters in encodings that lack them
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
    """Print lines on stdout. Newlines and control characters inside a line are escaped."""
    Stream(sys.stdout).write(_joined(lines))


def print_err(*lines: object) -> None:
    """Print lines on stderr, like `print_out`, and flush."""
    Stream(sys.stderr).write(_joined(lines))


def _joined(lines: Iterable[object]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)


def warn(text: object) -> None:
    """Print a warning as one line on stderr."""
    print_err(f"warning: {text}")


def print_results(folder: Path, names: Iterable[str], commands: Sequence[str]) -> None:
    """Print the results folder, the existing files of `names`, and the commands to run next."""
    print_out("", results_line(folder, names), *next_steps(commands))


def results_line(folder: Path, names: Iterable[str]) -> str:
    """Return a line with the results folder as a shell word and the existing files of `names`."""
    found = [name for name in names if (folder / name).exists()]
    return f"results: {shell_word(f'{folder}/')} ({', '.join(found)})"


def open_missing_streams() -> None:
    """Replace standard streams that the caller has closed by the null device.

    Otherwise they are None, and child processes would print into the next file that is opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 it stays open
            setattr(sys, name, stream)


def encodable(text: str, encoding: str) -> str:
    """Return the text with every character that the encoding lacks spelled in ASCII."""
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
    """A text stream that never raises, for stdout or stderr, which may be None.

    Characters that the encoding lacks are spelled in ASCII. If stdout can no longer be written,
    it is replaced by the null device: silently after a closed pipe, as in `command | head -1`,
    and with a warning otherwise, for example after the disk is full.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text and flush."""
        if self._stream is not None:
            try:
                self._stream.write(encodable(text, self.encoding))
                self._stream.flush()
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Do nothing, because `write` flushes."""

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
            # the rest of the buffer would fail again when the interpreter exits
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, cast(TextIO, stream).fileno())
            os.close(null)
        except (OSError, ValueError, AttributeError):
            pass  # a stream without a file
        if is_stdout and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            warn(f"stdout cannot be written ({error.strerror}); the results are in files")
