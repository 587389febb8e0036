"""Members of zip archives, read at their offsets by any thread of any process.

`zipfile` keeps one position in one open file, which forked processes share. Here the archive's
directory is read once, into arrays; members are then read by `os.pread`, which needs no position,
from a file that each process opens for itself.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Generic, TypeVar

import numpy as np

Value = TypeVar("Value")
LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # of a member: signature, ..., lengths of name and extra
ENCRYPTED = 0x1
_KINDS = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "lzma",
}


class PerProcess(Generic[Value]):
    """A value that each process makes for itself; a value inherited by fork is not used.

    Two threads may each make one at the same time; the later one is kept, and both work.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._held: tuple[int, Value] | None = None

    def get(self) -> Value:
        """Return the value of this process; it is made on the first call."""
        held = self._held
        if held is None or held[0] != os.getpid():
            held = self._held = (os.getpid(), self._make())
        return held[1]


class Members:
    """The members of an archive by number; safe after a fork, in threads, and when pickled.

    path   path of the archive.
    infos  members, as in `zipfile.ZipFile.infolist`.
    """

    def __init__(self, path: str, infos: Sequence[zipfile.ZipInfo]) -> None:
        self.path = path
        fields = [
            (info.header_offset, info.compress_size, info.compress_type, info.flag_bits, info.CRC)
            for info in infos
        ]
        self._fields = np.array(fields, np.int64).reshape(-1, 5)
        self._file = PerProcess(self._open)

    def __len__(self) -> int:
        return len(self._fields)

    def _open(self) -> BinaryIO:
        return open(self.path, "rb", buffering=0)

    def read(self, number: int, most: int) -> bytes:
        """Return the content of a member, or its first `most` bytes if it is longer.

        Raises OSError, ValueError, zlib.error, lzma.LZMAError or EOFError if it is damaged.
        """
        offset, size, kind, flags, checksum = self._fields[number].tolist()
        if flags & ENCRYPTED:
            raise ValueError("encrypted; extract the archive")
        if kind not in _KINDS:
            raise ValueError(f"compressed by method {kind}; use {', '.join(_KINDS.values())}")
        file = self._file.get()
        header = _exactly(file, LOCAL_HEADER.size, offset)
        signature, *_, name, extra = LOCAL_HEADER.unpack(header)
        if signature != b"PK\x03\x04":
            raise ValueError("damaged: the archive's directory points at no member")
        start = offset + LOCAL_HEADER.size + name + extra
        data = _decompressed(kind, _exactly(file, min(size, most), start), most)
        if len(data) < most and zlib.crc32(data) != checksum:
            raise ValueError("damaged: its checksum differs from that in the archive")
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_fields": self._fields}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = PerProcess(self._open)


def _exactly(file: BinaryIO, size: int, offset: int) -> bytes:
    parts = []
    while size:
        part = os.pread(file.fileno(), size, offset)
        if not part:
            raise EOFError("damaged: the archive is cut short")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)


def _decompressed(kind: int, data: bytes, most: int) -> bytes:
    """Return at most `most` decompressed bytes."""
    if kind == zipfile.ZIP_STORED:
        return data
    if kind == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
    if kind == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(data, most)
    # LZMA header: compressor version, length of the properties, properties (APPNOTE.TXT 5.8.8)
    length = struct.unpack_from("<H", data, 2)[0]
    packed, dictionary = struct.unpack_from("<BI", data, 4)
    options = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "lc": packed % 9,
        "lp": packed // 9 % 5,
        "pb": packed // 45,
    }
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])
    return reader.decompress(data[4 + length :], most)
