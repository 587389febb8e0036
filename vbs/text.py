"""Text from users made safe for terminals, logs, tables and pages.

Names of files and classes, keys of JSON and columns of tables may contain escape sequences that
change a terminal's title, marks that reverse the reading direction, and newlines that fake a line.
"""

from __future__ import annotations

import difflib
import shlex
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 200  # characters of a value in a message
# control and format characters (bidirectional and zero-width marks), surrogates, private and
# unassigned ones, line and paragraph separators
UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
LOOKALIKES = str.maketrans("oil|sz", "011152")  # letters that are mistaken for digits
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of formulas in spreadsheets


def printable(text: object, *, keep: str = "") -> str:
    """Return the text on one line, with every character that is not printable escaped.

    keep  characters that are not escaped, such as a newline in a text of several lines.
    """
    whole = str(text)
    if whole.isprintable():  # stricter than `unsafe`, and fast
        return whole
    return "".join(_escaped(c) if c not in keep and unsafe(c) else c for c in whole)


def unsafe(character: str) -> bool:
    """Return whether a terminal may act on the character instead of displaying it."""
    return unicodedata.category(character) in UNPRINTABLE


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return repr(character)[1:-1]
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shortened(text: object, longest: int = LONGEST) -> str:
    """Return the printable text, with its middle omitted if it is longer than `longest`."""
    whole = printable(text)
    if len(whole) <= longest:
        return whole
    half = (longest - 5) // 2
    return f"{whole[: longest - 5 - half]} ... {whole[-half:]}"


def quoted(value: object, longest: int = LONGEST) -> str:
    """Return the repr of a value for messages, with its middle omitted if it is long."""
    return shortened(repr(value), longest)


def csv_cell(value: object) -> str:
    """Return the printable text as a CSV cell that no spreadsheet interprets as a formula.

    Numbers, including negative ones, are not changed; None is an empty cell.
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
    """Return the text as one printable word of a shell command.

    It is quoted by shlex.quote. If characters are not printable, it is $'...' with their bytes in
    octal, which bash, zsh, ksh and the POSIX shell of 2024 read.
    """
    word = str(text)
    if not any(map(unsafe, word)):
        return shlex.quote(word)
    return f"$'{''.join(map(_shell_character, word))}'"


def _shell_character(character: str) -> str:
    if unsafe(character):
        # a surrogate stands for a byte of a file name that is not UTF-8
        kind = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
        # three octal digits, because a hexadecimal escape would include letters that follow it
        return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", kind))
    return f"\\{character}" if character in "\\'" else character


def shell_command(words: Iterable[object]) -> str:
    """Return a command line that can be pasted into a shell."""
    return " ".join(map(shell_word, words))


def one_of(what: str, name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return `name` if it is known.

    what       name of the option or field, which begins the message.
    otherwise  hint if no known name is similar; default: all known names.

    Raises ValueError with the most similar known names otherwise. Names that differ from `name`
    only by a letter that looks like a digit come first, then names by similarity, then in the
    order of `known`.
    """
    known = list(known)
    if name in known:
        return name
    hint = did_you_mean(name, known) or otherwise or f"use one of {', '.join(known)}"
    raise ValueError(f"{what}: {quoted(name)} is unknown; {hint}")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a hint with up to three similar names, as in `one_of`; "" if none is similar."""
    near = similar(name, known)
    return f"did you mean {' or '.join(near)}?" if near else ""


def similar(name: str, known: Sequence[str]) -> list[str]:
    """Return up to three similar names, the most similar ones first, as in `one_of`."""
    typed = str(name).removeprefix("--")  # the hyphens would make all options similar

    def similarity(candidate: str) -> float:
        return difflib.SequenceMatcher(None, candidate.removeprefix("--"), typed).ratio()

    def distance(candidate: str) -> tuple[bool, float, int]:
        alike = candidate.removeprefix("--").lower().translate(LOOKALIKES)
        differs = alike != typed.lower().translate(LOOKALIKES)
        return differs, -similarity(candidate), known.index(candidate)

    return sorted((each for each in known if similarity(each) > 0.5), key=distance)[:3]


def counted(count: int, noun: str) -> str:
    """Return a number of things: "1 training", "1,200 trainings"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def next_steps(commands: Sequence[str]) -> list[str]:
    """Return lines that list the commands to run next; [] if there are none."""
    return ["next:", *(f"  {command}" for command in commands)] if commands else []
