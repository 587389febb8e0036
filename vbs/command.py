"""What all command lines share: their parser, and how they name this interpreter."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Reports an invalid command line in one line, as every other mistake: raises ValueError."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def python_command() -> str:
    """What to type for this interpreter: after `make search`, no environment is activated."""
    if os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix:
        return "python"
    nearby = os.path.relpath(sys.executable)
    return sys.executable if nearby.startswith("..") else nearby
