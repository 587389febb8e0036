"""Encoded images: where their bytes are, and what they look like decoded.

Files are taken as hostile: nothing is extracted, formats are few, sizes are bounded.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "MPO")  # EPS would run a program
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
MAX_BYTES = 256 * 1024**2  # of an encoded image
MAX_PIXELS = 89_478_485  # of a decoded one: the size from which PIL suspects a bomb
GROUPS_BYTES = 256 * 1024**2  # of parquet row groups kept by a process


class Unreadable(Exception):
    """An image that cannot be decoded; says why, in a line."""


def decode(data: bytes, channels: int) -> Tensor:
    """uint8 [channels, h, w] of an encoded image; raises Unreadable.

    Turned as its EXIF says, alpha laid on white, palettes and CMYK to RGB, 16 bits to the upper 8,
    grey repeated over three channels, or colours weighed into one; of animations the first frame.
    """
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        image: Image.Image = _opened(io.BytesIO(data))
        # a bare PNG has no orientation; asking would decode it twice over
        if image.format != "PNG" or "exif" in image.info:
            image = ImageOps.exif_transpose(image)
        image = _plain(image)
        mode = "RGB" if channels == 3 else "L"
        if image.mode != mode:
            image = image.convert(mode)
        pixels = np.array(image)
    except Exception as error:  # PIL's readers raise whatever they meet
        raise Unreadable(_reason(error)) from None
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1)


def check_header(file: BinaryIO) -> None:
    """Raises Unreadable where the start of an image says that it is none."""
    try:
        _opened(file)
    except Exception as error:
        raise Unreadable(_reason(error)) from None


def _opened(file: BinaryIO) -> Any:
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
    return image


def _plain(image: Image.Image) -> Image.Image:
    """Without alpha and with 8 bits a channel."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image)
    return image


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


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
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise Unreadable(error.strerror or type(error).__name__) from None

    def open(self, row: int) -> BinaryIO:
        try:
            return open(bytes(self._paths[row]), "rb")
        except OSError as error:
            raise Unreadable(error.strerror or type(error).__name__) from None


class ZipStore(Store):
    """Members of a zip archive, read from it and never extracted."""

    def __init__(self, path: str | os.PathLike[str], members: Sequence[str]) -> None:
        self.path = os.fspath(path)
        self.members = list(members)
        self._forget()

    def _forget(self) -> None:
        self._handle: zipfile.ZipFile | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.members)

    def name(self, row: int) -> str:
        return f"{self.path}/{self.members[row]}"

    def read(self, row: int) -> bytes:
        if self._process != os.getpid():
            self._forget()  # a forked process must not share the place in the file
        try:
            with self._lock:
                if self._handle is None:
                    self._handle = zipfile.ZipFile(self.path)
                with self._handle.open(self.members[row]) as member:
                    return member.read(MAX_BYTES + 1)  # whatever size it claims
        except Exception as error:  # damage shows in zipfile, zlib, lzma or struct
            raise Unreadable(_reason(error)) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "members": self.members}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


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
        self._forget()

    def _forget(self) -> None:
        self._kept: OrderedDict[int, list[bytes | None]] = OrderedDict()
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, row: int) -> str:
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        file = self.groups[group][0]
        first = next(start for start, (owner, _) in enumerate(self.groups) if owner == file)
        return f"{self.paths[file]}, row {row - int(self.starts[first])}"

    def read(self, row: int) -> bytes:
        if self._process != os.getpid():
            self._forget()
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        with self._lock:
            if group not in self._kept:
                self._kept[group] = self._group(group)
                while len(self._kept) > 1 and self._size() > GROUPS_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(group)
            data = self._kept[group][row - int(self.starts[group])]
        if data is None:
            raise Unreadable("no image")
        return data

    def _size(self) -> int:
        return sum(len(data or b"") for group in self._kept.values() for data in group)

    def _group(self, group: int) -> list[bytes | None]:
        import pyarrow.parquet

        file, number = self.groups[group]
        try:
            with pyarrow.parquet.ParquetFile(self.paths[file], memory_map=True) as reader:
                column = reader.read_row_group(number, columns=[self.column])[self.column]
            values = column.combine_chunks()
            if hasattr(values, "field"):
                values = values.field("bytes")
            return values.to_pylist()
        except Exception as error:
            raise Unreadable(_reason(error)) from None

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("paths", "column", "groups", "starts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
