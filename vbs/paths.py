"""Paths given by users."""

from __future__ import annotations

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
