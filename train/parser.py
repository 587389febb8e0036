"""What all command lines have in common: their parser, and how they name commands and data."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is answered: by a ValueError."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def check_device(name: str, *, local: bool) -> None:
    """ValueError for a device of no known kind, or one that is not there.

    local  whether it is this machine's; a cluster's nodes know theirs.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if local and name.startswith("cuda"):
        from train.distributed import pick_device

        pick_device(name)


def python_command() -> str:
    """What to type for this interpreter: after `make search`, no environment is activated."""
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix:
        return "python"
    nearby = os.path.relpath(sys.executable)
    return sys.executable if nearby.startswith("..") else nearby


def absolute_data(text: str) -> str:
    """What --data names, by a text that means the same in every folder and process."""
    kind, _, path = text.partition(":")
    if kind in ("imagefolder", "parquet") and path:
        return f"{kind}:{os.path.abspath(path)}"
    return os.path.abspath(text) if text.lower().endswith(".zip") else text
