"""Every byte of a shard directory read again and every frame decoded, by worker processes under watch.

Headers are checked by their own sums, members by CRC-32, original videos by the sha256 of their source, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vtr.data import captions, image, pyav_reader, video
from vtr.data.crew import Beat, Lost, run_tasks
from vtr.data.index import ShardIndex
from vtr.data.pyav_packets import demuxed
from vtr.data.tar import IMAGE_EXTS, VIDEO_EXTS
from vtr.data.tarheaders import BLOCK, read_entries
from vtr.errors import DataError, InputError, VideoError

COSTS = ("truncated", "bad-header")  # problems of headers that say the tar is damaged; others stand in foreign tars


@dataclass(frozen=True)
class Verified:
    """How much was read, and what was found wrong: {"shard", "key", "kind", "message"}."""

    samples: int
    members: int
    bytes: int
    frames: int
    problems: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class VerifyTask:
    """Shard `number` of the index at `root`, of those tars `only` that it was opened with."""

    root: Path
    only: tuple[str, ...] | None
    number: int
    lost: Mapping[int, tuple[str, str]] = field(default_factory=dict)


def verify(
    index: ShardIndex,
    *,
    workers: int = 1,
    time_limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Reads and decodes all of `index`; `progress` hears how many of how many samples were begun.

    Raises WorkError when a worker is killed from outside, InputError for shards at a URL.
    """
    if index.remote is not None:
        raise InputError(
            f"{index.where} is a URL; all of it would have to come here", "copy the shards, or verify there"
        )
    done: list[Verified] = []

    def on_lost(task: VerifyTask, lost: Lost) -> VerifyTask:
        reason = lost.blame(f"shard {task.number}", time_limit_s, "use fewer --workers")
        return replace(task, lost={**task.lost, lost.item: reason})

    def on_tick(begun: int) -> None:
        if progress is not None:
            progress(sum(one.samples for one in done) + begun, len(index))

    tasks = [VerifyTask(index.root, index.only, number) for number in range(len(index.shards))]
    results = run_tasks(
        verify_shard, tasks, workers=workers, time_limit_s=time_limit_s, on_lost=on_lost, on_tick=on_tick
    )
    with closing(results):
        found = {}
        for task, result in results:
            found[task.number] = result
            done.append(result)
    problems = [problem for number in sorted(found) for problem in found[number].problems]
    sums = {name: sum(getattr(one, name) for one in done) for name in ("samples", "members", "bytes", "frames")}
    return Verified(**sums, problems=tuple(problems))


def verify_shard(task: VerifyTask, beat: Beat) -> Verified:
    """What a worker does: one tar."""
    index = _open(task.root, task.only)
    shard = index.shards[task.number]
    samples = np.flatnonzero(index.shard_of == task.number).tolist()
    problems = _headers(index, task.number, samples)
    members = size = frames = 0
    for item, i in enumerate(samples):
        try:
            if item in task.lost:
                raise VideoError(*task.lost[item])
            data = index.read(i)
            members, size = members + len(data), size + sum(map(len, data.values()))
            with beat.native(item):
                frames += _decode(index, i, data)
        except VideoError as error:
            problems.append({"shard": shard.name, "key": index.key(i), "kind": error.kind, "message": error.message})
    return Verified(len(samples), members, size, frames, tuple(problems))


@lru_cache(maxsize=1)
def _open(root: Path, only: tuple[str, ...] | None) -> ShardIndex:
    return ShardIndex(root, only)


def _headers(index: ShardIndex, number: int, samples: list[int]) -> list[dict[str, str]]:
    """What is wrong with the headers of a tar, or between them and the index."""
    name = index.shards[number].name
    try:
        entries, found = read_entries(index.root / name)
    except DataError as error:
        return [{"shard": name, "key": "", "kind": "bad-tar", "message": error.message}]
    problems = [
        {"shard": name, "key": one.name, "kind": one.kind, "message": one.message} for one in found if one.kind in COSTS
    ]
    places = {entry.offset: entry.size for entry in entries}
    for i in samples:
        for member in index.members(i):
            if places.get(member.offset) != member.size:
                message = f"{index.key(i)}.{member.ext} is not where the index says, at byte {member.offset - BLOCK}"
                problems.append({"shard": name, "key": index.key(i), "kind": "bad-header", "message": message})
    return problems


def _decode(index: ShardIndex, i: int, data: Mapping[str, bytes]) -> int:
    """Decodes all frames of sample `i`; returns how many. Raises VideoError when it cannot, or they are too few."""
    promised, decoder = int(index.fact(i, "frames")), index.fact(i, "decoder")
    if decoder in ("image", "jpeg"):
        pictures = [bytes_ for ext, bytes_ in data.items() if ext.rsplit(".", 1)[-1] in IMAGE_EXTS]
        for picture in pictures:
            image.decode(picture, index.limits)
        return _as_promised(len(pictures), promised)
    stored = next(bytes_ for ext, bytes_ in data.items() if ext.rsplit(".", 1)[-1] in VIDEO_EXTS)
    if not _is_remade(data) and hashlib.sha256(stored).hexdigest() != index.fact(i, "sha256"):
        raise VideoError("corrupt", f"{index.key(i)} is not the video that was sharded (sha256)")
    if not promised:  # sharded without a look at it
        promised = video.probe(stored, index.limits).frames
    with demuxed(stored, index.limits) as packets:
        count = sum(1 for _ in pyav_reader.decode(packets, range(promised)))
    if decoder == "decord":
        video.read_frames(stored, sorted({0, promised // 2, promised - 1}), decoder, index.limits)
    return _as_promised(count, promised)


def _as_promised(count: int, promised: int) -> int:
    if count != promised:
        raise VideoError("corrupt", f"{count} frames are there, the index says {promised}")
    return count


def _is_remade(data: Mapping[str, Any]) -> bool:
    """Whether the stored video is a re-encoding of ours; the sha256 of the index is then that of its source."""
    about = captions.json_of(data)
    return "original" in about and about.get("store") == "video"
