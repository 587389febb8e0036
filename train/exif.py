"""How a photograph is turned: its EXIF or XMP orientation, and no other of its metadata.

Cameras and editors write tags of wrong types, lengths and places. Only the orientation is read
here, and a JPEG is handed to its decoder without metadata, so that no other tag can spoil a sound
image. Sources: EXIF 2.32, section 4.6; TIFF 6.0, section 2; ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO

from PIL import Image

TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)  # width and height change places
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # TIFF's types
_XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""")
_METADATA = range(0xE1, 0xEE)  # APP1 to APP13; APP0 (JFIF) and APP14 (Adobe) say the colours
_SCAN = 0xDA
_MARKERS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xDA))  # those with a length


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """1 to 8 as EXIF counts them, or else as XMP does; 1 where neither says."""
    return _in_exif(exif) or _in_xmp(xmp) or 1


def _in_exif(exif: bytes) -> int:
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
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
    """The orientation of an image whose decoder keeps its EXIF as bytes, as PNG's and WebP's do."""
    return orientation(_bytes(image, "exif"), _bytes(image, "xmp", "XML:com.adobe.xmp"))


def _bytes(image: Image.Image, *names: str) -> bytes:
    for name in names:
        held: Any = image.info.get(name)
        if isinstance(held, (bytes, str)):
            return held if isinstance(held, bytes) else held.encode(errors="replace")
    return b""


def plain_jpeg(file: BinaryIO) -> tuple[bytes, int] | None:
    """The start of a JPEG file without its metadata, up to the first scan, and its orientation.

    The file is then at the first scan's data. None where it is no JPEG, or one that is out of
    order; the file is then at its start.
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
