"""Which demuxer may look at which bytes, and what is turned away before any does."""

from __future__ import annotations

import pytest

from vtr.data.containers import Container, is_cut, iso_boxes, sniff
from vtr.errors import VideoError

MOOV = b"\x00\x00\x00\x08moov"


def ftyp(brand: bytes) -> bytes:
    return b"\x00\x00\x00\x10ftyp" + brand + bytes(4)


@pytest.mark.parametrize(
    ("data", "demuxer", "extension"),
    [
        (ftyp(b"isom") + MOOV, "mov", "mp4"),
        (ftyp(b"qt  ") + MOOV, "mov", "mov"),
        (b"\x00\x00\x00\x08wide" + MOOV, "mov", "mov"),
        (ftyp(b"3gp4") + MOOV, "mov", "3gp"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "matroska", "webm"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "matroska", "mkv"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi", "avi"),
        (b"FLV\x01\x05", "flv", "flv"),
        (b"OggS\x00", "ogg", "ogv"),
        (b"GIF89a", "gif", "gif"),
        (b"\x00\x00\x01\xba\x44", "mpeg", "mpg"),
        (b"\x00\x00\x01\xb3\x14", "mpegvideo", "mpg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6", "asf", "wmv"),
        ((b"G" + bytes(187)) * 3, "mpegts", "ts"),
        ((bytes(4) + b"G" + bytes(187)) * 3, "mpegts", "ts"),
    ],
)
def test_a_container_is_known_by_its_bytes(data: bytes, demuxer: str, extension: str) -> None:
    assert sniff(data) == Container(demuxer, extension)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "empty", "no bytes"),
        (b"#EXTM3U\nsecret.mp4\n", "not-video", "HLS playlist"),
        (b"\xef\xbb\xbf\n #EXTM3U\nsecret.mp4\n", "not-video", "HLS playlist"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", "not-video", "ffconcat script"),
        (b"<!DOCTYPE html>", "not-video", "HTML"),
        (b"<?xml version='1.0'?><MPD>", "not-video", "XML"),
        (b"\xff\xd8\xff\xe0", "not-video", "JPEG"),
        (b"\x89PNG\r\n", "not-video", "PNG"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "not-video", "RIFF file of type b'WEBP'"),
        (ftyp(b"avif") + MOOV, "not-video", "still image"),
        (b"ID3\x04", "not-video", "MP3"),
        (b"version https://git-lfs.github.com/spec/v1", "not-video", "Git LFS"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1", "not-video", "begins with the bytes 76 3d"),
        (b"G" + bytes(187), "not-video", "begins with"),
        (ftyp(b"isom"), "truncated", "no index"),
    ],
)
def test_the_rest_is_turned_away(data: bytes, kind: str, message: str) -> None:
    with pytest.raises(VideoError, match=message) as caught:
        sniff(data)
    assert caught.value.kind == kind
    assert caught.value.hint


def test_boxes_of_every_size() -> None:
    long = b"\x00\x00\x00\x01free" + (24).to_bytes(8, "big") + bytes(8)
    rest = b"\x00\x00\x00\x00mdat" + bytes(5)
    assert list(iso_boxes(ftyp(b"isom") + long + rest)) == [(b"ftyp", 0, 16), (b"free", 16, 40), (b"mdat", 40, 53)]
    assert list(iso_boxes(ftyp(b"isom") + bytes(20))) == [(b"ftyp", 0, 16)]  # padding is no box


def test_a_cut_is_seen_in_the_boxes_that_matter() -> None:
    assert is_cut(MOOV + b"\x00\x00\x00\x10mdat")
    assert not is_cut(MOOV + b"\x00\x00\x00\x10free")
    assert not is_cut(MOOV + b"\x00\x00\x00\x08mdat")
