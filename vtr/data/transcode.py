"""A video made small and quick to enter: H.264 at short side 256 with a key frame every 12 frames.

A frame can be reached by decoding at most 12 others, so a few frames cost a fraction of what they cost in a video as it
is found, whose key frames are seconds apart. All frames are kept at their times, upright, pixels square, without sound.
The encoder runs on one thread, so that the bytes are the same on any machine with the same libraries.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from vtr.data import image, pyav_reader, video
from vtr.data.limits import Limits
from vtr.data.prepared import Prepared, prepare_image, video_facts
from vtr.data.pyav_packets import demuxed
from vtr.data.pyav_picture import Converter
from vtr.errors import ConfigError, VideoError

TICKS = 90_000  # a second has so many: any usual frame rate is a whole number of them


@dataclass(frozen=True, slots=True)
class SmallVideoStore:
    """Every frame as H.264, closed groups of `gop` frames, scaled down to `short_side` pixels (never up); `crf` is
    x264's scale of quality, lower is better. Images stay as they came.
    """

    short_side: int = 256
    gop: int = 12
    crf: int = 23
    name = "video"

    def __post_init__(self) -> None:
        for name, least, most in (("short_side", 16, 4096), ("gop", 1, 1000), ("crf", 1, 51)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} of a small video is {getattr(self, name)}", f"give one from {least} to {most}"
                )

    def prepare(self, data: bytes, suffix: str, limits: Limits) -> Prepared:
        """The one member `<key>.mp4`. Raises VideoError as `video.check`; `corrupt` also where any frame is."""
        if (ext := image.extension(data, suffix)) is not None:
            height, width = image.decode(data, limits).shape[:2]
            return prepare_image(ext, data, width, height)
        original = video.probe(data, limits)
        small = encode(data, original, self, limits)
        info = video.check(small, limits)
        if info.frames != original.frames:
            raise VideoError(
                "corrupt", f"of {original.frames} frames {info.frames} could be encoded", "get the file again"
            )
        before = {**video_facts(original), "codec": original.codec, "container": original.container}
        return Prepared([(info.container, small)], video_facts(info), {"codec": info.codec, "original": before})


def encode(data: bytes, info: video.VideoInfo, how: SmallVideoStore, limits: Limits) -> bytes:
    """The bytes of an mp4 file with all frames of the video `data`; one picture is in memory at a time."""
    width, height = small_size(info.width, info.height, how.short_side)
    file = io.BytesIO()
    with (
        demuxed(data, limits) as source,
        av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container,
    ):
        stream: Any = container.add_stream("libx264", rate=Fraction(info.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.thread_count = 1
        stream.options = {
            "crf": str(how.crf),
            "tune": "fastdecode",
            "x264-params": f"keyint={how.gop}:min-keyint={how.gop}:scenecut=0:open-gop=0:threads=1",
        }
        stamps = _ticks(video.frame_times(data, limits))
        scaler = VideoReformatter()
        for number, picture in _in_order(source, info.frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            small = scaler.reformat(frame, width, height, "yuv420p", interpolation=Interpolation.BICUBIC, threads=1)
            small.pts, small.time_base = int(stamps[number]), Fraction(1, TICKS)
            container.mux(stream.encode(small))
        container.mux(stream.encode(None))
    return file.getvalue()


def small_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height), both even as 4:2:0 needs them, with the shorter one at most `short_side`."""
    scale = min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _ticks(times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Times as whole ticks, each later than the one before, as the container asks."""
    ticks = np.round(times * TICKS).astype(np.int64)
    steps = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - steps) + steps


def _in_order(source: Any, count: int) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """All frames as they are shown: the reader may hand out what a key frame's own followers need a little later."""
    convert = Converter(source)
    early: dict[int, npt.NDArray[np.uint8]] = {}
    due = 0
    for number, frame in pyav_reader.decode(source, range(count)):
        early[number] = convert(frame)
        while due in early:
            yield due, early.pop(due)
            due += 1
