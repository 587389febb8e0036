"""Decoding photographs as cameras, phones, microscopes and web pages store them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffTags

from tests.train.files import folder_of
from train.data import load, reading
from train.data.decode import Unreadable, decode, size_of
from train.data.reading import Reading
from train.data.summary import summarise
from train.pictures import small

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 6, 3), np.uint8)
TWELVE = RNG.integers(0, 4096, (8, 8)).astype(np.uint16)
TWELVE[0, :2] = (0, 4095)
ORIENTATION = 274


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(entries: list[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """Return EXIF of one directory: tag, type, count, the four bytes of the value."""
    head = b"Exif\0\0" + (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    body = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in sorted(entries):
        body += struct.pack(f"{order}HHI", tag, kind, count) + value
    return head + body + struct.pack(f"{order}I", 0)


def odd_values() -> Iterator[tuple[int, bytes]]:
    """Yield counts and values that fit few types."""
    yield 1, struct.pack("<I", 0)
    yield 0, b"\xff\xff\xff\xff"
    yield 2**31, b"\xff\xfe\0\1"
    yield 3, struct.pack("<I", 8)


TAGS = sorted({*TiffTags.TAGS_V2, 0x8769, 0x8825, 0xA005, 0x927C} - {ORIENTATION})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_odd_tag_makes_a_sound_photograph_unreadable(kind: str) -> None:
    image = Image.fromarray(PIXELS)
    bare = saved(image, kind, exif=b"Exif\0\0MARK")
    # Pillow would write the tags that it understands, so that the odd ones are put in afterwards
    for tag in TAGS[::2]:
        for type_of in range(14):
            for count, value in odd_values():
                turned = (ORIENTATION, 3, 1, struct.pack("<HH", 6, 0))
                block = exif([turned, (tag, type_of, count, value)])
                data = saved(image, kind, exif=block)
                assert decode(data, 3).shape == (3, 6, 4), (tag, type_of, count)
                assert size_of(io.BytesIO(data)) == (6, 4)
    assert decode(bare, 3).shape == (3, 4, 6)


def tiff(extra: tuple[int, int, int, bytes]) -> bytes:
    """Return a grey TIFF of 4 x 6 pixels that needs rotation, with one additional tag."""
    pixels = PIXELS[:, :, 0].tobytes()
    entries = [
        (256, 4, 1, 6),
        (257, 4, 1, 4),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 0),
        (ORIENTATION, 3, 1, 6),
        (277, 3, 1, 1),
        (278, 4, 1, 4),
        (279, 4, 1, 24),
    ]
    offset = 8 + 2 + 12 * (len(entries) + 1) + 4
    packed = [
        (tag, kind, count, struct.pack("<I", offset if tag == 273 else value))
        for tag, kind, count, value in entries
    ]
    return exif([*packed, extra])[len(b"Exif\0\0") :] + pixels


@pytest.mark.filterwarnings("ignore")
def test_no_odd_tag_makes_a_sound_tiff_unreadable() -> None:
    needed = {
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        266,
        273,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        323,
        324,
        325,
        338,
        339,
    }
    for tag in sorted({*TAGS, 280, 281, 340, 341, 700} - needed):
        for type_of in range(14):
            for count, value in odd_values():
                data = tiff((tag, type_of, count, value))
                assert decode(data, 1).shape == (1, 6, 4), (tag, type_of, count)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turned", range(10))
def test_images_are_turned_as_pillow_turns_them(kind: str, turned: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    for order in "<>":
        block = exif([(ORIENTATION, 3, 1, struct.pack(f"{order}HH", turned, 0))], order)
        data = saved(Image.fromarray(PIXELS), kind, exif=block, **options)
        oracle = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        assert np.array_equal(decode(data, 3).permute(1, 2, 0).numpy(), oracle)
        assert size_of(io.BytesIO(data)) == oracle.shape[:2]


def test_photographs_of_phones_in_mpo_files_are_read() -> None:
    first, second = (Image.fromarray(RNG.integers(0, 256, (8, 9, 3), np.uint8)) for _ in range(2))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    oracle = np.array(Image.open(io.BytesIO(saved(first, "JPEG"))))
    assert np.array_equal(decode(data, 3).permute(1, 2, 0).numpy(), oracle)


WRONG = {
    "is empty": b"",
    "holds zeros": b"\0" * 99,
    "a web page": b"\n<!DOCTYPE html><html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "PDF": b"%PDF-1.4",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
    "AVIF": b"\0\0\0\x18ftypavif",
    "text": b"hello \xc3\xa4",
    "video": b"\0\0\0\x18ftypisom",
    "zip": b"PK\x03\x04aa",
    "NumPy": b"\x93NUMPY\x01",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "SVG": b"<svg xmlns=",
    "JPEG 2000": b"\0\0\0\x0cjP  ",
    "known format": bytes(range(1, 255)),
    "runcated": saved(Image.fromarray(PIXELS), "JPEG")[:100],
}


@pytest.mark.parametrize("what", list(WRONG))
def test_a_file_that_is_no_image_is_called_what_it_is(what: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(WRONG[what], 3)
    assert what in str(caught.value)
    assert "MPO" not in str(caught.value)
    assert "\n" not in str(caught.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("side", [9_460, 12_000, 20_000, 65_000])
@pytest.mark.filterwarnings("ignore")  # pytest undoes the filters of train.data.decode
def test_bombs_are_refused_in_one_line(side: int) -> None:
    with pytest.raises(Unreadable, match="pixels") as caught:
        decode(png(side, side, 8, b"\0" * 1000), 3)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_pillow_adds_no_lines_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(12_000, 12_000, 8, b"\0" * 1000))
    (tmp_path / "odd.tif").write_bytes(tiff((50838, 4, 2**31, b"\xff\xfe\0\1")))
    script = """
import sys
from pathlib import Path
from train.data.decode import Unreadable, decode

for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes(), 3)
    except Unreadable:
        pass
"""
    words = [sys.executable, "-c", script, tmp_path / "bomb.png", tmp_path / "odd.tif"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert ended.stderr == ""


DEEP = {
    "PNG of the whole range": (Image.fromarray(TWELVE * 16), "PNG", {}),
    "SMaxSampleValue": (Image.fromarray(TWELVE), "TIFF", {340: 0, 341: 4095}),
    "MaxSampleValue": (Image.fromarray(TWELVE), "TIFF", {281: 4001}),
    "int32": (Image.fromarray(TWELVE.astype(np.int32)), "TIFF", {341: 4095}),
    "float": (Image.fromarray(TWELVE.astype(np.float32)), "TIFF", {340: 0.0, 341: 4095.0}),
}


@pytest.mark.parametrize("name", list(DEEP))
def test_deep_images_are_scaled_by_what_the_file_says(name: str) -> None:
    image, kind, tags = DEEP[name]
    pixels = decode(saved(image, kind, **({"tiffinfo": tags} if tags else {})), 1)[0].numpy()
    assert np.abs(pixels.astype(int) - (TWELVE >> 4)).max() <= 1
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_pgm_of_twelve_bits_is_scaled_by_its_header() -> None:
    data = b"P5 8 8 4095\n" + TWELVE.astype(">u2").tobytes()
    assert np.abs(decode(data, 1)[0].numpy().astype(int) - (TWELVE >> 4)).max() <= 1


COLOURS = np.stack([TWELVE] * 3, -1)
UNKNOWN_RANGE = {
    "16-bit pixels up to 4095": saved(Image.fromarray(TWELVE), "PNG"),
    "16-bit pixels up to 4095 of": saved(Image.fromarray(TWELVE), "TIFF"),
    "signed or 32-bit": saved(Image.fromarray(TWELVE.astype(np.int32)), "TIFF"),
    "floating-point": saved(Image.fromarray(TWELVE.astype(np.float32)), "TIFF"),
    "16-bit colours": png(8, 8, 16, b"".join(b"\0" + r.astype(">u2").tobytes() for r in COLOURS)),
}


@pytest.mark.parametrize("message", list(UNKNOWN_RANGE))
def test_deep_images_of_unknown_range_are_refused_by_name(message: str, tmp_path: Path) -> None:
    data = UNKNOWN_RANGE[message]
    with pytest.raises(Unreadable, match=message):
        decode(data, 3)
    for folder in ("train/a", "train/b", "test/a"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            kind = ".png" if data.startswith(b"\x89PNG") else ".tif"
            (tmp_path / folder / f"{number}{kind}").write_bytes(data)
    for limit in (2**30, 0):
        with pytest.raises(ValueError, match=message) as caught:
            load(f"imagefolder:{tmp_path}", minival=0, reading=Reading(memory_limit=limit))
        assert "train/a/0" in str(caught.value)
    black = decode(saved(Image.fromarray(TWELVE * 0), "PNG"), 3)
    assert not black.any()


def test_no_image_is_decoded_to_see_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder_of(
        tmp_path, {"train/a": 20, "train/b": 20, "test/a": 3}, lambda n: (40, 30 + n % 3)
    )

    def refuse(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("train.data.decode.decode", refuse)
    monkeypatch.setattr(reading, "decode", refuse)
    assert summarise(f"imagefolder:{place}", minival=0.1).side is None


def test_large_images_among_small_ones_are_not_held(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"train/a": 40, "train/b": 40, "test/a": 3})
    large = saved(Image.new("RGB", (3000, 3000)), "PNG")
    for number in range(33, 40):
        (place / f"train/a/0{number}.png").write_bytes(large)
    tracemalloc.start()
    data = load(f"imagefolder:{place}", minival=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert type(data.train).__name__ == "StreamSplit"
    assert peak < 1.5 * 3 * 3000**2  # one of them at a time, if any


def test_a_contact_sheet_holds_no_whole_photographs() -> None:
    picture = np.zeros((3000, 4000, 3), np.uint8)
    assert small(picture).nbytes < 3e6
    assert small(picture).base is None
    assert small(PIXELS) is PIXELS
