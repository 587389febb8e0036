"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from vbs.text import shortened


def absolute(text: str | Path, *, what: str) -> Path:
    """The path as it is called from every folder, links followed; "~" is the home folder.

    Raises ValueError, which begins with `what`, for links that form a loop, and for "~NAME" where
    there is no such user.
    """
    try:
        return Path(text).expanduser().resolve()
    except RuntimeError as error:
        raise ValueError(f"{what}: {shortened(text)} is no path ({shortened(error)})") from None
