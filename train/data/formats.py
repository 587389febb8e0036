"""Image file formats: those that are read, and recognition of other files by their first bytes."""

from __future__ import annotations

# Pillow reads an MPO file of a phone as its first JPEG; EPS is excluded because it runs a program
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
)
# unsupported images are counted, so that a folder of them is not reported as empty
OTHER_EXTENSIONS = (
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".jxl",
    ".svg",
    ".psd",
    ".eps",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".raf",
    ".orf",
    ".rw2",
    ".exr",
    ".hdr",
    ".dcm",
    ".npy",
    ".tga",
    ".ico",
)

_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer; run git lfs pull"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"Rar!", "a RAR archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL", "a JPEG XL image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format", "an SQLite database"),
    (b"\x00\x05\x16\x07", "a macOS resource file (AppleDouble)"),
    (b"RIFF", "a RIFF file"),
)
_BRANDS = {
    "avif": "an AVIF image",
    "heic": "a HEIC photograph",
    "heix": "a HEIC photograph",
    "mif1": "a HEIF image",
    "msf1": "a HEIF image",
    "crx": "a raw photograph (CR3)",
}
_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"BM",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"P5",
    b"P6",
    b"P2",
    b"P3",
)


def what_it_is(head: bytes) -> str:
    """Describe a file that no image decoder accepts, by its first bytes."""
    if not head:
        return "the file is empty"
    if not head.strip(b"\0"):
        return "the file holds zeros only"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("latin-1").strip().lower()
        return f"{_BRANDS.get(brand, 'a video (MP4)')}; convert it to JPEG or PNG"
    for start, name in _STARTS:
        if head.startswith(start):
            return f"not an image but {name}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "not an image but a web page"
    if text.startswith((b"<svg", b"<?xml")):
        return "not an image but XML or SVG"
    if head.startswith(_SIGNATURES) or head[8:12] == b"WEBP":
        return "a damaged image: its header cannot be read"
    if _is_text(head):
        return "not an image but text"
    return f"not an image of a known format ({', '.join(FORMATS)})"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # later errors may be a character that `head` cuts off
            return False
        text = head[: error.start].decode()
    return all(sign.isprintable() or sign in "\t\r\n" for sign in text)
