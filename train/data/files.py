"""Image files below a folder or in a zip archive, by their paths; nothing is opened or extracted.

Symbolic links are followed, because data sets are often assembled from links. The following are
skipped: links to a folder that contains them, broken links, everything that is not a regular file,
and names that begin with a dot. Archives with names that lead outside the archive are rejected.
"""

from __future__ import annotations

import errno
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from train.data.archives import Members
from train.data.formats import EXTENSIONS, OTHER_EXTENSIONS
from train.data.stores import FileStore, Store, ZipStore
from vbs.folder import folder_problem
from vbs.text import quoted, shortened

Path = tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """Images by their path below a folder or in an archive, as tuples of path components.

    images   paths of the images; for an archive, with their directory entries.
    folders  paths of all folders.
    others   number of images in unsupported formats, by extension.
    """

    place: str
    images: dict[Path, zipfile.ZipInfo | None]
    folders: set[Path]
    archive: bool
    others: Counter[str] = field(default_factory=Counter)

    def store(self, paths: Sequence[Path]) -> Store:
        """Return the store of the encoded images at some paths, in that order."""
        if not self.archive:
            return FileStore([os.path.join(self.place, *path) for path in paths])
        infos = [info for path in paths if (info := self.images[path])]
        return ZipStore(Members(self.place, infos), ["/".join(path) for path in paths])

    def notes(self) -> list[str]:
        """Return notes on the images that are not read."""
        return [
            f"{count:,} {extension} files are not read; convert them to JPEG or PNG"
            for extension, count in sorted(self.others.items())
        ]


def folder_files(folder: str) -> Files:
    """Return the images below a folder; raise ValueError if it is missing or unreadable."""
    if not os.path.isdir(folder):
        raise ValueError(
            f"data: {shortened(folder)} {folder_problem(folder)}; use a folder that holds images"
        )
    files = Files(folder, {}, set(), archive=False)
    pending: list[tuple[Path, frozenset[tuple[int, int]]]] = [((), frozenset())]
    while pending:
        place, above = pending.pop()
        try:
            here = os.stat(os.path.join(folder, *place))
            identity = (here.st_dev, here.st_ino)
            if identity in above:
                continue  # a link to a folder that contains it
            with os.scandir(os.path.join(folder, *place)) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path = (*place, entry.name)
                    if _leads_to(entry.is_dir):
                        files.folders.add(path)
                        pending.append((path, above | {identity}))
                    elif _wanted(files, entry.name) and _leads_to(entry.is_file):
                        files.images[path] = None
        except OSError as error:
            name = shortened(error.filename)
            raise ValueError(f"data: {name} cannot be read ({error.strerror})") from None
    return files


def _leads_to(kind: Callable[[], bool]) -> bool:
    """Return is_dir or is_file of an entry; False for a link to itself."""
    try:
        return kind()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _wanted(files: Files, name: str) -> bool:
    lower = name.lower()
    if lower.endswith(OTHER_EXTENSIONS):
        files.others[os.path.splitext(lower)[1]] += 1
    return lower.endswith(EXTENSIONS)


def zip_files(path: str) -> Files:
    """Return the images in an archive; raise ValueError if it or a path in it is invalid."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except FileNotFoundError:
        raise ValueError(f"data: {shortened(path)} does not exist") from None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        reason = shortened(getattr(error, "strerror", None) or str(error))
        raise ValueError(
            f"data: {shortened(path)} cannot be read as a zip archive ({reason})"
        ) from None
    files = Files(path, {}, set(), archive=True)
    for member in members:
        # archives made on Windows may use backslashes
        name = member.filename.replace("\\", "/")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:/", name):
            raise ValueError(
                f"data: {shortened(path)} holds {quoted(member.filename)}; a name must stay "
                "in the archive"
            )
        if "__MACOSX" in parts[:1] or any(part.startswith(".") for part in parts):
            continue
        depth = len(parts) if name.endswith("/") else len(parts) - 1
        files.folders.update(parts[:end] for end in range(1, depth + 1))
        if depth < len(parts) and _wanted(files, parts[-1]):
            files.images[parts] = member
    return files
