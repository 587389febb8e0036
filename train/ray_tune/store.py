"""Storage of the results of many trainings: a folder that all nodes share, or an fsspec URL.

All results are files in it, written atomically: a process or a node may die at any time, and a
resumed run needs only these files.

    run.json                   settings of the run, and its status
    owner.json                 the lease: the process that runs it
    results.json, results.csv  a row for each trial
    report.html                the results as a page
    trials/NAME/curve.json     learning curve, written after every epoch, and where the trial ran
    trials/NAME/run.json       how the trial ended; absent before
    trials/NAME/*.safetensors, curves.csv, tensorboard/
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from train.loggers.base import id_file
from train.loggers.catalog import LOGGERS
from vbs.folder import write_whole
from vbs.json_text import parse_json
from vbs.temporary import process_folder

ANSWER = 60.0  # seconds to wait for the first answer of a remote storage
# files from which a trial and its runs in tracking tools are resumed
STATES = (
    "last.safetensors",
    "best.safetensors",
    *(id_file(name) for name, entry in LOGGERS.items() if entry.resumable),
)


class Store:
    """A folder, by its path or by a URL that fsspec supports (s3://, gs://, sftp://, file://...).

    Raises ValueError if the URL's protocol is unknown or needs a missing package. Later errors of
    the storage are raised as OSError, in one line.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") if "://" in place else str(Path(place).absolute())
        self._files: Any = None
        if "://" not in place:
            return
        import fsspec

        try:
            self._files, self._root = fsspec.core.url_to_fs(self.place)
        except Exception as error:  # errors of fsspec and of the packages behind it
            raise ValueError(f"out: {place} cannot be used ({_line(error)})") from None
        if "memory" in (self._files.protocol, *self._files.protocol):
            raise ValueError(f"out: {place} is lost with its process; use a folder or other URL")

    @property
    def local(self) -> Path | None:
        """The folder; None for a URL."""
        return Path(self.place) if self._files is None else None

    def check(self) -> None:
        """Raise ValueError, within a time limit, unless files can be written, read and removed."""
        probe = f".writable-{uuid.uuid4().hex[:8]}"

        def make() -> None:
            self.write(probe, {})
            if self.read(probe) != {}:
                raise OSError("what was written cannot be read")
            self.remove(probe)

        try:
            in_time(make, ANSWER)
        except Exception as error:
            raise ValueError(f"out: {self.place} cannot be written ({_line(error)})") from None

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file; None if it is absent.

        Raises ValueError if it is not a JSON object.
        """
        try:
            if self.local is not None:
                content = (self.local / name).read_bytes()
            else:
                with self._one_error():
                    content = self._files.cat_file(f"{self._root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            known = parse_json(content)
        except ValueError:
            known = None
        if not isinstance(known, dict):
            raise ValueError(f"out: {self.place}/{name} is damaged; it is not a JSON object")
        return known

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file atomically."""
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        self.put(name, lambda path: path.write_text(text))

    def put(self, name: str, fill: Callable[[Path], Any]) -> None:
        """Write a file atomically; `fill` writes it on this machine."""
        if self.local is not None:
            path = self.local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, fill)
            return
        with tempfile.TemporaryDirectory(dir=process_folder()) as folder:
            path = Path(folder, "content")
            fill(path)
            self._put(path, name)

    def remove(self, name: str) -> None:
        """Remove a file."""
        if self.local is not None:
            (self.local / name).unlink(missing_ok=True)
            return
        with self._one_error(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yield a local folder to train in, and a function that saves changed files.

        For a URL, the checkpoints are downloaded first, and the local folder is removed at the end.
        """
        if self.local is not None:
            path = self.local / name
            path.mkdir(parents=True, exist_ok=True)
            yield path, _nothing
            return
        with tempfile.TemporaryDirectory(prefix="trial-", dir=process_folder()) as place:
            path = Path(place)
            for state in STATES:
                with contextlib.suppress(FileNotFoundError), self._one_error():
                    self._files.get_file(f"{self._root}/{name}/{state}", str(path / state))
            seen = _stamps(path)
            yield path, lambda: self._save(path, name, seen)

    def _save(self, folder: Path, name: str, seen: dict[str, tuple[int, int]]) -> None:
        for file, stamp in _stamps(folder).items():
            if seen.get(file) != stamp:
                self._put(folder / file, f"{name}/{file}")
                seen[file] = stamp

    def _put(self, path: Path, name: str) -> None:
        """Upload under a temporary name, so that a broken upload does not damage the file."""
        final = f"{self._root}/{name}"
        above, _, last = final.rpartition("/")
        unfinished = f"{above}/.unfinished-{uuid.uuid4().hex[:8]}-{last}"
        with self._one_error():
            self._files.makedirs(above, exist_ok=True)
            self._files.put_file(str(path), unfinished)
            self._files.mv(unfinished, final)

    @contextlib.contextmanager
    def _one_error(self) -> Iterator[None]:
        """Convert errors of fsspec and of the packages behind it to OSError."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            if error.strerror:  # an error of the operating system, which has its own number
                raise
            raise OSError(errno.EIO, _line(error), self.place) from error
        except Exception as error:
            raise OSError(errno.EIO, _line(error), self.place) from error


def opened(place: str) -> tuple[Store, dict[str, Any] | None]:
    """Return the store of a place and its run.json (None if there is none).

    Raises ValueError, within a time limit and in one line, for all errors.
    """
    found: list[tuple[Store, dict[str, Any] | None]] = []

    def look() -> None:
        store = Store(place)
        found.append((store, store.read("run.json")))

    try:
        in_time(look, ANSWER)
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith("out: "):
            raise
        raise ValueError(f"out: {place} cannot be read ({_line(error)})") from None
    return found[0]


def in_time(action: Callable[[], None], seconds: float) -> None:
    """Run an action in a thread; raise TimeoutError if it takes longer, and abandon the thread."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if errors:
        raise errors[0]


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return time and size of the files in a folder, except unfinished ones."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = [path for path in files if not path.name.startswith(".unfinished-")]
    stats = {str(path.relative_to(folder)): os.stat(path) for path in whole}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}


def _nothing() -> None:
    """Do nothing: changed files are already in their place."""


def _line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return (text or type(error).__name__)[:160]
