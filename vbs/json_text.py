"""Strict parser of JSON that was written by a user or another program.

Python's parser keeps the last of two equal keys, and accepts NaN, Infinity and 1e999. Each of them
hides a mistake, or an attempt to show different values to a person and to this program.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

from vbs.text import shortened


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError, in one line, for invalid JSON, equal keys in an object, numbers that are not
    finite or have too many digits, text that is not UTF-8, and nesting that is too deep.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_int=_whole,
            parse_constant=_constant,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text ({error.reason})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the key {shortened(repr(twice))} appears twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shortened(text)} is too large")
    return value


def _whole(text: str) -> int:
    _finite(text)  # the caller may convert it to a float
    return int(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")
