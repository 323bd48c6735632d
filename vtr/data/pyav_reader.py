"""The reader that is right on every file: decode the GOPs needed from packets in memory, match frames by timestamp.

coded       I0 P3 B1 B2 | I6 B4 B5 P9 B7 B8      asked: frames 7 and 4
frame 7     starts at I6, the last key frame coded before it and shown no later
frame 4     is shown before I6 and may need P3: starts at I0, and frame 7 then follows without a restart
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from vtr.data.pyav_packets import AGAIN, AV_ERRORS, Demuxed, reason
from vtr.errors import VideoError

# Codecs whose decoders, told to skip non-reference frames, leave out exactly what no other frame is built from.
# HEVC is not among them: its "non-reference" pictures may be references of a higher temporal layer.
SKIPPABLE = ("h264", "mpeg1video", "mpeg2video", "mpeg4")


def decode(video: Demuxed, indices: Iterable[int]) -> Iterator[tuple[int, Any]]:
    """Yield (index, av.VideoFrame) once for each distinct index, in an order that suits the decoder.

    Raises VideoError: `no-frames` when an index is not in the video, `corrupt` when a frame cannot be decoded.
    """
    wanted = sorted(set(indices))
    if not wanted:
        return
    if wanted[0] < 0:
        raise VideoError("no-frames", f"frame {wanted[0]} was asked for, frames count from 0", "ask for 0 or more")
    if video.presented is None:
        yield from _in_order(video, wanted)
        return
    if wanted[-1] >= len(video.presented):
        raise beyond(wanted[-1], len(video.presented))
    yield from _by_timestamp(video, video.presented, wanted)


def times(video: Demuxed) -> npt.NDArray[np.float64]:
    """(n,) seconds from the first frame, in presentation order; n is the number of frames.

    Decodes everything when the packets do not tell (AVI and MPEG-PS with B-frames). Raises VideoError as `decode`.
    """
    stamps: list[int | None]
    if video.presented is not None:
        stamps = [video.packets[i].pts for i in video.presented]
    else:
        stamps = [frame.pts for frame in _frames(video)]
    if not stamps:
        raise VideoError("no-frames", "no frame of this video can be decoded", AGAIN)
    if None not in stamps:
        ticks = np.array(stamps, dtype=np.int64)
        if (np.diff(ticks) > 0).all():
            return np.asarray((ticks - ticks[0]) * video.time_base, np.float64)
    return np.arange(len(stamps), dtype=np.float64) / (video.rate or 25.0)  # 25: what libavformat assumes


def beyond(index: int, count: int) -> VideoError:
    """The error for a frame that a video of `count` frames does not have."""
    return VideoError("no-frames", f"frame {index} was asked for, the video has {count}", f"ask for 0 to {count - 1}")


def _by_timestamp(video: Demuxed, presented: Sequence[int], wanted: list[int]) -> Iterator[tuple[int, Any]]:
    missing = {video.packets[presented[k]].pts: k for k in wanted}
    targets = sorted(presented[k] for k in wanted)
    with suppress(*AV_ERRORS):  # the second try below says what is wrong
        yield from _matching(missing, _gops(video, targets))
    if not missing:
        return
    # A key frame was none (a false index, a refresh spread over many frames): decode all from the start.
    video.codec.flush_buffers()
    video.codec.skip_frame = "DEFAULT"
    try:
        yield from _matching(missing, _run(video.codec, video.packets[: targets[-1] + 1]))
        why = "it depends on data that is not there"
    except AV_ERRORS as error:
        why = reason(error)
    if missing:
        raise VideoError("corrupt", f"frame {min(missing.values())} cannot be decoded: {why}", AGAIN)


def _matching(missing: dict[int, int], frames: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """The sound frames whose timestamp is missing, each taken out of `missing`."""
    for frame in frames:
        if frame.pts in missing and not frame.is_corrupt:
            yield missing.pop(frame.pts), frame
        if not missing:
            return


def _gops(video: Demuxed, targets: list[int]) -> Iterator[Any]:
    """Decode up to each coded position in `targets` (ascending), from a key frame or from where the last one ended."""
    codec, packets, asked = video.codec, video.packets, set(targets)
    skips = codec.name in SKIPPABLE
    at = None  # the next packet to send
    for target in targets:
        start = _start(video, target)
        if at is None or start > at:
            if at is not None:
                yield from codec.decode(None)
                codec.flush_buffers()
            at = start
        for i in range(at, target + 1):
            if skips:
                codec.skip_frame = "DEFAULT" if i in asked else "NONREF"
            yield from codec.decode(packets[i])
        at = target + 1
    yield from codec.decode(None)


def _start(video: Demuxed, target: int) -> int:
    """The last key frame coded no later than `target` and shown no later."""
    shown = video.packets[target].pts
    for key in reversed(video.keys[: bisect_right(video.keys, target)]):
        stamp = video.packets[key].pts
        if stamp is not None and stamp <= shown:
            return key
    return 0


def _run(codec: Any, packets: Iterable[Any]) -> Iterator[Any]:
    for packet in packets:
        yield from codec.decode(packet)
    yield from codec.decode(None)


def _frames(video: Demuxed) -> Iterator[Any]:
    """Every frame that decoding from the first key frame gives, in presentation order."""
    count = 0
    for packet in [*video.packets[video.keys[0] if video.keys else 0 :], None]:
        try:
            frames = video.codec.decode(packet)
        except AV_ERRORS as error:
            if count == 0:  # a recording that begins in mid-stream: what comes first has no parameters yet
                continue
            raise VideoError("corrupt", f"decoding stopped after frame {count - 1}: {reason(error)}", AGAIN) from error
        count += len(frames)
        yield from frames


def _in_order(video: Demuxed, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    left, count = set(wanted), 0
    for frame in _frames(video):
        if count in left:
            if frame.is_corrupt:
                raise VideoError("corrupt", f"frame {count} is damaged", AGAIN)
            left.discard(count)
            yield count, frame
        count += 1
        if not left:
            return
    raise beyond(wanted[-1], count)
