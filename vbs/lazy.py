"""Lazy imports of a package's public names on first use (PEP 562).

    if TYPE_CHECKING:
        from train.data.loading import load

    __getattr__, __dir__ = lazy_names(__name__, {"load": "train.data.loading"})

The imports under TYPE_CHECKING are for type checkers; a test compares them with the mapping.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package.

    package  `__name__` of the package.
    modules  public name -> full name of the module that defines it. A module of the package must
             not have the same name: once imported, it would hide the public name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # the next access bypasses this function
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
