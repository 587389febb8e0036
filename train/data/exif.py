"""The orientation of a photograph from EXIF or XMP; no other metadata are read.

Cameras and editors write tags with wrong types, lengths and places. Only the orientation is read
here, and a JPEG is decoded without its metadata, so that no other tag can make a valid image
unreadable. Sources: EXIF 2.32, section 4.6; TIFF 6.0, section 2; ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO

from PIL import Image

TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
TIFF_HEADS = {b"II*\0": "<", b"MM\0*": ">"}  # first bytes -> byte order
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # TIFF's types
_XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""")
_METADATA = range(0xE1, 0xEE)  # APP1 to APP13; APP0 (JFIF) and APP14 (Adobe) define the colours
_SCAN = 0xDA
_MARKERS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xDA))  # those with a length


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Return 1 to 8 as EXIF defines it, from EXIF or else XMP; 1 if neither has it."""
    return _in_exif(exif) or _in_xmp(xmp) or 1


def _in_exif(exif: bytes) -> int:
    data = exif.removeprefix(b"Exif\0\0")
    order = TIFF_HEADS.get(data[:4])
    if order is None:
        return 0
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            if tag == TAG and kind in _INTEGERS:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], data, entry + 8)
                return value if 1 <= value <= 8 else 0
    except struct.error:  # cut short
        pass
    return 0


def _in_xmp(xmp: bytes) -> int:
    found = _XMP.search(xmp)
    return int(found[1]) if found else 0


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of an image whose decoder keeps EXIF as bytes, e.g. PNG and WebP."""
    return orientation(_bytes(image, "exif"), _bytes(image, "xmp", "XML:com.adobe.xmp"))


def _bytes(image: Image.Image, *names: str) -> bytes:
    for name in names:
        held: Any = image.info.get(name)
        if isinstance(held, (bytes, str)):
            return held if isinstance(held, bytes) else held.encode(errors="replace")
    return b""


def plain_jpeg(file: BinaryIO) -> tuple[bytes, int] | None:
    """Return the start of a JPEG file, up to the first scan, without metadata; and its orientation.

    The file is then positioned at the first scan's data. Returns None, with the file positioned at
    its start, if it is not a JPEG or its segments are not in order.
    """
    if file.read(2) != b"\xff\xd8":
        file.seek(0)
        return None
    kept, exif, xmp = [b"\xff\xd8"], b"", b""
    while True:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] not in _MARKERS:
            file.seek(0)
            return None
        size = int.from_bytes(head[2:], "big") - 2
        content = file.read(max(size, 0))
        if size < 0 or len(content) < size:
            file.seek(0)
            return None
        if head[1] not in _METADATA:
            kept.append(head + content)
        elif content.startswith(b"Exif\0\0"):
            exif = exif or content
        elif content.startswith(b"http://ns.adobe.com/xap/"):
            xmp = xmp or content
        if head[1] == _SCAN:
            return b"".join(kept), orientation(exif, xmp)


# the tags that Pillow and libtiff need: for the pixels, their range, and the orientation
_PIXEL_TAGS = frozenset(
    (
        *range(254, 260),
        262,
        266,
        273,
        274,
        *range(277, 282),
        284,
        292,
        293,
        317,
        320,
        *range(322, 326),
        332,
        *range(338, 342),
        347,
        *range(512, 522),
        *range(529, 533),
    )
)
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def plain_tiff(data: bytes) -> bytes | None:
    """Return a TIFF file whose first directory keeps only the readable tags that pixels need.

    Returns None if it is not a TIFF file with 32-bit offsets, or its directory is truncated.
    """
    order = TIFF_HEADS.get(data[:4])
    if order is None:
        return None
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, place)
        entries = [data[at : at + 12] for at in range(place + 2, place + 2 + 12 * count, 12)]
        kept = [entry for entry in entries if _is_sound(entry, order, len(data))]
    except struct.error:
        return None
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:place] + directory + data[place + len(directory) :]


def _is_sound(entry: bytes, order: str, size: int) -> bool:
    """Return whether a directory entry is needed and its value lies within the file."""
    tag, kind, count, value = struct.unpack(f"{order}HHII", entry)
    needed = _TYPE_BYTES.get(kind, 0) * count
    inside = needed <= 4 or value + needed <= size
    return tag in _PIXEL_TAGS and needed > 0 and inside
