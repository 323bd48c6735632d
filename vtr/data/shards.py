"""Samples become WebDataset tars with an index beside them, by worker processes that may be interrupted at any time.

    OUT/000000.tar ...    OUT/index.parquet    OUT/skipped.jsonl    OUT/manifest.json    (OUT/.parts while at work)

The plan is fixed; each shard is written aside and renamed; its part of the index is its done-marker. The manifest comes
last: where it stands, the directory is whole.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vtr.atomic import explain_os_error, locked, remove_leftovers, write_bytes
from vtr.data.annotations.sample import JSON, Sample
from vtr.data.crew import Lost, run_tasks
from vtr.data.limits import Limits
from vtr.data.manifest import MANIFEST, ShardSummary, finish, read_finished, refuse_skipped, summarize
from vtr.data.oneshard import PARTS, Part, ShardTask, read_part, write_shard
from vtr.data.plan import Plan, make_plan, refuse_other
from vtr.data.store import Store, arguments, make_store
from vtr.errors import DataError, InputError, WorkError

LOCK = ".lock"
PLAN = "plan.json"


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
    progress: Callable[[Progress], None] | None = None,
) -> ShardSummary:
    """Writes `samples` as shards into `out`, or goes on where an earlier run of the same was stopped.

    `options` are the reader's (split, limit, ...): with another value the directory is refused. Every video is opened
    and decoded; one that cannot be within `time_limit_s`, or that crashes the decoder, is skipped and named in
    `skipped.jsonl`. `census` (`annotations.take_census`) is kept in the manifest. `store` is "video", "frames", or one
    of their classes with other settings.
    Raises DataError when `out` was made of something else, WorkError when more than the share `max_skipped` of the
    samples had to be skipped (the rest is written all the same), the disk is full, or a worker is killed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers, at least 1 is needed", "leave --workers out for one a processor")
    if not 0 <= max_skipped <= 1:
        raise InputError(f"{max_skipped:g} is no share of the samples", "give one from 0 to 1: 0.05 allows 5 %")
    store = make_store(store) if isinstance(store, str) else store
    plan = make_plan(samples, per_shard, {"reader": reader, **arguments(store), **(options or {})})
    with _at_work(out):
        manifest = read_finished(out, plan, source)
        if manifest is not None:
            summary = summarize(out, manifest, nothing_to_do=True)
        else:
            limits = limits or Limits()
            tasks = [ShardTask(out, n, plan.shard(n), digest, store, limits) for n, digest in enumerate(plan.digests)]
            parts = _begin(out, plan, source, tasks)
            continued = len(parts)
            _work([task for task in tasks if task.number not in parts], parts, workers, time_limit_s, progress)
            done = [parts[task.number] for task in tasks]
            manifest = finish(out, plan, source, tasks, done, census)
            summary = summarize(out, manifest, continued=continued, nothing_to_do=False)
    refuse_skipped(summary, max_skipped)
    return summary


@contextmanager
def _at_work(out: Path) -> Iterator[None]:
    """The directory `out`, made if need be, for this process alone; what a killed run had begun is cleared away."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, str(out)):
            try:
                yield
            finally:
                remove_leftovers(out)
                remove_leftovers(out / PARTS)
    except FileExistsError as error:
        raise DataError(f"{out} is a file, shards need a directory", "name another") from error
    except OSError as error:
        raise explain_os_error(error, "while sharding", out) from error


def _begin(out: Path, plan: Plan, source: str, tasks: Sequence[ShardTask]) -> dict[int, Part]:
    """Notes the plan, or sees that an interrupted run had the same; returns the parts that are done, by number."""
    path = out / PARTS / PLAN
    if not path.is_file():
        if any(out.glob("*.tar")):
            raise DataError(
                f"{out} has tars but no {MANIFEST}: they were not made by vtr shard, or not by it alone",
                f"shard into another directory; to use them as they are: vtr inspect {out} --index",
            )
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, json.dumps(plan.record()).encode())
        return {}
    refuse_other(json.loads(path.read_bytes()), plan, out, source)
    return {task.number: part for task in tasks if (part := read_part(task)) is not None}


def _work(
    tasks: Sequence[ShardTask],
    parts: dict[int, Part],
    workers: int | None,
    time_limit_s: float,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Writes the shards of `tasks` and adds what each left to `parts`."""
    counts = {task.number: len(task.samples) for task in tasks}
    before = sum(part.samples for part in parts.values())

    def on_lost(task: ShardTask, lost: Lost) -> ShardTask:
        return _without(task, lost, time_limit_s)

    def on_tick(begun: int) -> None:
        if progress is not None:
            done = sum(part.samples for part in parts.values())
            skipped = sum(len(part.skipped) for part in parts.values())
            size = sum(part.shard.bytes for part in parts.values() if part.shard is not None)
            progress(Progress(done + begun, before + sum(counts.values()), skipped, size))

    results = run_tasks(
        write_shard,
        tasks,
        workers=workers or _cores(),
        time_limit_s=time_limit_s,
        on_lost=on_lost,
        on_tick=on_tick,
    )
    with closing(results):
        for task, part in results:
            parts[task.number] = part
    on_tick(0)


def _without(task: ShardTask, lost: Lost, time_limit_s: float) -> ShardTask:
    """`task` once more without the sample that hung or crashed its worker. Raises WorkError if neither did."""
    sample = task.samples[lost.item]
    for begun in task.part.parent.glob(f"{task.tar.name}.tmp-*"):
        begun.unlink(missing_ok=True)
    if lost.kind == "timeout":
        reason = f"it was not decoded within {time_limit_s:g} s"
    elif lost.kind == "crashed":
        reason = f"the decoder died of it ({_signal_name(lost.exitcode)})"
    else:
        raise WorkError(
            f"a worker process was killed ({_signal_name(lost.exitcode)}) while at {sample.key} ({sample.source}), "
            f"to be written to {task.tar.name}",
            "run the same command again, it continues; if memory ran out, use fewer --workers",
        )
    return replace(task, lost={**task.lost, lost.item: (lost.kind, reason)})


def _signal_name(exitcode: int | None) -> str:
    try:
        return signal.Signals(-(exitcode or 0)).name
    except ValueError:
        return f"exit code {exitcode}"


def _cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
