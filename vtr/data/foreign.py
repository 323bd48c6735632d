"""An index for tars that others wrote, so that they train like our own. The tars are read, and nothing is unpacked.

DIR/index.parquet    DIR/skipped.jsonl    (DIR/.indexing while at work: a part a tar, so that it can go on)
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vtr import plainjson
from vtr.atomic import explain_os_error, locked, refuse_links, write_bytes
from vtr.data import index_file
from vtr.data.crew import Lost, run_tasks
from vtr.data.foreign_tar import BAD_TAR, PARTS, IndexTask, index_tar, read_part
from vtr.data.index_file import Header, Shard
from vtr.data.limits import Limits, longer
from vtr.data.ours import MANIFEST, SKIPPED, remove_parts
from vtr.data.patterns import Tars
from vtr.data.shards import check_arguments
from vtr.data.workdir import LOCK
from vtr.errors import DataError, WorkError


@dataclass(frozen=True)
class IndexSummary:
    """The index of foreign tars: what is in it, what was left out by kind, and what else was found in the tars.

    `damaged`: the tars of which nobody knows what they held, for they are no tars, end early, or have damaged headers.
    """

    root: Path
    tars: int
    samples: int
    captions: int
    decoders: dict[str, int]
    skipped: dict[str, int]
    remarks: dict[str, int]
    damaged: tuple[str, ...] = ()
    nothing_to_do: bool = False

    @property
    def damage(self) -> str:
        """What to say of the tars that are damaged."""
        more = f" and {len(self.damaged) - 3} more" if len(self.damaged) > 3 else ""
        names = f"{', '.join(self.damaged[:3])}{more}"
        return f"{len(self.damaged)} of {self.tars} tars cannot be read to their end, what they held is lost: {names}"


def write_index(
    tars: Tars,
    *,
    caption_key: str | None = None,
    split: str = "",
    workers: int = 1,
    max_skipped: float = 0.05,
    limits: Limits | None = None,
    time_limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> IndexSummary:
    """Writes `index.parquet` (and `skipped.jsonl`) beside the tars, or goes on where an earlier run was stopped.

    `caption_key` is the json field that holds the captions, when it is none of the usual; `split` what samples are
    labelled with whose json does not say. `progress` hears how many of how many tars are done. Raises DataError when no
    sample is left, or the index that is there is of other tars, too; WorkError when more than the share `max_skipped`
    of the samples is left out, or of the tars is damaged (the index is written all the same).
    """
    check_arguments(workers, max_skipped)
    root, limits = tars.root, limits or Limits()
    if odd := [name for name in tars.names if not plainjson.is_unicode(name)]:
        raise DataError(f"the name of {odd[0]!r} in {root} is not UTF-8, so no index can hold it", "rename that tar")
    read_with = {"caption_key": caption_key} if caption_key is not None else {}
    read_with |= {"split": split} if split else {}
    tasks = [IndexTask(root, n, name, caption_key, split, limits) for n, name in enumerate(tars.names)]
    try:
        with locked(root / LOCK, str(root)):
            before = _header_there(root / index_file.NAME)
            if before is not None:
                if (summary := _already(tars, before, limits, read_with)) is not None:
                    _refuse_losses(summary, max_skipped)
                    return summary
                _refuse_to_drop(tars, before)
            refuse_links(root, PARTS)
            (root / PARTS).mkdir(exist_ok=True)
            done = {task.number for task in tasks if read_part(task) is not None}
            _work([task for task in tasks if task.number not in done], len(done), workers, time_limit_s, progress)
            summary = _finish(tars, tasks, read_with)
    except OSError as error:
        raise explain_os_error(error, "while indexing tars", root) from error
    _refuse_losses(summary, max_skipped)
    return summary


def _refuse_losses(summary: IndexSummary, max_skipped: float) -> None:
    """Raises WorkError when more than the share `max_skipped` of the samples is left out, or of the tars damaged."""
    left_out = sum(summary.skipped.values())
    total = left_out + summary.samples
    share = max(left_out / total, len(summary.damaged) / summary.tars)
    if share <= max_skipped:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary.skipped.items())
    samples = f"{left_out} of {total} samples are left out of the index of {summary.root}: {kinds}"
    raise WorkError(
        samples if left_out > max_skipped * total else f"in {summary.root} {summary.damage}",
        f"{summary.root / SKIPPED} names them; accept that with --max-skipped {math.ceil(100 * share) / 100:g}"
        f"{longer(summary.skipped)}",
    )


def _work(
    tasks: Sequence[IndexTask],
    before: int,
    workers: int,
    time_limit_s: float,
    progress: Callable[[int, int], None] | None,
) -> None:
    def on_lost(task: IndexTask, lost: Lost) -> IndexTask:
        reason = lost.blame(f"sample {lost.item} of {task.name}", time_limit_s)
        return replace(task, lost={**task.lost, lost.item: reason})

    results = run_tasks(
        index_tar, tasks, workers=workers, time_limit_s=time_limit_s, on_lost=on_lost, on_tick=lambda _: None
    )
    with closing(results):
        for count, _ in enumerate(results, 1):
            if progress is not None:
                progress(before + count, before + len(tasks))


def _finish(tars: Tars, tasks: Sequence[IndexTask], read_with: Mapping[str, str]) -> IndexSummary:
    """Gathers the parts into the index."""
    metas = []
    for task in tasks:
        meta = read_part(task)
        if meta is None:
            raise DataError(f"{task.name} has changed while it was indexed", "run the same command again")
        metas.append(meta)
    skipped = [entry for meta in metas for entry in meta["skipped"]]
    root = tars.root
    if not (root / MANIFEST).is_file():  # else these are shards of ours, and what was skipped then stands there
        write_bytes(root / SKIPPED, "".join(json.dumps(entry) + "\n" for entry in skipped).encode())
    table = _unique_keys(pa.concat_tables(index_file.read_part(task.part, task.name) for task in tasks))
    if not len(table):
        first = f": {skipped[0]['message']}" if skipped else ""
        raise DataError(f"the tars of {root} hold no sample that can be used{first}", f"{root / SKIPPED} says why")
    counts = Counter(table.column("shard").to_pylist())
    shards = [
        Shard(task.name, meta["bytes"], counts[task.name])
        for task, meta in zip(tasks, metas, strict=True)
        if counts[task.name]
    ]
    index_file.write_index(root / index_file.NAME, table, shards, tasks[0].limits, read_with)
    remove_parts(root / PARTS)
    remarks: Counter[str] = Counter()
    for meta in metas:
        remarks.update(meta["remarks"])
    return _summary(tars, table, skipped, remarks)


def _unique_keys(table: pa.Table) -> pa.Table:
    """`table` with keys that are unique: where tars count their samples from 0 each, the tar's name comes before."""
    keys = table.column("key")
    if len(keys.unique()) == len(keys):
        return table
    stems = pc.replace_substring_regex(table.column("shard"), r"\.tar$", "")
    joined = pc.binary_join_element_wise(
        stems.cast(pa.large_string()), keys.cast(pa.large_string()), pa.scalar("/", pa.large_string())
    )
    return table.set_column(0, table.schema.field(0), joined.cast(table.schema.field(0).type))


def _summary(tars: Tars, table: pa.Table, skipped: Sequence[Mapping[str, str]], remarks: Counter[str]) -> IndexSummary:
    return IndexSummary(
        root=tars.root,
        tars=len(tars.names),
        samples=len(table),
        captions=int(pc.sum(pc.list_value_length(table.column("captions"))).as_py() or 0),
        decoders=dict(Counter(table.column("decoder").to_pylist()).most_common()),
        skipped=dict(Counter(entry["kind"] for entry in skipped).most_common()),
        remarks=dict(remarks.most_common()),
        damaged=tuple(dict.fromkeys(_tar_of(entry) for entry in skipped if entry["kind"] == BAD_TAR)),
    )


def _tar_of(entry: Mapping[str, str]) -> str:
    """The tar that a line of `skipped.jsonl` is about."""
    return entry["video"].removesuffix(f"/{entry['key']}") if entry["key"] else entry["video"]


def _left_out(tars: Tars) -> list[dict[str, str]]:
    """What the index that is there left out of `tars`; of ours nothing: there stands what sharding skipped."""
    if (tars.root / MANIFEST).is_file():
        return []
    entries = [plainjson.loads(line) for line in (tars.root / SKIPPED).read_bytes().splitlines()]
    named = set(tars.names)
    return [entry for entry in entries if _tar_of(entry) in named]


def _header_there(path: Path) -> Header | None:
    """Of the index that is there already; None where there is none that can be read."""
    try:
        return index_file.read_header(path) if path.is_file() else None
    except DataError:
        return None


def _already(tars: Tars, before: Header, limits: Limits, read_with: Mapping[str, str]) -> IndexSummary | None:
    """The summary of the index that is there, of these tars among others; None when it must be made anew."""
    path = tars.root / index_file.NAME
    sizes = {shard.name: shard.bytes for shard in before.shards}
    now = {name: (tars.root / name).stat() for name in tars.names}
    if (before.limits, before.read_with) != (limits, read_with):
        return None
    if any(sizes.get(name) != stat.st_size for name, stat in now.items()):
        return None
    if max(stat.st_mtime_ns for stat in now.values()) > path.stat().st_mtime_ns:  # sizes of tars are rounded
        return None
    try:
        _, table = index_file.read_whole(path)
        table = table.filter(pc.is_in(table.column("shard"), pa.array(tars.names)))
        return replace(_summary(tars, table, _left_out(tars), Counter()), nothing_to_do=True)
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError):  # what was noted may be anybody's
        return None


def _refuse_to_drop(tars: Tars, before: Header) -> None:
    """Raises DataError when the index that is there has tars that are there, and were not named."""
    named = set(tars.names)
    lost = [shard.name for shard in before.shards if shard.name not in named and (tars.root / shard.name).is_file()]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise DataError(
            f"{tars.root / index_file.NAME} also has {lost[0]}{more}; an index of what was named would lose that",
            f"index all of them together: vtr inspect {tars.root} --index; or remove that index first",
        )
