"""One tar that others wrote, to rows of the index: what a worker process does.

Members are opened by an allow-list of extensions; pickles, arrays and whatever else stands in a tar are counted and
never read. Names of members are data: none becomes a path. Each video is decoded once, under watch, as when sharding.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vtr import plainjson
from vtr.atomic import replacing
from vtr.data import captions, image, index_file, unfolding
from vtr.data.crew import Beat
from vtr.data.limits import Limits
from vtr.data.prepared import Prepared, facts_of
from vtr.data.store import VideoStore
from vtr.data.tar import CAPTION_EXTS, IMAGE_EXTS, VIDEO_EXTS, TarSample, scan
from vtr.data.tarfiles import read_at
from vtr.data.tarheaders import AFTER_END, DAMAGE, Problem
from vtr.data.tarwriter import Member
from vtr.errors import DataError, VideoError

PARTS = ".indexing"
META = b"vtr.indexing"
HARMLESS = ("ignored", "no-key", "several-videos", AFTER_END)  # problems of a tar that cost no sample
ENTRY = ("key", "video", "kind", "message")  # what is noted of each sample that is left out
BAD_TAR = "bad-tar"  # it costs nobody knows how many samples; a video may be `truncated` in a sound tar


@dataclass(frozen=True, slots=True)
class IndexTask:
    """The tar `name` below `root`; `lost` names the samples (by place) that cost a worker its life."""

    root: Path
    number: int
    name: str
    caption_key: str | None
    split: str
    limits: Limits = field(default_factory=Limits)
    lost: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def part(self) -> Path:
        """The rows of this tar alone."""
        return self.root / PARTS / f"{self.number:06d}.parquet"

    def digest(self) -> str:
        """What the rows depend on."""
        stat = (self.root / self.name).stat()
        facts = [self.name, stat.st_size, stat.st_mtime_ns, self.caption_key, self.split, self.limits.raised()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def index_tar(task: IndexTask, beat: Beat) -> str:
    """What a worker does: reads every whole sample of one tar and writes its rows as a part; returns the tar's name."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    path = task.root / task.name
    samples: list[TarSample] = []
    harmless: list[Problem] = []
    try:
        found = scan(path, task.limits.max_bytes)
        samples = found.samples
        harmless = [problem for problem in found.problems if problem.kind in HARMLESS]
        skipped += [
            _entry(task, p.name, BAD_TAR if p.kind in DAMAGE else p.kind, p.message)
            for p in found.problems
            if p.kind not in HARMLESS
        ]
    except DataError as error:
        skipped.append(_entry(task, "", BAD_TAR, error.message))
    if samples:
        with path.open("rb") as file:
            for item, sample in enumerate(samples):
                try:
                    rows.append(_row(task, file.fileno(), sample, item, beat))
                except VideoError as error:
                    skipped.append(_entry(task, sample.key, error.kind, error.message))
    left_out = {entry["key"] for entry in skipped}
    remarks = Counter[str]()
    for problem in harmless:
        if problem.kind != "several-videos" or problem.name not in left_out:
            remarks[problem.kind] += problem.count
    meta = {"digest": task.digest(), "skipped": skipped, "remarks": remarks, "bytes": path.stat().st_size}
    table = index_file.rows_to_table(rows).replace_schema_metadata({META: json.dumps(meta)})
    with replacing(task.part) as part:
        pq.write_table(table, part)
    return task.name


def _row(task: IndexTask, handle: int, sample: TarSample, item: int, beat: Beat) -> dict[str, Any]:
    """The index row of one sample. Raises VideoError when it is to be left out."""
    if item in task.lost:
        raise VideoError(*task.lost[item])
    if not plainjson.is_unicode(sample.key, *sample.members):
        raise VideoError("bad-key", f"the names of its members are not UTF-8: {sample.key!r}")
    _refuse_merged(sample)
    texts = {ext: entry for ext, entry in sample.members.items() if captions.wanted(ext)}
    data = {ext: read_at(handle, entry.size, entry.offset) for ext, entry in texts.items()}
    written = captions.read(data, task.caption_key)
    about = captions.json_of(data)
    media = _media(sample, about)
    data |= {ext: read_at(handle, sample.members[ext].size, sample.members[ext].offset) for ext in media}
    with beat.native(item):
        if len(media) > 1 or about.get("store") == "frames":
            facts = _frame_facts([data[ext] for ext in media], about, task.limits)
            store = "frames"
        else:
            ready: Prepared = VideoStore().prepare(data[media[0]], media[0].rsplit(".", 1)[-1], task.limits)
            facts, store = ready.facts, "video"
    members = [
        Member(ext, entry.offset, entry.size, zlib.crc32(data[ext]))
        for ext, entry in sample.members.items()
        if ext in data
    ]
    sha256 = _sha256(about) or hashlib.sha256(b"".join(data[ext] for ext in media)).hexdigest()
    return index_file.make_row(
        sample.key, task.name, members, written, _split(about) or task.split, sha256, store, facts
    )


def _refuse_merged(sample: TarSample) -> None:
    """Raises VideoError for `clip.v1.mp4 clip.v1.txt clip.v2.mp4 clip.v2.txt`: two samples that have one key."""
    parts: dict[str, set[bool]] = {}
    for ext in sample.members:
        name, _, last = ext.rpartition(".")
        parts.setdefault(name, set()).add(last in CAPTION_EXTS)
    merged = [name for name, found in parts.items() if len(found) == 2]
    if len(merged) > 1 and "" not in merged:
        key = sample.key.rsplit("/", 1)[-1]
        raise VideoError(
            "dots-in-key",
            f"{len(merged)} samples, {key}.{merged[0]} and {key}.{merged[1]} among them, fall into one: the key of a "
            f"WebDataset sample ends at the first dot; write them without one, as {key}_{merged[0].replace('.', '_')}",
        )


def _media(sample: TarSample, about: Mapping[str, Any]) -> list[str]:
    """The extensions of what is shown: one video, else one image; of a frame store of ours all its frames."""
    frames = [ext for ext in sample.members if re.fullmatch(r"\d{4}\.jpg", ext)]
    if about.get("store") == "frames" and frames:
        if sorted(frames) != [f"{n:04d}.jpg" for n in range(len(frames))]:
            raise VideoError("truncated", f"of its frames {len(frames)} are here, some between them are not")
        return frames
    for exts in (VIDEO_EXTS, IMAGE_EXTS):
        if found := [ext for ext in sample.members if ext.rsplit(".", 1)[-1] in exts]:
            return found[:1]
    raise VideoError("not-video", "it has no video and no image")  # `scan` lets none of these through


def _frame_facts(frames: Sequence[bytes], about: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    sizes = {image.decode(frame, limits).shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise VideoError("corrupt", f"its frames have several sizes: {sizes}")
    [(height, width)] = sizes
    decoder = "image" if about.get("decoder") == "image" else "jpeg"
    fps, duration_s = (_number(about.get(name)) for name in ("fps", "duration_s"))
    return facts_of(frames=len(frames), fps=fps, duration_s=duration_s, width=width, height=height, decoder=decoder)


def _number(value: Any) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if good else 0.0


def _sha256(about: Mapping[str, Any]) -> str:
    """That of the source, which a json of ours tells."""
    value = about.get("sha256") if about.get("store") in ("video", "frames") else None
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else ""


def _split(about: Mapping[str, Any]) -> str:
    value = about.get("split")
    if not isinstance(value, str) or len(value) > 80:
        return ""
    if not plainjson.is_unicode(value):
        raise VideoError("bad-caption", "the split in its json has half a surrogate pair, so it is no Unicode")
    return value


def _entry(task: IndexTask, key: str, kind: str, message: str) -> dict[str, str]:
    return {"key": key, "video": f"{task.name}/{key}" if key else task.name, "kind": kind, "message": message}


def read_part(task: IndexTask) -> dict[str, Any] | None:
    """What was noted beside the rows of `task`; None when there are none, or of another tar or columns."""
    try:
        schema = unfolding.schema_of(task.part)
        meta: dict[str, Any] = plainjson.loads(schema.metadata[META])
        # What an earlier run left may be of anybody, as the tars are.
        meta["skipped"] = [{name: str(entry[name]) for name in ENTRY} for entry in meta["skipped"]]
        sound = {type(meta["bytes"]), *map(type, meta["remarks"].values())} == {int}
        return meta if sound and meta["digest"] == task.digest() and index_file.has_columns(schema) else None
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError, DataError):
        return None
