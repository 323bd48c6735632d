"""Video files, or stored samples, to clips of their spans, decoded by watched processes.

A worker leaves the clips of one video in an npy file, which the caller maps: neither long videos nor those that are
decoded ahead of a slow one are held in memory, and nothing large goes through a pipe.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vtr import plainjson
from vtr.data import pyav_reader, stored, video
from vtr.data.apart import Decode, here
from vtr.data.clips import frame_numbers
from vtr.data.crew import Beat, Lost, run_tasks
from vtr.data.dataset import ClipShape
from vtr.data.index import ShardIndex
from vtr.data.limits import DEFAULT, Limits
from vtr.data.pyav_packets import demuxed
from vtr.data.pyav_picture import Converter
from vtr.data.spans import Segments, span_frames, spans_of
from vtr.errors import VideoError, WorkError

Clips: TypeAlias = npt.NDArray[np.uint8]  # (S,T,3,H,W)
Spans: TypeAlias = npt.NDArray[np.float64]  # (S,2) seconds


@dataclass(frozen=True)
class Clipped:
    """One video: spans (S,2) in seconds with their clips, or `error`, (kind, message), and none of both."""

    spans: Spans
    clips: Clips
    error: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Task:
    number: int
    video: Path | tuple[Path, int]
    shape: ClipShape
    segments: Segments | None
    aside: Path
    limits: Limits
    lost: tuple[str, str] | None = None


def clip_videos(
    videos: Sequence[Path | tuple[Path, int]],
    shape: ClipShape,
    segments: Segments | None,
    aside: Path,
    *,
    workers: int,
    time_limit_s: float = 300.0,
    limits: Limits = DEFAULT,
) -> Iterator[Clipped]:
    """The clips of each of `videos` (a file, or a shard directory and the number of a sample), in their order.

    `aside` is an empty folder, gone at the end. A video that cannot be decoded in `time_limit_s`, or that ends its
    decoder, comes with its error. Without `workers` one decodes all the same, for a decoder that hangs or crashes can
    only be ended as a process.
    """

    def on_lost(task: _Task, lost: Lost) -> _Task:
        return replace(task, lost=lost.blame(_name(task), time_limit_s))

    aside.mkdir(parents=True, exist_ok=True)
    tasks = [_Task(n, of, shape, segments, aside, limits) for n, of in enumerate(videos)]
    results = run_tasks(
        _clip, tasks, workers=max(1, workers), time_limit_s=time_limit_s, on_lost=on_lost, on_tick=lambda _: None
    )
    early: dict[int, tuple[Spans, tuple[str, str] | None]] = {}
    wanted = 0
    try:
        with closing(results):
            for task, found in results:
                early[task.number] = found
                while wanted in early:
                    yield _taken(aside, wanted, shape, *early.pop(wanted))
                    wanted += 1
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def clip_file(path: Path, shape: ClipShape, limits: Limits = DEFAULT, decode: Decode = here) -> Clips:
    """(1,T,3,H,W) uint8: the clip of a whole video file, decoded in this process unless `decode` is a `Decoder`.

    Raises VideoError, which names the file.
    """
    data = video.read_file(path, limits)
    try:
        return _whole(data, decode(video.probe, data, limits), shape, limits, decode)
    except VideoError as error:
        raise VideoError(error.kind, f"{path}: {error.message}", error.hint) from error


def _taken(aside: Path, number: int, shape: ClipShape, spans: Spans, error: tuple[str, str] | None) -> Clipped:
    if error is not None:
        return Clipped(np.empty((0, 2)), np.empty((0, shape.frames, 3, shape.size, shape.size), np.uint8), error)
    file = aside / f"{number}.npy"
    clips = np.load(file, mmap_mode="r", allow_pickle=False)
    file.unlink()  # the map keeps the bytes until it is let go
    return Clipped(spans, clips)


def _name(task: _Task) -> str:
    if isinstance(task.video, Path):
        return str(task.video)
    root, i = task.video
    return f"{_index(root).key(i)} in {root}"


@lru_cache(maxsize=1)
def _index(root: Path) -> ShardIndex:
    """Opened once a process."""
    return ShardIndex(root)


def _clip(task: _Task, beat: Beat) -> tuple[Spans, tuple[str, str] | None]:
    """In a worker: decodes, and leaves the clips in their file."""
    nothing = np.empty((0, 2))
    if task.lost is not None:
        return nothing, task.lost
    try:
        with beat.native(0):
            if isinstance(task.video, Path):
                data = video.read_file(task.video, task.limits)
                spans, clips = _of_bytes(data, task, video.probe(data, task.limits))
            else:
                spans, clips = _of_sample(_index(task.video[0]), task.video[1], task)
    except VideoError as error:
        return nothing, (error.kind, error.message)
    except OSError as error:
        raise WorkError(
            f"the clips of {_name(task)} cannot be kept in {task.aside}: {error.strerror}", "make room there"
        ) from error
    if clips is not None:
        np.save(task.aside / f"{task.number}.npy", clips)
    return spans, None


def _of_sample(index: ShardIndex, i: int, task: _Task) -> tuple[Spans, Clips | None]:
    info = index.info(i)
    if info.store != "frames" and info.decoder != "image":
        data, task = index.read_video(i), replace(task, limits=index.limits)
        facts = video.VideoInfo(
            info.frames, info.fps, info.duration_s, info.width, info.height, "", "", info.decoder
        )  # fmt: skip
        return _of_bytes(data, task, facts)
    spans = spans_of(info.duration_s, task.segments)
    times = np.zeros(1)
    if info.store == "frames" and info.frames > 1:
        times = _times(index, i, info.frames)
    shape = task.shape
    count = shape.still if info.decoder == "image" else shape.frames
    numbers = span_frames(times, spans, count, info.duration_s, shape.sampler, shape.stride)
    distinct, places = np.unique(numbers, return_inverse=True)
    frames = stored.decode(stored.fetch(index, i, distinct.tolist()), shape.at_least)
    planes = shape.evaluation(frames).numpy()
    return spans, planes[places.reshape(numbers.shape)]


def _times(index: ShardIndex, i: int, frames: int) -> npt.NDArray[np.float64]:
    """(n,) seconds of the stored frames of a sample, as its json tells. Raises VideoError when it does not."""
    try:
        times = np.array(plainjson.loads(index.read(i, ["json"])["json"])["times"], np.float64)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise VideoError("corrupt", f"the json of {index.key(i)} tells no times of its frames") from error
    if times.shape != (frames,) or not np.isfinite(times).all():
        raise VideoError("corrupt", f"the json of {index.key(i)} tells {times.size} times of {frames} frames")
    return times


def _of_bytes(data: bytes, task: _Task, info: video.VideoInfo) -> tuple[Spans, Clips | None]:
    """The spans, and their clips unless they were written already, frame by frame."""
    spans, shape = spans_of(info.duration_s, task.segments), task.shape
    if len(spans) == 1:
        return spans, _whole(data, info, shape, task.limits)
    # No two frames are in memory at once, however many spans there are; PyAV gives the pixels that decord gives.
    with demuxed(data, task.limits) as opened:
        times = pyav_reader.times(opened)
        numbers = span_frames(times, spans, shape.frames, info.duration_s, shape.sampler, shape.stride)
        out = np.lib.format.open_memmap(
            task.aside / f"{task.number}.npy", "w+", np.uint8, (*numbers.shape, 3, shape.size, shape.size)
        )
        with (task.aside / f"{task.number}.npy").open("r+b") as file:
            # A full disk is an error here and now; through the map it would be the end of this process.
            os.posix_fallocate(file.fileno(), 0, out.offset + out.nbytes)
        opened.codec.flush_buffers()
        convert = Converter(opened)
        for k, frame in pyav_reader.decode(opened, np.unique(numbers).tolist()):
            out[numbers == k] = shape.evaluation(convert(frame)[None]).numpy()
        out.flush()
    return spans, None


def _whole(data: bytes, info: video.VideoInfo, shape: ClipShape, limits: Limits, decode: Decode = here) -> Clips:
    numbers = frame_numbers(shape.sampler, info.frames, shape.frames, shape.stride).tolist()
    decoder = "pyav" if shape.decoder == "pyav" else info.decoder
    frames = decode(video.read_frames, data, numbers, decoder, limits)
    return shape.evaluation(frames).numpy()[None]
