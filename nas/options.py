"""Groups of options that searches and comparisons share: the space, and the study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.storage.passwords import escaped_url
from search_spaces.catalog import SPACES
from vbs.config import Config, option


def storage_url(text: str, *, what: str = "storage") -> str:
    """The URL with its password escaped; of sqlite with an absolute path."""
    if text.startswith("sqlite:///"):
        return f"sqlite:///{Path(text.removeprefix('sqlite:///')).expanduser().resolve()}"
    return escaped_url(text)


@dataclass(frozen=True, kw_only=True)
class SpaceOptions(Config):
    """Which networks are considered, and for which images."""

    title = "space"

    space: str | None = option(
        None, metavar="|".join(SPACES),
        help="default efficientnet; compact where networks are trained on images",
    )  # fmt: skip
    resolution: int | None = option(
        None, metavar="PX", help="input side (default 224, or that of the images)"
    )
    classes: int | None = option(
        None, metavar="N", help="number of classes (default 1000, or that of the images)"
    )
    width: float = option(1.0, metavar="X", help="multiplies all channels (default 1)")
    small_images: bool | None = option(
        None, help="fewer strides, for 32 px images (default: up to 64 px)"
    )


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Config):
    """Where results are recorded the moment they are there."""

    title = "study"

    storage: str | None = option(
        None, metavar="URL", parse=storage_url, later=True,
        help="a database for many drivers: postgresql://USER@HOST/NAME (default: a file in the "
        "folder)",
    )  # fmt: skip
    study: str = option(
        "search", metavar="NAME", later=True,
        help="name of the study in the database; drivers that give the same one share it",
    )  # fmt: skip
