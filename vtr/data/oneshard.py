"""One shard: its samples' videos read, checked and written to one tar, and the index rows of what was written.

This is what a worker process does. The tar depends on the samples alone, so it has the same bytes whoever writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vtr import plainjson
from vtr.atomic import Syncing, explain_os_error, replacing
from vtr.data import index_file, unfolding, video
from vtr.data.annotations.sample import Sample
from vtr.data.crew import Beat
from vtr.data.index_file import Shard
from vtr.data.limits import Limits
from vtr.data.pace import EVERY, Pace, measure
from vtr.data.prepared import Prepared
from vtr.data.store import FrameStore, Store, VideoStore
from vtr.data.tarwriter import TarWriter
from vtr.errors import DataError, VideoError, WorkError

PARTS = ".parts"
META = b"vtr.part"
ENTRY = ("key", "video", "kind", "message")  # what is noted of each sample that is skipped


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Shard `number` of `out` is to hold `samples`; `lost` names those (by place) that cost a worker its life."""

    out: Path
    number: int
    samples: tuple[Sample, ...]
    digest: str
    store: Store = field(default_factory=VideoStore)
    limits: Limits = field(default_factory=Limits)
    lost: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def tar(self) -> Path:
        """Where the tar will stand."""
        return self.out / f"{self.number:06d}.tar"

    @property
    def part(self) -> Path:
        """The index rows of this shard alone; that this file is there says that the shard is done."""
        return self.out / PARTS / f"{self.number:06d}.parquet"

    def remove_leftovers(self) -> None:
        """Removes what a writer of this shard that was killed had begun."""
        for name in (self.tar.name, self.part.name):
            for begun in self.part.parent.glob(f"{name}.tmp-*"):
                begun.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a finished shard left: its tar (None when every sample was skipped), the samples that were skipped, and how
    quickly some of the others were read back."""

    shard: Shard | None
    skipped: tuple[dict[str, str], ...]
    digest: str
    pace: Pace = field(default_factory=Pace)

    @property
    def samples(self) -> int:
        """All samples of the shard, written or skipped."""
        return len(self.skipped) + (self.shard.samples if self.shard is not None else 0)


def write_shard(task: ShardTask, beat: Beat) -> ShardResult:
    """Writes the tar and then the part of `task`.

    Raises WorkError when the disk does not take it; videos that cannot be decoded are skipped, with their reason.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    pace = Pace()
    try:
        # Where a power cut takes the tar's name or its part, the shard is made again; what has both is on the disk.
        with replacing(task.tar, aside=task.part.parent, sync=False) as file:
            writer, syncing = TarWriter(file), Syncing(file)
            for item, sample in enumerate(task.samples):
                try:
                    ready, sha256 = _prepare(sample, item, task, beat)
                    if len(rows) % EVERY == 0:
                        with beat.native(item):
                            pace += measure(ready, FrameStore(), task.limits)
                except VideoError as error:
                    told = (sample.key, sample.source, error.kind, error.message)
                    skipped.append(dict(zip(ENTRY, told, strict=True)))
                else:
                    rows.append(_write(writer, sample, ready, sha256, task))
                    syncing.upto(writer.size)
            size = writer.close()
            syncing.end()
        if not rows:
            task.tar.unlink()  # a tar without members is an error to most readers
        part = ShardResult(Shard(task.tar.name, size, len(rows)) if rows else None, tuple(skipped), task.digest, pace)
        _write_part(task.part, rows, part)
    except OSError as error:
        raise explain_os_error(error, f"while writing {task.tar.name}", task.out) from error
    return part


def read_part(task: ShardTask) -> ShardResult | None:
    """What an earlier run left of `task`; None when that is not whole, or was made of other samples.

    Nor is it where another vtr wrote other columns: the shard is made again.
    """
    try:
        schema = unfolding.schema_of(task.part)
        part = _part_of(schema)
        whole = part.shard is None or (task.tar.name, task.tar.stat().st_size) == (part.shard.name, part.shard.bytes)
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError, DataError):
        return None
    return part if whole and part.digest == task.digest and index_file.has_columns(schema) else None


def part_rows(task: ShardTask) -> pa.Table:
    """The index rows of a shard that is done. Raises DataError: they are damaged, or of another tar."""
    return index_file.read_part(task.part, task.tar.name)


def _prepare(sample: Sample, item: int, task: ShardTask, beat: Beat) -> tuple[Prepared, str]:
    """What is to be stored of a sample, and the sha256 of its video. Raises VideoError when it is not to be written."""
    if item in task.lost:
        raise VideoError(*task.lost[item])
    if not sample.captions:
        raise VideoError("no-caption", f"{sample.source} has no caption")
    try:
        with beat.native(item):
            data = video.read_file(sample.video, task.limits) if isinstance(sample.video, Path) else sample.video()
            suffix = Path(sample.source).suffix.lower().lstrip(".")
            ready = task.store.prepare(data, suffix, task.limits)
        if not any(stored is data for _, stored in ready.members):  # else the sum of the source says it
            stored = hashlib.sha256(b"".join(part for _, part in ready.members)).hexdigest()
            ready = replace(ready, more={**ready.more, "stored_sha256": stored})
        return ready, hashlib.sha256(data).hexdigest()
    except VideoError:
        raise
    except Exception as error:  # a fault of ours or of a decoder: say which video, since it need not be all
        raise WorkError(
            f"{sample.key} ({sample.source}) made {type(error).__name__}: {error}",
            "this is a bug in vtr: please report it; to go on without this video take it out of the source",
        ) from error


def _write(writer: TarWriter, sample: Sample, ready: Prepared, sha256: str, task: ShardTask) -> dict[str, Any]:
    """Adds the members of one sample, json first; returns its row of the index."""
    about = {
        "key": sample.key,
        "captions": sample.captions,
        "caption": sample.captions[0],
        "split": sample.split,
        "source": sample.source,
        "store": task.store.name,
        **ready.facts,
        "sha256": sha256,
        **ready.more,
        "meta": dict(sample.meta),
    }
    text = json.dumps(about, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    members = [writer.add(sample.key, ext, data) for ext, data in [("json", text), *ready.members]]
    return index_file.make_row(
        sample.key, task.tar.name, members, sample.captions, sample.split, sha256, task.store.name, ready.facts
    )


def _write_part(path: Path, rows: list[dict[str, Any]], part: ShardResult) -> None:
    shard = None if part.shard is None else [part.shard.name, part.shard.bytes, part.shard.samples]
    meta = json.dumps({"shard": shard, "skipped": part.skipped, "digest": part.digest, "pace": part.pace.record()})
    table = index_file.rows_to_table(rows).replace_schema_metadata({META: meta})
    with replacing(path, sync=False) as file:
        pq.write_table(table, file)


def _part_of(schema: pa.Schema) -> ShardResult:
    meta = plainjson.loads(schema.metadata[META])
    shard = None if meta["shard"] is None else Shard(*meta["shard"])
    # What an earlier run left may be of anybody, as the directory is.
    skipped = tuple({name: str(entry[name]) for name in ENTRY} for entry in meta["skipped"])
    pace = Pace(**{name: value + 0 for name, value in meta["pace"].items()})  # TypeError: no number
    if shard is not None and type(shard.samples) is not int:
        raise TypeError("a number of samples is none")
    return ShardResult(shard, skipped, meta["digest"], pace)
