"""Paths given by users, and the folder of caches."""

from __future__ import annotations

import os
from pathlib import Path

from vbs.text import shortened


def absolute(text: str | Path, *, what: str) -> Path:
    """Return the absolute path with links resolved; "~" is the home folder.

    Raises ValueError, which begins with `what`, for links that form a loop, and for "~NAME" of an
    unknown user.
    """
    try:
        return Path(text).expanduser().resolve()
    except RuntimeError as error:
        raise ValueError(
            f"{what}: {shortened(text)} is not a valid path ({shortened(error)})"
        ) from None


def cache_folder() -> Path:
    """Return the folder of all caches of this project, below $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # relative paths must be ignored (XDG base directory specification)
    caches = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return caches / "vision-baseline-search"
