"""Groups of options that searches and comparisons share: the space, and the study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nas.storage.passwords import escaped_url, without_password
from search_spaces.catalog import SIZES, SPACES, size_options
from search_spaces.space import SearchSpace
from vbs.config import Config, flag, given_values, option
from vbs.paths import absolute
from vbs.text import shortened

if TYPE_CHECKING:
    from typing_extensions import Self


def storage_url(text: str, *, what: str = "storage") -> str:
    """The URL with its password escaped; of sqlite with an absolute path."""
    if text.startswith("sqlite:///"):
        return f"sqlite:///{absolute(text.removeprefix('sqlite:///'), what=what)}"
    return escaped_url(text)


@dataclass(frozen=True, kw_only=True)
class SpaceOptions(Config):
    """Which networks are considered, and for which images."""

    title = "space"

    space: str | None = option(
        None,
        catalog=SPACES,
        help="default efficientnet; compact where networks are trained on images",
    )
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

    def check_sizes(self) -> None:
        """ValueError for a size that a space of the user's own does not take; imports it."""
        if self.space is None:
            return
        for name in given_values(self):
            if name in SIZES and name not in size_options(self.space):
                raise ValueError(
                    f"{flag(name)}: space {shortened(self.space)} does not take it; leave it out"
                )

    def sizes(self) -> dict[str, Any]:
        """The sizes that are named, as `search_spaces.catalog.space` takes them."""
        values = {name: getattr(self, name) for name in SIZES}
        return {name: value for name, value in values.items() if value is not None}

    def resolved(self, name: str, space: SearchSpace) -> Self:
        """The options with those of a space that was made by that name."""
        own = size_options(name)
        known = {size: value for size, value in space.settings.items() if size in own}
        return replace(self, space=name, **known)


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Config):
    """Where results are recorded the moment they are there."""

    title = "study"

    storage: str | None = option(
        None,
        metavar="URL",
        parse=storage_url,
        later=True,
        help="a database for many drivers: postgresql://USER@HOST/NAME (default: a file in the "
        "folder)",
    )
    study: str = option(
        "search",
        metavar="NAME",
        later=True,
        help="name of the study in the database; drivers that give the same one share it",
    )

    def settings(self) -> dict[str, Any]:
        """The values as plain data, as a record keeps them: without the password."""
        settings = super().settings()
        if self.storage is not None:
            settings["storage"] = without_password(self.storage)
        return settings
