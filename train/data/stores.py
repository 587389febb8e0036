"""Where encoded images are: files, members of zip archives, rows of parquet files.

A store is read by several threads, copied by fork into loader processes, and pickled to those that
are spawned. Nothing that has a place in a file is shared: files are opened once in each process and
read at given offsets.
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

GROUPS_BYTES = 256 * 1024**2  # of parquet row groups kept by a process


class Store(Protocol):
    """Encoded images by number; may be read by several threads, and pickled to other processes."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """Where the image is, for people."""

    def read(self, row: int) -> bytes:
        """The encoded image; raises Unreadable."""

    def open(self, row: int) -> BinaryIO:
        """The same as a file, where that spares reading the whole."""
        return io.BytesIO(self.read(row))

    def files(self) -> Iterable[str]:
        """The files that the images are read from."""


class FileStore(Store):
    """Image files."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        # one array, not a million strings: forked workers would copy those as they touch them
        self._paths = np.array([os.fsencode(path) for path in paths])

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, row: int) -> str:
        return os.fsdecode(bytes(self._paths[row]))

    def read(self, row: int) -> bytes:
        try:
            with self.open(row) as file:
                size = os.fstat(file.fileno()).st_size  # to read a limit's worth would reserve it
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
    """Members of a zip archive, read from it and never extracted."""

    def __init__(self, members: Members, names: Sequence[str]) -> None:
        self.members = members
        self._names = np.array([os.fsencode(name) for name in names])

    def __len__(self) -> int:
        return len(self._names)

    def name(self, row: int) -> str:
        return f"{self.members.path}/{os.fsdecode(bytes(self._names[row]))}"

    def read(self, row: int) -> bytes:
        try:
            return self.members.read(row, MAX_BYTES + 1)  # whatever size it claims
        except Exception as error:  # damage shows in zlib, bz2, lzma or struct
            raise Unreadable(reason(error)) from None

    def files(self) -> Iterable[str]:
        return [os.fspath(self.members.path)]


class ParquetStore(Store):
    """The image column of parquet files, a struct with a field `bytes`, or bytes themselves.

    Row groups are read as needed and the last ones kept: fast in order, slow at random where groups
    are large and do not fit `GROUPS_BYTES`.
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
            # neither threads nor a memory map: a fork would inherit the former's locks, and a file
            # that is cut short would end the process
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
    """The row groups read last, up to `GROUPS_BYTES`."""

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

    if pyarrow.types.is_struct(chunk.type):  # flatten, unlike field, keeps null structs null
        chunk = chunk.flatten()[chunk.type.get_field_index("bytes")]
    return chunk.to_pylist()
