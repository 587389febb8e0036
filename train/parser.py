"""The command lines' parser."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is answered: by a ValueError."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)
