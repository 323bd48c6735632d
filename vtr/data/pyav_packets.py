"""Every packet of the one video stream that matters, in memory, with the place of each in presentation order.

Seeking is where decoders go wrong (edit lists, open GOPs, MPEG-TS), so nothing is sought: the whole stream is demuxed,
which costs a millisecond, and the frame table is read off the packets.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av

from vtr.data.containers import HINT, Container, is_cut, sniff
from vtr.data.limits import Limits
from vtr.errors import VideoError

# What PyAV raises on bad bytes: libav's own tree, and the Python errors of its wrappers.
AV_ERRORS = (av.error.FFmpegError, ValueError, RuntimeError, OSError, MemoryError, OverflowError)
AGAIN = "get the file again, or leave it out"
LARGEST_INT = 2**31 - 1  # that libav takes for an option


@dataclass(frozen=True)
class Demuxed:
    """The packets of one video stream and what its container says about it."""

    container: Container
    codec: Any  # the opened stream's av.VideoCodecContext, one thread, not yet used
    packets: list[Any]  # in coded order, none empty
    keys: list[int]  # coded positions that decoding may start from
    presented: list[int] | None  # coded position of frame k, or None where only decoding tells the order
    time_base: float  # seconds per tick of the packets' pts
    rate: float  # frames per second as the container declares it
    width: int  # of the coded picture, before squaring and turning
    height: int
    shown_width: int  # of the coded picture in square pixels: players scale the width
    streams: int  # video streams to choose from
    promised: int  # frames that the container counts, 0 where it does not count them
    stream: Any  # av.VideoStream, open inside the `with` only
    furthest: int  # the place in the bytes furthest from their start that the demuxer wanted to read


class _Reader(io.BytesIO):
    """Bytes that remember the furthest place that anyone sought in them."""

    furthest = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        at = super().seek(offset, whence)
        self.furthest = max(self.furthest, at)
        return at


@contextmanager
def demuxed(data: bytes, limits: Limits) -> Iterator[Demuxed]:
    """Open `data`, demux its main video stream, and close it at the end. The codec is for use inside the `with` only.

    Raises VideoError: the kinds of `sniff`, `too-large` over a limit (checked before any picture is decoded),
    `unsupported` for a codec without a decoder, `corrupt`, `truncated`, `no-frames`.
    """
    limits.check("max_bytes", len(data), f"the file has {len(data)} bytes")
    kind = sniff(data)
    # libav's own limit guards against a picture that grows in mid-stream; it counts padding, so it is the looser one.
    options = {"protocol_whitelist": "none", "threads": "1", "max_pixels": str(min(2 * limits.max_pixels, LARGEST_INT))}
    reader = _Reader(data)
    try:
        source = av.open(reader, format=kind.demuxer, options=options, metadata_errors="replace")
    except AV_ERRORS as error:
        raise VideoError("corrupt", f"this {kind.extension} cannot be opened: {reason(error)}", AGAIN) from error
    with source:
        # PyAV asks libavformat to invent missing timestamps; a missing one must be seen to be missing.
        source.flags &= ~av.container.core.Flags.gen_pts.value
        stream, count = _choose(source)
        codec = stream.codec_context
        width, height = codec.width, codec.height
        if width < 1 or height < 1:
            raise VideoError("corrupt", f"the {codec.name} stream does not say how large its picture is", AGAIN)
        limits.check("max_pixels", width * height, f"the picture is {width}x{height} = {width * height} pixels")
        aspect = stream.sample_aspect_ratio or Fraction(1)
        # Within 1 % it is the rounding of some encoder's width: resampling for one column would only blur.
        shown = width if abs(aspect - 1) < 0.01 else max(1, round(width * aspect))
        limits.check(
            "max_pixels", shown * height, f"the picture is shown as {shown}x{height} = {shown * height} pixels"
        )
        codec.thread_type, codec.thread_count = "NONE", 1
        codec.options = {"max_pixels": options["max_pixels"]}
        packets = _packets(source, stream, limits)
        _whole(data, kind, packets, stream.frames)
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        longest = max(after - key for key, after in pairwise([0, *keys, len(packets)]))
        limits.check("max_gop", longest, f"the video has {longest} frames without a key frame among them")
        yield Demuxed(
            container=kind,
            codec=codec,
            packets=packets,
            keys=keys,
            presented=_presented(packets, keys, codec.name),
            time_base=float(stream.time_base),
            rate=float(stream.average_rate or stream.guessed_rate or 0),
            width=width,
            height=height,
            shown_width=shown,
            streams=count,
            promised=stream.frames,
            stream=stream,
            furthest=reader.furthest,
        )


def reason(error: BaseException) -> str:
    """libav's own words for an error, without the file name that it does not have."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _choose(source: Any) -> tuple[Any, int]:
    """The stream a player would show, the default one and then the largest, and how many there were to choose from."""
    cover = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    videos = [stream for stream in source.streams.video if not stream.disposition & cover]
    if not videos:
        found = ", only a cover picture" if source.streams.video else ", only sound" if source.streams.audio else ""
        raise VideoError("not-video", f"there is no video stream in it{found}", HINT)
    known = [stream for stream in videos if stream.codec_context is not None]
    if not known:
        raise VideoError(
            "unsupported", "no decoder knows the codec of this video stream", "transcode it, for instance to H.264"
        )
    default = av.stream.Disposition.default
    best = max(known, key=lambda s: (bool(s.disposition & default), s.codec_context.width * s.codec_context.height))
    return best, len(videos)


def _packets(source: Any, stream: Any, limits: Limits) -> list[Any]:
    packets = []
    try:
        for packet in source.demux(stream):
            if packet.size:  # an empty one repeats the last picture, and would tell the decoder that all is over
                packets.append(packet)
                if len(packets) > limits.max_packets:
                    limits.check("max_packets", len(packets), f"the video has {len(packets)} packets or more")
    except IndexError:
        pass  # all is read: PyAV stumbles at the end over streams that appeared on the way, as in a broadcast
    except AV_ERRORS as error:
        raise VideoError("corrupt", f"demuxing stopped after {len(packets)} packets: {reason(error)}", AGAIN) from error
    return packets


def _whole(data: bytes, kind: Container, packets: list[Any], promised: int) -> None:
    """Refuse an mp4 that is not all there; drop the half packet at the end of what can be read up to a cut."""
    broken = bool(packets) and packets[-1].is_corrupt
    there = len(packets) - broken
    if kind.demuxer == "mov" and there < promised and (broken or not packets or is_cut(data)):
        cut = is_cut(data) or not packets
        raise VideoError(
            "truncated" if cut else "corrupt", f"the index promises {promised} frames, {there} are there", AGAIN
        )
    if broken and kind.demuxer != "mpegts":  # in MPEG-TS the mark means a gap before the packet
        packets.pop()
    if not packets:
        raise VideoError("no-frames", "the video stream has no frames", AGAIN)


def _presented(packets: list[Any], keys: list[int], codec: str) -> list[int] | None:
    """Coded positions in presentation order, or None when the packets do not prove it.

    Proven means: each shown packet has a timestamp of its own, and none is shown before the first key frame, where
    a decoder may or may not have what it needs.
    """
    shown = [i for i, packet in enumerate(packets) if not packet.is_discard]  # an edit list hides the others
    if codec in ("vp8", "libvpx"):  # bit 4 of a VP8 frame is show_frame: the hidden ones are references only
        shown = [i for i in shown if memoryview(packets[i])[0] & 0x10]
    stamps = [packets[i].pts for i in shown]
    if not stamps or not keys or keys[0] != 0 or None in stamps or len(set(stamps)) < len(stamps):
        return None
    if packets[0].pts is None or packets[0].pts > min(stamps):
        return None
    return [i for _, i in sorted(zip(stamps, shown, strict=True))]
