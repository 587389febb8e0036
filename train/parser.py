"""Helpers for options that several commands share: the device, the data, successive halving."""

from __future__ import annotations

import re
from collections.abc import Iterable

from train.data.source import parse
from vbs.console import print_err
from vbs.text import printable

SCHEDULERS = ("asha", "fifo")
FACTOR = 3.0  # default factor of successive halving
FACTORS = (1.01, 1000.0)  # allowed range; factors closer to 1 would give a rung for each step


def check_factor(factor: float, *, what: str = "factor") -> None:
    """Raise ValueError if a factor of successive halving is out of range."""
    low, high = FACTORS
    if not low <= factor <= high:
        raise ValueError(f"{what}: {factor} is not allowed; use a number from {low:g} to {high:g}")


def check_device(name: str, *, local: bool) -> None:
    """Raise ValueError if the device is of an unknown kind or does not exist.

    local  whether the device is on this machine; otherwise its existence is not checked.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if local and name.startswith("cuda"):
        from train.distributed import pick_device

        pick_device(name)


def absolute_data(text: str) -> str:
    """Return the value of --data in a form that is valid in every folder and process."""
    return str(parse(text).absolute())


def print_notes(notes: Iterable[str]) -> None:
    """Print on stderr which data are unused and which defaults were chosen."""
    for note in notes:
        print_err(f"data: {printable(note)}")
