"""Public names of a package that are imported when they are first used (PEP 562).

    if TYPE_CHECKING:
        from train.data.loading import load

    __getattr__, __dir__ = lazy_names(__name__, {"load": "train.data.loading"})

The first part is for type checkers; a test compares both.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    package  its `__name__`.
    modules  name -> full name of the module that defines it. A module of the package must not have
             the same name: once imported, it would hide what it defines.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
