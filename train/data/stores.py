"""Stores of encoded images: files, members of zip archives, rows of parquet files.

A store is read by several threads, copied by fork into loader processes, and pickled to spawned
ones. File positions are never shared: each process opens files for itself and reads at given
offsets.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np

from train.data.archives import Members, PerProcess
from train.data.decode import MAX_BYTES, Unreadable, reason

GROUPS_BYTES = 256 * 1024**2  # of parquet row groups that a process caches


class Store(Protocol):
    """Encoded images by number; readable by several threads, and pickled to other processes."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """Return the path or place of the image for messages."""

    def read(self, row: int) -> bytes:
        """Return the encoded image; raises Unreadable."""

    def open(self, row: int) -> BinaryIO:
        """Return the image as a file, which can avoid reading all of it."""
        return io.BytesIO(self.read(row))

    def files(self) -> Iterable[str]:
        """Return the files that the images are read from."""


class FileStore(Store):
    """Image files."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        # one array, not a million strings, which forked workers would copy when they touch them
        self._paths = np.array([os.fsencode(path) for path in paths])

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, row: int) -> str:
        return os.fsdecode(bytes(self._paths[row]))

    def read(self, row: int) -> bytes:
        try:
            with self.open(row) as file:
                size = os.fstat(file.fileno()).st_size  # read(MAX_BYTES) would allocate all of it
                return file.read(min(size, MAX_BYTES) + 1)
        except OSError as error:
            raise Unreadable(error.strerror or type(error).__name__) from None

    def open(self, row: int) -> BinaryIO:
        try:
            return open(bytes(self._paths[row]), "rb")
        except OSError as error:
            raise Unreadable(error.strerror or type(error).__name__) from None

    def files(self) -> Iterable[str]:
        return map(self.name, range(len(self)))


class ZipStore(Store):
    """Members of a zip archive, which is never extracted."""

    def __init__(self, members: Members, names: Sequence[str]) -> None:
        self.members = members
        self._names = np.array([os.fsencode(name) for name in names])

    def __len__(self) -> int:
        return len(self._names)

    def name(self, row: int) -> str:
        return f"{self.members.path}/{os.fsdecode(bytes(self._names[row]))}"

    def read(self, row: int) -> bytes:
        try:
            return self.members.read(row, MAX_BYTES + 1)  # limited, whatever size it states
        except Exception as error:  # damaged data raise errors of zlib, bz2, lzma or struct
            raise Unreadable(reason(error)) from None

    def files(self) -> Iterable[str]:
        return [os.fspath(self.members.path)]


class ParquetStore(Store):
    """The image column of parquet files: bytes, or structs with a field `bytes`.

    Row groups are read as needed and cached. Reading is fast in order, and slow in random order if
    groups are large and do not fit `GROUPS_BYTES`.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], column: str) -> None:
        import pyarrow.parquet

        self.paths = [os.fspath(path) for path in paths]
        self.column = column
        self.groups: list[tuple[int, int]] = []  # file, row group
        rows = [0]
        for number, path in enumerate(self.paths):
            metadata = pyarrow.parquet.read_metadata(path)
            for group in range(metadata.num_row_groups):
                self.groups.append((number, group))
                rows.append(rows[-1] + metadata.row_group(group).num_rows)
        self.starts = np.array(rows)
        self._kept = PerProcess(_Groups)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, row: int) -> str:
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        file = self.groups[group][0]
        first = next(start for start, (owner, _) in enumerate(self.groups) if owner == file)
        return f"{self.paths[file]}, row {row - int(self.starts[first])}"

    def read(self, row: int) -> bytes:
        number = int(np.searchsorted(self.starts, row, "right")) - 1
        kept = self._kept.get()
        with kept.lock:
            if (group := kept.get(number)) is None:
                group = kept.put(number, self._group(number))
        data = group[row - int(self.starts[number])]
        if data is None:
            raise Unreadable("no image in this row")
        return data

    def files(self) -> Iterable[str]:
        return self.paths

    def _group(self, group: int) -> list[bytes | None]:
        import pyarrow.parquet

        file, number = self.groups[group]
        try:
            # no threads, whose locks a fork would inherit, and no memory map, with which a
            # truncated file would end the process
            with pyarrow.parquet.ParquetFile(self.paths[file]) as reader:
                table = reader.read_row_group(number, columns=[self.column], use_threads=False)
            return [data for chunk in table[self.column].chunks for data in _bytes_of(chunk)]
        except Exception as error:
            raise Unreadable(reason(error)) from None

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("paths", "column", "groups", "starts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._kept = PerProcess(_Groups)


class _Groups:
    """The most recently read row groups, up to `GROUPS_BYTES`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._groups: OrderedDict[int, list[bytes | None]] = OrderedDict()

    def get(self, number: int) -> list[bytes | None] | None:
        if number in self._groups:
            self._groups.move_to_end(number)
        return self._groups.get(number)

    def put(self, number: int, group: list[bytes | None]) -> list[bytes | None]:
        self._groups[number] = group
        while len(self._groups) > 1 and self._size() > GROUPS_BYTES:
            self._groups.popitem(last=False)
        return group

    def _size(self) -> int:
        return sum(len(data or b"") for group in self._groups.values() for data in group)


def _bytes_of(chunk: Any) -> list[bytes | None]:
    import pyarrow

    if pyarrow.types.is_struct(chunk.type):  # flatten keeps null structs null, unlike field
        chunk = chunk.flatten()[chunk.type.get_field_index("bytes")]
    return chunk.to_pylist()
