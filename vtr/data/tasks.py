"""One plan done by several processes on any machines that share its directory: each does every N-th shard.

vtr shard ... --plan-only            notes the plan
vtr shard ... --task 0 --num-tasks 3 shards 0 3 6 ...      whichever of the tasks ends last
vtr shard ... --task 1 --num-tasks 3 shards 1 4 7 ...      finds all parts done,
vtr shard ... --task 2 --num-tasks 3 shards 2 5 8 ...      and writes the index
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtr.atomic import locked
from vtr.data.annotations.sample import JSON, Sample
from vtr.data.limits import Limits
from vtr.data.manifest import ShardSummary, finish, noted, read_finished, refuse_skipped, summarize, warnings_in
from vtr.data.oneshard import PARTS, ShardResult, ShardTask
from vtr.data.ours import MANIFEST
from vtr.data.pace import Pace
from vtr.data.plan import ShardPlan, make_plan
from vtr.data.planfile import StoredPlan, planned_per_shard, read_plan, write_samples
from vtr.data.shards import Progress, check_arguments, done_parts, settled, work
from vtr.data.store import Store
from vtr.data.workdir import at_work, note_plan
from vtr.errors import BusyError, DataError, InputError

Read = Callable[[], tuple[Sequence[Sample], Mapping[str, JSON]]]  # the samples and their census


@dataclass(frozen=True)
class PlanSummary:
    """A plan that was noted: how many `samples` in how many `shards`. `file` holds them, where they are files.

    `warnings`: how the data set differs from what is published.
    """

    out: Path
    samples: int
    shards: int
    file: Path | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSummary:
    """What one task did: its `shards`, of which `continued` were done before, and what is in them.

    `left`: shards of other tasks that are not done. `whole` is the summary of all once none is.
    """

    out: Path
    task: int
    num_tasks: int
    shards: int
    samples: int
    skipped: int
    bytes: int
    continued: int
    left: int
    pace: dict[str, float] | None
    whole: ShardSummary | None


def note(
    read: Read,
    out: Path,
    *,
    reader: str,
    source: str,
    options: Mapping[str, JSON] | None = None,
    per_shard: int | None = None,
    store: Store | str = "video",
    limits: Limits | None = None,
) -> PlanSummary:
    """Writes the plan of what `write_shards` would do into `out`, and nothing else.

    Raises DataError when something else was sharded or planned there.
    """
    _, _, how = settled(reader, options, store, limits)
    samples, census = read()
    plan = make_plan(samples, per_shard, how)
    with at_work(out):
        file = None
        if read_finished(out, plan, source) is None:
            note_plan(out, plan, source, census)
            file = write_samples(out, plan)
    return PlanSummary(out, len(plan.samples), len(plan.digests), file, warnings_in(census))


def write_task(
    read: Read,
    out: Path,
    task: int,
    num_tasks: int,
    *,
    reader: str,
    source: str,
    options: Mapping[str, JSON] | None = None,
    per_shard: int | None = None,
    workers: int | None = None,
    max_skipped: float = 0.05,
    store: Store | str = "video",
    limits: Limits | None = None,
    time_limit_s: float = 300.0,
    progress: Callable[[Progress], None] | None = None,
) -> TaskSummary:
    """Writes the shards `task`, `task + num_tasks` ... of the plan in `out`; the last to end writes the index.

    `read` is called only where `note` left no samples. Arguments are those of `write_shards`. Raises as that, and
    BusyError when this very task is at work elsewhere, or one of another `num_tasks`.
    """
    check_arguments(workers, max_skipped)
    if num_tasks < 1 or not 0 <= task < num_tasks:
        raise InputError(f"there is no task {task} of {num_tasks}", "tasks count from 0 to --num-tasks less 1")
    store, limits, how = settled(reader, options, store, limits)
    with at_work(out, shared=True):
        plan, census = _plan(read, out, how, per_shard, source)
        manifest = read_finished(out, plan, source) if isinstance(plan, ShardPlan) else None
        mine = [] if manifest is not None else range(task, len(plan.digests), num_tasks)
        tasks = [ShardTask(out, n, plan.shard(n), plan.digests[n], store, limits) for n in mine]
        parts: dict[int, ShardResult] = {}
        continued = 0
        if manifest is None:
            with locked(out / PARTS / f"task-{task}-of-{num_tasks}.lock", f"task {task} of {num_tasks} of {out}"):
                _refuse_other_shares(out, num_tasks)
                parts = done_parts(tasks)
                continued = len(parts)
                for one in tasks:
                    if one.number not in parts:
                        one.remove_leftovers()
                work(tasks, parts, workers, time_limit_s, progress)
    if manifest is not None:
        before = summarize(out, manifest, nothing_to_do=True)
        return TaskSummary(out, task, num_tasks, 0, 0, 0, 0, 0, 0, None, before)
    left, whole = _finish(out, plan, source, store, census)
    skipped = sum(len(part.skipped) for part in parts.values())
    shards = [part.shard for part in parts.values() if part.shard is not None]
    pace = sum((part.pace for part in parts.values()), Pace()).rates()
    if whole is not None:
        refuse_skipped(whole, max_skipped)
    return TaskSummary(
        out, task, num_tasks, len(tasks), sum(shard.samples for shard in shards), skipped,
        sum(shard.bytes for shard in shards), continued, left, pace, whole,
    )  # fmt: skip


def _plan(
    read: Read, out: Path, how: Mapping[str, JSON], per_shard: int | None, source: str
) -> tuple[ShardPlan | StoredPlan, Mapping[str, JSON]]:
    """The plan that was noted, or a new one that is noted now; and its census."""
    finished = (out / MANIFEST).is_file()
    if not finished and (stored := read_plan(out, how, per_shard, source)) is not None:
        return stored, stored.census
    samples, census = read()
    plan = make_plan(samples, planned_per_shard(out) if per_shard is None else per_shard, how)
    if not finished:
        note_plan(out, plan, source, census)
    return plan, census


def _refuse_other_shares(out: Path, num_tasks: int) -> None:
    """Raises BusyError while a task of another `num_tasks` is at work, whose shards are partly the same."""
    for lock in (out / PARTS).glob("task-*-of-*.lock"):
        if not lock.stem.endswith(f"-of-{num_tasks}"):
            with locked(lock, f"{lock.stem.replace('-', ' ')} of {out}"):
                pass  # its task is no more


def _finish(
    out: Path, plan: ShardPlan | StoredPlan, source: str, store: Store, census: Mapping[str, JSON]
) -> tuple[int, ShardSummary | None]:
    """How many shards are not done; with none left the index and the manifest are written, and the summary is of all.

    While some are left, the lock is not taken: other tasks may start meanwhile.
    Where locks are not shared between machines two may do this at once: both write the same, and the one that finds the
    parts gone finds the manifest in their place.
    """
    tasks = [ShardTask(out, n, (), digest, store) for n, digest in enumerate(plan.digests)]
    left = len(tasks) - len(done_parts(tasks))
    if left and not (out / MANIFEST).is_file():  # looked for last: it is written before the parts go
        return left, None
    try:
        with at_work(out):
            parts = done_parts(tasks)
            try:
                if not (out / MANIFEST).is_file():
                    if len(parts) < len(tasks):
                        return len(tasks) - len(parts), None
                    manifest = finish(out, plan.record(), source, tasks, [parts[n] for n in range(len(tasks))], census)
                    return 0, summarize(out, manifest, list(parts.values()), nothing_to_do=False)
            except FileNotFoundError:
                if not (out / MANIFEST).is_file():
                    raise
            manifest = noted(out)
            if manifest is None:
                raise DataError(f"{out / MANIFEST} is damaged", f"remove {out} and shard again")
            return 0, summarize(out, manifest, nothing_to_do=False)
    except BusyError:  # a task that is still there; it comes here when it ends
        return 0, None
