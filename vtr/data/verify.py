"""Every byte of a shard directory read again and every frame decoded, by worker processes under watch.

Members are checked by CRC-32 and by the sha256 of what was stored; what stands between them byte by byte in tars of
ours, by sums and places in those of others; the index by its digest and by the sha256 in the manifest.
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

from vtr.checkpoint import sha256
from vtr.data import captions, image, index_file, pyav_reader, video
from vtr.data.between import check_others, check_ours
from vtr.data.crew import Beat, Lost, run_tasks
from vtr.data.index import ShardIndex
from vtr.data.manifest import noted
from vtr.data.ours import MANIFEST
from vtr.data.pyav_packets import demuxed
from vtr.data.tar import IMAGE_EXTS, VIDEO_EXTS
from vtr.errors import DataError, InputError, VideoError


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
        reason = lost.blame(f"shard {task.number}", time_limit_s, "if memory ran out, use fewer --workers")
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
    problems = _index(index) + [problem for number in sorted(found) for problem in found[number].problems]
    sums = {name: sum(getattr(one, name) for one in done) for name in ("samples", "members", "bytes", "frames")}
    return Verified(**sums, problems=tuple(problems))


def verify_shard(task: VerifyTask, beat: Beat) -> Verified:
    """What a worker does: one tar."""
    index = _open(task.root, task.only)
    shard = index.shards[task.number]
    samples = np.flatnonzero(index.shard_of == task.number).tolist()
    problems = _between(index, task.number, samples)
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
            problems.append(_problem(shard.name, index.key(i), error.kind, error.message))
    return Verified(len(samples), members, size, frames, tuple(problems))


@lru_cache(maxsize=1)
def _open(root: Path, only: tuple[str, ...] | None) -> ShardIndex:
    return ShardIndex(root, only)


def _between(index: ShardIndex, number: int, samples: list[int]) -> list[dict[str, str]]:
    """What is wrong with a tar beside its members, or between it and the index."""
    name = index.shards[number].name
    members = [(index.key(i), member) for i in samples for member in index.members(i)]
    shards = noted(index.root, "shards")
    ours = isinstance(shards, list) and any(isinstance(one, dict) and one.get("name") == name for one in shards)
    found = check_ours if ours else check_others
    return [_problem(name, one.name, one.kind, one.message) for one in found(index.root / name, members)]


def _index(index: ShardIndex) -> list[dict[str, str]]:
    """What is wrong with the index itself: it says what it should hold, and so does the manifest."""
    path = index.root / index_file.NAME
    found = []
    try:
        index_file.read_whole(path)
    except DataError as error:
        found.append(error.message)
    if (written := noted(index.root, "index", "sha256")) is not None and sha256(path) != written:
        found.append(f"it is not the one that {MANIFEST} names (sha256)")
    if (index.root / MANIFEST).is_file() and written is None:
        found.append(f"{MANIFEST} beside it is damaged")
    return [_problem(index_file.NAME, "", "bad-index", message) for message in found]


def _problem(shard: str, key: str, kind: str, message: str) -> dict[str, str]:
    return {"shard": shard, "key": key, "kind": kind, "message": message}


def _decode(index: ShardIndex, i: int, data: Mapping[str, bytes]) -> int:
    """Decodes all frames of sample `i`; returns how many. Raises VideoError when it cannot, or they are too few."""
    promised, decoder = int(index.fact(i, "frames")), index.fact(i, "decoder")
    about = captions.json_of(data)
    if (written := about.get("stored_sha256")) is not None:
        kept = b"".join(bytes_ for ext, bytes_ in data.items() if ext != "json")
        if hashlib.sha256(kept).hexdigest() != written:
            raise VideoError("corrupt", f"{index.key(i)} is not what was stored (sha256)")
    if decoder in ("image", "jpeg"):
        pictures = [bytes_ for ext, bytes_ in data.items() if ext.rsplit(".", 1)[-1] in IMAGE_EXTS]
        for picture in pictures:
            image.decode(picture, index.limits)
        if decoder == "image" and index.fact(i, "store") == "video":
            _check_source(index, i, pictures[0])
        return _as_promised(len(pictures), promised)
    stored = next(bytes_ for ext, bytes_ in data.items() if ext.rsplit(".", 1)[-1] in VIDEO_EXTS)
    if not _is_remade(about):
        _check_source(index, i, stored)
    if not promised:  # sharded without a look at it
        promised = video.probe(stored, index.limits).frames
    with demuxed(stored, index.limits) as packets:
        count = sum(1 for _ in pyav_reader.decode(packets, range(promised)))
    if decoder == "decord":
        video.read_frames(stored, sorted({0, promised // 2, promised - 1}), decoder, index.limits)
    return _as_promised(count, promised)


def _check_source(index: ShardIndex, i: int, stored: bytes) -> None:
    if hashlib.sha256(stored).hexdigest() != index.fact(i, "sha256"):
        raise VideoError("corrupt", f"{index.key(i)} is not the file that was sharded (sha256)")


def _as_promised(count: int, promised: int) -> int:
    if count != promised:
        raise VideoError("corrupt", f"{count} frames are there, the index says {promised}")
    return count


def _is_remade(about: Mapping[str, Any]) -> bool:
    """Whether the stored video is a re-encoding of ours; the sha256 of the index is then that of its source."""
    return "original" in about and about.get("store") == "video"
