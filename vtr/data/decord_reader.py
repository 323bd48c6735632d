"""decord where it is provably right: when it can be trusted with a video, and reading frames with it.

decord gives wrong frames in silence on open GOPs, edit lists, MPEG-TS and more, and can hang. It is right where each
key frame starts a closed GOP and its own frame table equals the demuxed one; there it gives the pixels that PyAV gives.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vtr.data.pyav_packets import Demuxed
from vtr.data.pyav_picture import is_upright, turn_of
from vtr.data.pyav_reader import beyond
from vtr.errors import VideoError

# (T,H,W,3) uint8 to fewer pixels.
Shrink: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
AT_ONCE = 16  # frames at their own size in memory, where they are made smaller as they come

DEMUXERS = ("mov", "matroska")
CODECS = ("h264", "vp8", "vp9")
NARROWEST = 160  # some smaller widths end in an error inside decord
IDR = 5  # the H.264 unit that nothing after it reaches back across


def load() -> Any | None:
    """The decord module, or None where it is not installed (it has wheels for x86-64 only)."""
    if "decord" not in sys.modules:
        # With its default of 10240 decord can retry for ever at the end of a file; with 512 it gives up in 0.3 s.
        os.environ["DECORD_EOF_RETRY_MAX"] = "512"
    try:
        import decord
    except (ImportError, OSError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def is_exact(data: bytes, video: Demuxed, times: npt.NDArray[np.float64], first: Any) -> bool:
    """Whether decord gives the frames of `video` that PyAV gives, bit for bit.

    `times` are the seconds of its n frames, `first` its first av.VideoFrame. Opens decord only on a stream of a kind
    that it reads right: a closed GOP at every key frame, upright square 8-bit pixels of one size.
    """
    # decord reads past the end of its memory, and crashes, where an index points past the end of the bytes.
    inside = video.furthest <= len(data) and all(entry.pos < len(data) for entry in video.stream.index_entries)
    return inside and _is_plain(video, first) and _has_closed_gops(video) and _has_same_table(data, video, times)


def read(data: bytes, indices: Sequence[int], shrink: Shrink | None = None) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) uint8 RGB of the frames `indices`, which may repeat and come in any order; through `shrink`, if any.

    Call it only on bytes that `is_exact` passed. Raises VideoError: `no-frames` for an index out of range, `corrupt`.
    """
    decord = load()
    if decord is None:
        raise VideoError("unsupported", "decord is not installed", "read with decoder 'pyav'")
    distinct, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    try:
        reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), num_threads=1)
        count = len(reader)
        if distinct[0] >= 0 and distinct[-1] < count:
            parts = [distinct] if shrink is None else np.split(distinct, range(AT_ONCE, len(distinct), AT_ONCE))
            pictures = (_array(reader.get_batch(part)) for part in parts)
            arrays = [picture if shrink is None else shrink(picture) for picture in pictures]
    except (decord.DECORDError, RuntimeError, AssertionError) as error:
        raise VideoError("corrupt", f"decord cannot decode it: {_plain(error)}", "read with decoder 'pyav'") from None
    if distinct[0] < 0 or distinct[-1] >= count:
        raise beyond(int(distinct[0] if distinct[0] < 0 else distinct[-1]), count)
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return array if np.array_equal(places, np.arange(len(array))) else array[places]


def _array(frames: Any) -> npt.NDArray[np.uint8]:
    # A program that set decord's bridge to torch gets tensors here.
    return frames.asnumpy() if hasattr(frames, "asnumpy") else np.asarray(frames)


def _is_plain(video: Demuxed, first: Any) -> bool:
    width, height = video.width, video.height
    return (
        video.container.demuxer in DEMUXERS
        and video.codec.name in CODECS
        and video.streams == 1
        and video.promised in (0, len(video.packets))
        and video.presented is not None
        and len(video.presented) == len(video.packets)
        and width >= NARROWEST
        and width % 2 == height % 2 == 0
        and video.shown_width == width
        and (first.width, first.height) == (width, height)
        and is_upright(turn_of(first))
        and first.format.name in ("yuv420p", "yuvj420p")
        and not first.interlaced_frame
    )


def _has_closed_gops(video: Demuxed) -> bool:
    """Whether each key frame is shown before all that is coded after it, and is in truth a frame to start from."""
    if video.presented is None:
        return False
    coded = set(video.keys)
    # Frame k is the k-th coded one wherever a key frame stands: nothing is shown across it.
    if any(video.presented[key] != key for key in coded):
        return False
    if video.codec.name != "h264":
        return True
    length = _nal_length(video.codec.extradata)
    return all(_has_idr(bytes(video.packets[key]), length) for key in coded)


def _has_same_table(data: bytes, video: Demuxed, times: npt.NDArray[np.float64]) -> bool:
    decord = load()
    if decord is None:
        return False
    try:
        reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != len(times):
            return False
        starts = reader.get_frame_timestamp(range(len(times)))[:, 0].astype(np.float64)
        keys = reader.get_key_indices()
    except (decord.DECORDError, RuntimeError, AssertionError):
        return False
    # decord keeps seconds in 32 bits; a quarter of the shortest frame is far from the next one all the same.
    near = np.diff(times).min() / 4 if len(times) > 1 else 1e-3
    return list(keys) == video.keys and bool((np.abs(starts - starts[0] - times) < near).all())


def _nal_length(extradata: bytes | None) -> int:
    """Bytes that give the length of each H.264 unit in a packet, 0 for start codes instead (Annex B)."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def _has_idr(packet: bytes, length: int) -> bool:
    if length == 0:
        return any(unit and unit[0] & 31 == IDR for unit in packet.split(b"\x00\x00\x01")[1:])
    at = 0
    while at + length < len(packet):
        if packet[at + length] & 31 == IDR:
            return True
        at += length + int.from_bytes(packet[at : at + length], "big")
    return False


def _plain(error: BaseException) -> str:
    """decord's words without its stack trace and the places in its source."""
    return str(error).strip().split("\n", 1)[0].rsplit("] ", 1)[-1].rsplit("Check failed: ", 1)[-1][:120]
