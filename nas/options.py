"""Option groups that searches and comparisons share: the search space and the study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nas.storage.passwords import escaped_url, without_password
from search_spaces.catalog import SIZES, SPACES, size_options
from vbs.config import Config, flag, given_values, option
from vbs.paths import absolute
from vbs.text import shortened

if TYPE_CHECKING:
    from typing_extensions import Self

    from search_spaces.space import SearchSpace


def storage_url(text: str, *, what: str = "storage") -> str:
    """Return the URL with its password escaped; the path of an SQLite URL becomes absolute.

    Raises ValueError for an invalid or unsupported URL.
    """
    from nas.storage.database import checked_url

    checked_url(text)
    if text.startswith("sqlite:///"):
        return f"sqlite:///{absolute(text.removeprefix('sqlite:///'), what=what)}"
    return escaped_url(text)


@dataclass(frozen=True, kw_only=True)
class SpaceOptions(Config):
    """Options of the search space: its name and the sizes of its networks."""

    title = "space"

    space: str | None = option(
        None,
        catalog=SPACES,
        help="search space (default efficientnet; compact if networks are trained on images)",
    )
    resolution: int | None = option(
        None, metavar="PX", help="input side (default 224, or the side of the images)"
    )
    classes: int | None = option(
        None, metavar="N", help="number of classes (default 1000, or the number in the data)"
    )
    width: float = option(1.0, metavar="X", help="multiplier of all channels (default 1)")
    small_images: bool | None = option(
        None, help="use fewer strides, for images of 32 px (default: for sides of at most 64 px)"
    )

    def check_sizes(self) -> None:
        """Raise ValueError for a size that a user's space does not accept; imports the space."""
        if self.space is None:
            return
        for name in given_values(self):
            if name in SIZES and name not in size_options(self.space):
                raise ValueError(
                    f"{flag(name)}: space {shortened(self.space)} has no argument {name!r}; leave "
                    f"{flag(name)} out"
                )

    def sizes(self) -> dict[str, Any]:
        """Return the sizes that are set, as arguments of `search_spaces.catalog.space`."""
        values = {name: getattr(self, name) for name in SIZES}
        return {name: value for name, value in values.items() if value is not None}

    def resolved(self, name: str, space: SearchSpace) -> Self:
        """Return the options with the name and the sizes of a space that was created."""
        own = size_options(name)
        known = {size: value for size, value in space.settings.items() if size in own}
        return replace(self, space=name, **known)


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Config):
    """Options of the study, the database that records every result immediately."""

    title = "study"

    storage: str | None = option(
        None,
        metavar="URL",
        parse=storage_url,
        later=True,
        help="database that several processes share: postgresql://USER@HOST/NAME (default: a file "
        "in the folder)",
    )
    study: str = option(
        "search",
        metavar="NAME",
        later=True,
        help="name of the study in the database; processes with the same name share the study",
    )

    def settings(self) -> dict[str, Any]:
        """Return the values as plain data for a record, without the password."""
        settings = super().settings()
        if self.storage is not None:
            settings["storage"] = without_password(self.storage)
        return settings
