"""Text that did not come from us, made safe for terminals, logs, tables and pages.

Names of files and classes, keys of JSON and columns of tables may hold escape sequences that
retitle a terminal, marks that reverse the reading direction, and newlines that forge a line.
"""

from __future__ import annotations

import difflib
import shlex
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 200  # characters of a value that a message repeats
# control and format characters (bidirectional and zero-width marks), surrogates, private and
# unassigned ones, line and paragraph separators
UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
LOOKALIKES = str.maketrans("oil|sz", "011152")  # letters that are typed for digits
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets read as the start of a formula


def printable(text: object, *, keep: str = "") -> str:
    """The text on one line, with every character that is not printable written as an escape.

    keep  characters to leave as they are, such as a newline in a text of several lines.
    """
    return "".join(_escaped(c) if c not in keep and unsafe(c) else c for c in str(text))


def unsafe(character: str) -> bool:
    """Whether a terminal may act on the character instead of showing it."""
    return unicodedata.category(character) in UNPRINTABLE


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return repr(character)[1:-1]
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shortened(text: object, longest: int = LONGEST) -> str:
    """The printable text, its middle left out where it is longer than `longest` characters."""
    whole = printable(text)
    if len(whole) <= longest:
        return whole
    half = (longest - 5) // 2
    return f"{whole[: longest - 5 - half]} ... {whole[-half:]}"


def quoted(value: object, longest: int = LONGEST) -> str:
    """The value as Python writes it, for messages, its middle left out where it is long."""
    return shortened(repr(value), longest)


def csv_cell(value: object) -> str:
    """The printable text as a CSV cell that no spreadsheet takes for a formula.

    Numbers, negative ones too, stay as they are; None is an empty cell.
    """
    whole = "" if value is None else printable(value)
    return f"'{whole}" if whole.startswith(FORMULA) and not _is_number(whole) else whole


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def shell_word(text: object) -> str:
    """The text as one word of a shell's command line, on one line and printable.

    Quoted as by shlex.quote. Where characters are not printable, $'...' with their bytes in
    octal, which bash, zsh, ksh and POSIX's shell of 2024 read.
    """
    word = str(text)
    if not any(map(unsafe, word)):
        return shlex.quote(word)
    return f"$'{''.join(map(_shell_character, word))}'"


def _shell_character(character: str) -> str:
    if unsafe(character):
        # a surrogate stands for a byte of a file's name that is not UTF-8
        kind = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
        # three octal digits: a hexadecimal escape would take in letters that follow it
        return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", kind))
    return f"\\{character}" if character in "\\'" else character


def shell_command(words: Iterable[object]) -> str:
    """A command line that can be pasted into a shell."""
    return " ".join(map(shell_word, words))


def one_of(what: str, name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """`name` if it is known.

    otherwise  hint where no known name is near (default: all known names).

    Raises ValueError with the nearest known names otherwise. A digit that was typed as the letter
    it looks like comes first, then names of equal similarity in the order of `known`.
    """
    known = list(known)
    if name in known:
        return name
    typed = str(name).removeprefix("--")  # the hyphens of options make all of them alike

    def similarity(candidate: str) -> float:
        return difflib.SequenceMatcher(None, candidate.removeprefix("--"), typed).ratio()

    def distance(candidate: str) -> tuple[bool, float, int]:
        alike = candidate.removeprefix("--").lower().translate(LOOKALIKES)
        differs = alike != typed.lower().translate(LOOKALIKES)
        return differs, -similarity(candidate), known.index(candidate)

    near = sorted((each for each in known if similarity(each) > 0.5), key=distance)[:3]
    hint = otherwise or f"known are {', '.join(known)}"
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    raise ValueError(f"{what}: {quoted(name)} is unknown; {hint}")


def counted(count: int, noun: str) -> str:
    """A number of things: "1 training", "1,200 trainings"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def next_steps(commands: Sequence[str]) -> list[str]:
    """Lines that list what to run next; none where there is nothing to run."""
    return ["next:", *(f"  {command}" for command in commands)] if commands else []
