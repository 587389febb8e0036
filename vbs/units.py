"""Numbers and times with units as users write and read them: 400M, 0.4G, 4e8; 20ms, 1.5s, 2h."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from vbs.text import shortened

LARGEST = 1e18  # operations, parameters or bytes; more than any network has
LONGEST = 1e9  # seconds, 30 years
_FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_SECONDS = {"us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_quantity(text: str, *, what: str = "quantity") -> float:
    """Parse a number like 400M, 0.4G, 4e8 or 400000000; raises ValueError unless it is > 0."""
    value = _number(text, r"[KMGBT]?", _FACTORS)
    return _checked(value, text, what, "size", "write it like 400M, 0.4G or 4e8", LARGEST)


def parse_rate(text: str, *, what: str = "rate") -> float:
    """Parse images/s like 12K or 12000; raises ValueError unless it is > 0."""
    value = _number(text, r"[KMGBT]?", _FACTORS)
    return _checked(value, text, what, "rate", "write images/s like 12K or 12000", LARGEST)


def short(value: float) -> str:
    """Format a number with four significant digits and a suffix: 385.8M, 104.4G, 1.2e+15."""
    for suffix, factor in (("", 1.0), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if abs(value) < 999.95 * factor:
            return f"{value / factor:.4g}{suffix}"
    return f"{value:.4g}"


def megabytes(count: int) -> str:
    """Format a number of bytes in units of 10^6: 13.5 MB, 0.0123 MB."""
    size = count / 1e6
    return f"{size:,.1f} MB" if size >= 10 else f"{size:.3g} MB"


def quantity_text(value: float) -> str:
    """Return the shortest text that `parse_quantity` reads as this number: 4M, 1.5K, 385814752."""
    return _text_of(value, {name: each for name, each in _FACTORS.items() if name != "B"}, "")


def percent(share: float) -> str:
    """Format a share as a percentage with two or three significant digits: 0.52%, 67%, 99.9%.

    Only a share of exactly 1 is "100%". Shares below 0.0001 are "less than 0.01%", because they
    are estimated from samples that are not more precise.
    """
    if share < 1e-4:
        return "less than 0.01%"
    value = 100 * share
    if value < 9.95:
        return f"{value:.2g}%"
    if value < 98.5:
        return f"{value:.0f}%"
    return "100%" if share >= 1 else f"{min(value, 99.9):.1f}%"


def parse_seconds(text: str, *, what: str = "time") -> float:
    """Parse a time like 250us, 20ms, 1.5s, 30min or 2h to seconds; raises ValueError unless > 0.

    A number without a unit is refused, because it could mean seconds or milliseconds.
    """
    text = text.replace("\u03bc", "\u00b5")  # Greek mu -> micro sign
    value = _number(text, "us|\u00b5s|ms|s|min|h", {k.upper(): v for k, v in _SECONDS.items()})
    return _checked(value, text, what, "time", "write it like 20ms, 1.5s, 30min or 2h", LONGEST)


def seconds_text(value: float) -> str:
    """Return the shortest text that `parse_seconds` reads as this time: 90s, 1.5h, 20ms."""
    return _text_of(value, {name: each for name, each in _SECONDS.items() if name.isascii()}, "s")


def _text_of(value: float, factors: Mapping[str, float], usual: str) -> str:
    """Return the shortest text of a number >= 1 and a unit that equals the value exactly.

    Among texts of equal length, the one with the larger unit is chosen.
    """
    texts = []
    for unit, factor in factors.items():
        number = f"{value / factor:.12g}"
        if float(number) >= 1 and float(number) * factor == value:
            texts.append(f"{number}{unit}")
    return min(reversed(texts), key=len) if texts else f"{value!r}{usual}"


def _number(text: str, units: str, factors: Mapping[str, float]) -> float:
    """Return the number times the factor of its unit; NaN if the text has another form."""
    number = rf"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*({units})\s*"
    match = re.fullmatch(number, text, re.IGNORECASE)
    if match is None:
        return math.nan
    try:
        return float(match[1]) * factors[match[2].upper()]
    except ValueError:  # "1.2.3"
        return math.nan


def _checked(value: float, text: str, what: str, kind: str, hint: str, largest: float) -> float:
    """Return the value; raises ValueError unless it is finite, above 0 and at most `largest`."""
    shown = shortened(repr(text), 60)
    if not math.isfinite(value):
        raise ValueError(f"{what}: {shown} is not a {kind}; {hint}")
    if value <= 0:
        raise ValueError(f"{what}: {shown} is not above 0; {hint}")
    if value > largest:
        raise ValueError(f"{what}: {shown} is too large; use at most {largest:g}")
    return value


def short_seconds(value: float) -> str:
    """Format a time with three significant digits: 250us, 20.3ms, 1.5s; above: 14,400s."""
    for unit, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if abs(value) < 999.5 * factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:,.0f}s"


def minutes(seconds: float) -> str:
    """Format a duration roughly: "40 s", "34 min", "2.1 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """Format seconds as m:ss, h:mm:ss or d days h:mm:ss; "?" if they are not finite."""
    if not math.isfinite(seconds):
        return "?"
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not hours:
        return f"{minute}:{second:02}"
    return f"{f'{days} d ' if days else ''}{hour}:{minute:02}:{second:02}"
