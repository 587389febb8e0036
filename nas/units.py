"""Numbers as users write and read them: 400M, 0.4G, 4e8."""

from __future__ import annotations

import math
import re

_FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


def parse_quantity(text: str, *, what: str = "quantity") -> float:
    """The number a text like 400M, 0.4G, 4e8 or 400000000 stands for; ValueError unless > 0."""
    match = re.fullmatch(r"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([KMGBT]?)\s*", text, re.IGNORECASE)
    try:
        value = float(match[1]) * _FACTORS[match[2].upper()] if match else math.nan
    except ValueError:  # "1.2.3"
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{what}: {text!r} is not a size; write it like 400M, 0.4G or 4e8")
    if value <= 0:
        raise ValueError(f"{what}: {text!r} is not above 0; write it like 400M, 0.4G or 4e8")
    return value


def short(value: float) -> str:
    """Four significant figures with a suffix: 385.8M, 5.289M, 1.044e+11."""
    for suffix, factor in (("", 1.0), ("K", 1e3), ("M", 1e6), ("G", 1e9)):
        if abs(value) < 1000 * factor:
            return f"{value / factor:.4g}{suffix}"
    return f"{value:.4g}"
