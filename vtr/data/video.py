"""Videos as bytes in, frames as arrays out: probe, check, read. What a video is shown as, by a player, is what is read.

Everything is done from bytes in memory with a fresh reader that is closed again, on one thread, so that any process may
call it: nothing is shared, cached, sought, or opened by name. Each failure is a VideoError with a kind to count by.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vtr.data import decord_reader, pyav_reader
from vtr.data.decord_reader import Shrink
from vtr.data.limits import DEFAULT, Limits
from vtr.data.pyav_packets import Demuxed, demuxed
from vtr.data.pyav_picture import Converter
from vtr.errors import ConfigError, VideoError

__all__ = ["Limits", "VideoInfo", "check", "frame_times", "probe", "read_file", "read_frames"]

DECODERS = ("pyav", "decord")


@dataclass(frozen=True)
class VideoInfo:
    """What one video is: counted and measured, not what its header claims."""

    frames: int
    fps: float  # frames over duration: the mean rate where it varies
    duration_s: float  # from the first frame's start to the last one's end
    width: int  # as displayed: turned upright, pixels square
    height: int
    container: str  # the extension to store the bytes under: mp4 mov 3gp mkv webm avi mpg ts gif flv ogv wmv
    codec: str
    decoder: str  # "decord" where it is proven to give PyAV's frames, else "pyav"


def probe(data: bytes, limits: Limits = DEFAULT) -> VideoInfo:
    """Count and measure a video, and choose its decoder; decodes its first frame only, where the packets tell the rest.

    Raises VideoError of any kind but `missing` and `timeout`.
    """
    with demuxed(data, limits) as video:
        times = pyav_reader.times(video)
        video.codec.flush_buffers()
        _, first = next(pyav_reader.decode(video, [0]))
        convert = Converter(video)
        convert(first)
        width, height = convert.size()
        duration = float(times[-1]) + _last_frame(video, times)
        return VideoInfo(
            frames=len(times),
            fps=round(len(times) / duration, 6),
            duration_s=round(duration, 6),
            width=width,
            height=height,
            container=video.container.extension,
            codec=video.codec.codec.canonical_name,
            decoder="decord" if decord_reader.is_exact(data, video, times, first) else "pyav",
        )


def check(data: bytes, limits: Limits = DEFAULT) -> VideoInfo:
    """`probe`, then decode the first, the middle and the last frame. Raises as `probe`.

    Where decord was chosen it must give the same three pictures, else the choice is taken back. That PyAV alone decides
    what is damaged keeps the outcome the same on every run: decord may or may not fail on what it decodes ahead.
    """
    info = probe(data, limits)
    places = sorted({0, info.frames // 2, info.frames - 1})
    pictures = read_frames(data, places, "pyav", limits)
    if info.decoder == "pyav":
        return info
    try:
        same = np.array_equal(decord_reader.read(data, places), pictures)
    except VideoError:
        same = False
    return info if same else replace(info, decoder="pyav")


def read_frames(
    data: bytes,
    indices: Sequence[int],
    decoder: str = "pyav",
    limits: Limits = DEFAULT,
    shrink: Shrink | None = None,
) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) uint8 RGB, upright, pixels square: the frames `indices`, in presentation order from 0.

    Indices may repeat and come in any order. `shrink` makes pictures smaller as they come, so that a whole video never
    stands in memory at its own size. Say `decoder="decord"` only where `probe` chose it; without decord
    installed PyAV reads in its place, the same pixels. Raises VideoError, `no-frames` for an index past the end.
    """
    if decoder not in DECODERS:
        raise ConfigError(f"there is no decoder {decoder!r}", f"take one of {', '.join(DECODERS)}")
    if decoder == "decord" and len(indices) and decord_reader.load() is not None:
        limits.check("max_bytes", len(data), f"the file has {len(data)} bytes")
        return decord_reader.read(data, indices, shrink)
    with demuxed(data, limits) as video:
        return _read(video, indices, shrink)


def frame_times(data: bytes, limits: Limits = DEFAULT) -> npt.NDArray[np.float64]:
    """(n,) seconds from the first frame, in presentation order. Raises as `probe`."""
    with demuxed(data, limits) as video:
        return pyav_reader.times(video)


def read_file(path: Path, limits: Limits = DEFAULT) -> bytes:
    """The bytes of a local file. Raises VideoError: `missing`, `empty`, or `too-large` before reading it."""
    try:
        there = path.stat()
        if not stat.S_ISREG(there.st_mode):  # opening a pipe would wait for its writer
            raise VideoError("missing", f"{path} is not a file", "check the path")
        limits.check("max_bytes", there.st_size, f"{path} has {there.st_size} bytes")
        with path.open("rb", buffering=0) as file:
            data = file.readall()
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError("missing", f"{path} does not exist", "check the path") from None
    except OSError as error:
        hint = "shorten it" if error.errno == errno.ENAMETOOLONG else "check its permissions"
        raise VideoError("missing", f"{path} cannot be read: {error.strerror}", hint) from error
    except ValueError as error:  # a NUL byte, which the annotations of others may hold
        raise VideoError("missing", f"{str(path)!r} is no path: {error}", "mend the annotations") from error
    if not data:
        raise VideoError("empty", f"{path} has no bytes", "copy or download it again")
    return data


def _read(video: Demuxed, indices: Sequence[int], shrink: Shrink | None = None) -> npt.NDArray[np.uint8]:
    convert = Converter(video)
    slots: dict[int, list[int]] = {}
    for slot, index in enumerate(indices):
        slots.setdefault(int(index), []).append(slot)
    out = np.empty(0, np.uint8)
    for index, frame in pyav_reader.decode(video, slots or [0]):
        picture = convert(frame)
        if shrink is not None:
            picture = shrink(picture[None])[0]
        if out.ndim == 1:  # a display matrix, known from the first frame on, may exchange height and width
            out = np.empty((len(indices), *picture.shape), np.uint8)
        for slot in slots.get(index, ()):
            out[slot] = picture
    return out  # complete: decode yields every index or raises


def _last_frame(video: Demuxed, times: npt.NDArray[np.float64]) -> float:
    """Seconds that the last frame is shown for: as its packet says, else as long as frames usually are."""
    if video.presented is not None:
        ticks = video.packets[video.presented[-1]].duration
        if ticks:
            return float(ticks) * video.time_base
    if len(times) > 1:
        return float(np.median(np.diff(times)))
    return 1 / (video.rate or 25.0)
