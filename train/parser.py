"""Options that several commands share: the device, and how data are named."""

from __future__ import annotations

import re
from collections.abc import Iterable

from train.data.source import parse
from vbs.console import print_err
from vbs.text import printable

SCHEDULERS = ("asha", "fifo")
FACTOR = 3.0  # of successive halving, where none is given
FACTORS = (1.01, 1000.0)  # that are allowed; next to 1 there would be a rung for each step


def check_factor(factor: float, *, what: str = "factor") -> None:
    """ValueError for a factor of successive halving that is out of range."""
    low, high = FACTORS
    if not low <= factor <= high:
        raise ValueError(f"{what}: {factor} is not allowed; use a number from {low:g} to {high:g}")


def check_device(name: str, *, local: bool) -> None:
    """ValueError for a device of no known kind, or one that is not there.

    local  whether it is this machine's; a cluster's nodes know theirs.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if local and name.startswith("cuda"):
        from train.distributed import pick_device

        pick_device(name)


def absolute_data(text: str) -> str:
    """What --data names, by a text that means the same in every folder and process."""
    return str(parse(text).absolute())


def print_notes(notes: Iterable[str]) -> None:
    """What of the data is not used, and what was chosen, on stderr."""
    for note in notes:
        print_err(f"data: {printable(note)}")
