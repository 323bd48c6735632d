"""Tell a video's container from its first bytes, so that no demuxer is ever guessed and no playlist ever opened.

libavformat, left to guess, takes a text that begins with `#EXTM3U` or `ffconcat` for a playlist and opens the files and
addresses that it names. Here the bytes name the one demuxer that may look at them, and everything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vtr.errors import VideoError


@dataclass(frozen=True)
class Container:
    """A known container: libavformat's name of its demuxer and the file extension that its bytes deserve."""

    demuxer: str
    extension: str


STILLS = (b"avif", b"heic", b"heix", b"mif1", b"jpeg", b"jpg ")
ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx")
VIDEOS = (
    (b"FLV\x01", Container("flv", "flv")),
    (b"OggS", Container("ogg", "ogv")),
    (b"GIF87a", Container("gif", "gif")),
    (b"GIF89a", Container("gif", "gif")),
    (b"\x00\x00\x01\xba", Container("mpeg", "mpg")),
    (b"\x00\x00\x01\xb3", Container("mpegvideo", "mpg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("asf", "wmv")),
)
OTHERS = (
    (b"#EXTM3U", "an HLS playlist"),
    (b"ffconcat", "an ffconcat script"),
    (b"\xff\xd8\xff", "a still image (JPEG)"),
    (b"\x89PNG", "a still image (PNG)"),
    (b"BM", "a still image (BMP)"),
    (b"II*\x00", "a still image (TIFF)"),
    (b"MM\x00*", "a still image (TIFF)"),
    (b"ID3", "an MP3 sound file"),
    (b"fLaC", "a FLAC sound file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"<", "an HTML or XML page"),
    (b"{", "JSON text"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
HINT = "give a video file: mp4, mov, mkv, webm, avi, mpg, ts, flv, ogv, wmv or gif"


def sniff(data: bytes) -> Container:
    """Return the container that `data` begins with.

    Raises VideoError: `empty` for no bytes, `not-video` for anything that is not a known video container, still images
    and playlists included, `truncated` for an mp4 or mov that was cut before its index.
    """
    if not data:
        raise VideoError("empty", "the file has no bytes", "copy or download it again")
    if data[4:8] in ISO_BOXES:
        return _iso(data)
    if data[:4] == b"\x1aE\xdf\xa3":
        # EBML: the document type stands within the first few elements of the header.
        return Container("matroska", "webm" if b"webm" in data[:64] else "mkv")
    if data[:4] == b"RIFF":
        if data[8:11] == b"AVI":
            return Container("avi", "avi")
        raise VideoError("not-video", f"this is a RIFF file of type {data[8:12]!r}, not an AVI", HINT)
    for magic, container in VIDEOS:
        if data.startswith(magic):
            return container
    if _is_transport_stream(data):
        return Container("mpegts", "ts")
    text = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, name in OTHERS:
        if text.startswith(magic):
            raise VideoError("not-video", f"this is {name}, not a video", HINT)
    raise VideoError("not-video", f"no known video format begins with the bytes {data[:8].hex(' ')}", HINT)


def _iso(data: bytes) -> Container:
    brand = data[8:12] if data[4:8] == b"ftyp" else b"qt  "  # QuickTime before 2003 has no ftyp
    if brand in STILLS:
        raise VideoError("not-video", f"this is a still image (brand {brand.decode()}), not a video", HINT)
    boxes = [name for name, _, _ in iso_boxes(data)]
    if b"moov" not in boxes:
        raise VideoError(
            "truncated",
            f"this mp4 has no index (moov box): its {len(data)} bytes hold {b' '.join(boxes).decode('ascii')} only",
            "the download or the recording was cut short: get the file again",
        )
    if brand[:2] == b"3g":
        return Container("mov", "3gp")
    return Container("mov", "mov" if brand == b"qt  " else "mp4")


def iso_boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of the top-level boxes of an mp4 or mov; an `end` past the data means that it was cut.

    Stops at the first thing that cannot be a box, as padding after the last one.
    """
    at = 0
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if not all(32 <= byte < 127 for byte in name):
            return
        if size == 1:  # the size did not fit and follows in 64 bits
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:  # the last box, to the end
            size = len(data) - at
        if size < 8:
            return
        yield name, at, at + size
        at += size


def is_cut(data: bytes) -> bool:
    """Whether the media or the index of an mp4 or mov reaches past the end of `data`."""
    return any(end > len(data) for name, _, end in iso_boxes(data) if name in (b"mdat", b"moov", b"moof"))


def _is_transport_stream(data: bytes) -> bool:
    # Packets of 188 bytes begin with 0x47; Blu-ray's m2ts puts 4 bytes before each, broadcast tails add 16.
    for offset, step in ((0, 188), (4, 192), (0, 204)):
        marks = data[offset : offset + 5 * step : step]
        if len(marks) >= 2 and set(marks) == {0x47}:
            return True
    return False
