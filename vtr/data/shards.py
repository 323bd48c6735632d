"""Samples become WebDataset tars with an index beside them, by worker processes that may be interrupted at any time.

    OUT/000000.tar ...    OUT/index.parquet    OUT/skipped.jsonl    OUT/manifest.json    (OUT/.parts while at work)

The plan is fixed; each shard is written aside and renamed; its part of the index is its done-marker. The manifest comes
last: where it stands, the directory is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vtr.data import on_cluster
from vtr.data.annotations.sample import JSON, Sample
from vtr.data.crew import check_workers, cores
from vtr.data.limits import Limits
from vtr.data.manifest import ShardSummary, finish, read_finished, refuse_skipped, summarize
from vtr.data.oneshard import ShardResult, ShardTask, read_part
from vtr.data.plan import make_plan
from vtr.data.store import Store, arguments, make_store
from vtr.data.watched import write_all
from vtr.data.workdir import at_work, note_plan
from vtr.errors import InputError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far sharding is: samples looked at so far of `total`, and of those in finished shards, skipped and bytes."""

    done: int
    total: int
    skipped: int
    bytes: int


def write_shards(
    samples: Sequence[Sample],
    out: Path,
    *,
    reader: str,
    source: str,
    options: Mapping[str, JSON] | None = None,
    census: Mapping[str, JSON] | None = None,
    per_shard: int | None = None,
    workers: int | None = None,
    max_skipped: float = 0.05,
    store: Store | str = "video",
    limits: Limits | None = None,
    time_limit_s: float = 300.0,
    ray: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ShardSummary:
    """Writes `samples` as shards into `out`, or goes on where an earlier run of the same was stopped.

    `options` are the reader's (split, limit, ...): with another value the directory is refused. Every video is opened
    and decoded; one that cannot be within `time_limit_s`, or that crashes the decoder, is skipped and named in
    `skipped.jsonl`. `census` (`annotations.take_census`) is kept in the manifest. `store` is "video", "frames", or one
    of their classes with other settings. `ray`: the address of a Ray cluster whose machines do the work; they must see
    `out` and the videos under the same paths.
    Raises DataError when `out` was made of something else, WorkError when more than the share `max_skipped` of the
    samples had to be skipped (the rest is written all the same), the disk is full, or a worker is killed.
    """
    check_arguments(workers, max_skipped)
    store, limits, made_by = settled(reader, options, store, limits)
    plan = make_plan(samples, per_shard, made_by)
    with at_work(out):
        manifest = read_finished(out, plan, source)
        if manifest is not None:
            summary = summarize(out, manifest, nothing_to_do=True)
        else:
            note_plan(out, plan, source, census)
            tasks = [ShardTask(out, n, plan.shard(n), digest, store, limits) for n, digest in enumerate(plan.digests)]
            parts = done_parts(tasks)
            continued = len(parts)
            work(tasks, parts, workers, time_limit_s, progress, ray)
            done = [parts[task.number] for task in tasks]
            manifest = finish(out, plan.record(), source, tasks, done, census)
            summary = summarize(out, manifest, done, continued=continued, nothing_to_do=False)
    refuse_skipped(summary, max_skipped)
    return summary


def settled(
    reader: str, options: Mapping[str, JSON] | None, store: Store | str, limits: Limits | None
) -> tuple[Store, Limits, dict[str, JSON]]:
    """The store, the limits, and what a plan remembers of how shards are made."""
    store = make_store(store) if isinstance(store, str) else store
    limits = limits or Limits()
    return store, limits, {"reader": reader, **arguments(store), **limits.raised(), **(options or {})}


def check_arguments(workers: int | None, max_skipped: float) -> None:
    """Raises InputError for what can be no number of workers or no share."""
    if workers is not None:
        check_workers(workers)
    if not 0 <= max_skipped <= 1:
        raise InputError(f"{max_skipped:g} is no share of the samples", "give one from 0 to 1: 0.05 allows 5 %")


def done_parts(tasks: Sequence[ShardTask]) -> dict[int, ShardResult]:
    """What earlier runs or other tasks left of `tasks`, by number."""
    return {task.number: part for task in tasks if (part := read_part(task)) is not None}


def work(
    tasks: Sequence[ShardTask],
    parts: dict[int, ShardResult],
    workers: int | None,
    time_limit_s: float,
    progress: Callable[[Progress], None] | None = None,
    ray: str | None = None,
) -> None:
    """Writes the shards of `tasks` that are not among `parts`, and adds what each left to them."""
    counts = {task.number: len(task.samples) for task in tasks}

    def on_tick(begun: int) -> None:
        if progress is not None:
            done = sum(part.samples for part in parts.values())
            skipped = sum(len(part.skipped) for part in parts.values())
            size = sum(part.shard.bytes for part in parts.values() if part.shard is not None)
            progress(Progress(done + begun, sum(counts.values()), skipped, size))

    left = [task for task in tasks if task.number not in parts]
    if ray is None:
        results = write_all(left, workers=workers or cores(), time_limit_s=time_limit_s, on_tick=on_tick)
    else:
        results = on_cluster.write_all(left, ray, time_limit_s=time_limit_s, on_tick=on_tick)
    with closing(results):
        for task, part in results:
            parts[task.number] = part
    on_tick(0)
