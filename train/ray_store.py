"""Where the results of many trainings lie: a folder that all nodes share, or an fsspec URL.

Everything that matters is a file here, whole or absent: a driver or a node may die at any moment,
and whoever goes on needs nothing else.

    run.json                   settings of the whole, and how far it is
    results.json, results.csv  a row for each trial
    trials/NAME/curve.json     its learning curve, written after every epoch, and where it ran
    trials/NAME/run.json       how it ended; absent while it has not
    trials/NAME/*.safetensors, curves.csv, tensorboard/
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from train.files import check_writable, write_json

ANSWER = 60.0  # seconds that a remote storage has for its first answer
STATES = ("last.safetensors", "best.safetensors")  # what a trial needs to go on


class Store:
    """A folder by its path, or by a URL that fsspec knows (s3://, gs://, sftp://, file://...).

    Raises ValueError where the URL's protocol is unknown or lacks its package.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") if "://" in place else str(Path(place).absolute())
        self._files: Any = None
        if "://" not in place:
            return
        import fsspec

        try:
            self._files, self._root = fsspec.core.url_to_fs(self.place)
        except Exception as error:  # of fsspec and of the packages behind it
            raise ValueError(f"out: {place} cannot be used ({_line(error)})") from None

    @property
    def local(self) -> Path | None:
        """The folder, where it is one."""
        return Path(self.place) if self._files is None else None

    def check(self) -> None:
        """ValueError unless files can be made, read and removed there."""
        try:
            if self.local is not None:
                self.local.mkdir(parents=True, exist_ok=True)
                check_writable(self.local)
            else:
                in_time(self._check_remote, ANSWER)
        except Exception as error:
            raise ValueError(f"out: {self.place} cannot be written ({_line(error)})") from None

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a JSON file; None where it is absent. ValueError where it is no record."""
        try:
            if self.local is not None:
                text = (self.local / name).read_text()
            else:
                text = self._files.cat_file(f"{self._root}/{name}").decode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ValueError(f"{self.place}/{name} is damaged; it is not a JSON object")
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """A JSON file, whole or not at all."""
        if self.local is not None:
            path = self.local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, content)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "content.json")
            write_json(path, content)
            self._put(path, name)

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[tuple[Path, Callable[[], None]]]:
        """A folder on this machine to train in, and a function that saves what changed in it.

        Of a URL, the states are fetched first, and the folder is removed in the end.
        """
        if self.local is not None:
            path = self.local / name
            path.mkdir(parents=True, exist_ok=True)
            yield path, _nothing
            return
        with tempfile.TemporaryDirectory(prefix="vbs-trial-") as place:
            path = Path(place)
            for state in STATES:
                with contextlib.suppress(FileNotFoundError):
                    self._files.get_file(f"{self._root}/{name}/{state}", str(path / state))
            seen = _stamps(path)
            yield path, lambda: self._save(path, name, seen)

    def _save(self, folder: Path, name: str, seen: dict[str, tuple[int, int]]) -> None:
        for file, stamp in _stamps(folder).items():
            if seen.get(file) != stamp:
                self._put(folder / file, f"{name}/{file}")
                seen[file] = stamp

    def _put(self, path: Path, name: str) -> None:
        """By a temporary name: an upload that breaks off must not spoil what is there."""
        final = f"{self._root}/{name}"
        above, _, last = final.rpartition("/")
        unfinished = f"{above}/.unfinished-{uuid.uuid4().hex[:8]}-{last}"
        self._files.makedirs(above, exist_ok=True)
        self._files.put_file(str(path), unfinished)
        self._files.mv(unfinished, final)

    def _check_remote(self) -> None:
        probe = f".writable-{uuid.uuid4().hex[:8]}"
        self.write(probe, {})
        if self.read(probe) != {}:
            raise OSError("what was written cannot be read")
        self._files.rm_file(f"{self._root}/{probe}")


def in_time(action: Callable[[], None], seconds: float) -> None:
    """Run an action in a thread that is left behind with TimeoutError if it takes longer."""
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
    """Time and size of the files in a folder, but of unfinished ones."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = [path for path in files if not path.name.startswith(".unfinished-")]
    stats = {str(path.relative_to(folder)): os.stat(path) for path in whole}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}


def _nothing() -> None:
    """What changed is where it belongs already."""


def _line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return (text or type(error).__name__)[:160]
