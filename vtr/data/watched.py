"""Shards written by worker processes under watch: a sample that hangs or crashes its worker is left out, by name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from vtr.data.crew import Lost, run_tasks
from vtr.data.oneshard import ShardResult, ShardTask, write_shard


def write_all(
    tasks: Sequence[ShardTask], *, workers: int, time_limit_s: float, on_tick: Callable[[int], None]
) -> Generator[tuple[ShardTask, ShardResult]]:
    """Yields each task with what its shard left, as they end; `on_tick` as in `crew.run_tasks`.

    Raises WorkError when a worker is killed from outside, or the disk is full.
    """

    def on_lost(task: ShardTask, lost: Lost) -> ShardTask:
        """`task` once more without the sample that hung or crashed its worker."""
        sample = task.samples[lost.item]
        task.remove_leftovers()
        at = f"sample {sample.key} ({sample.source}), to be written to {task.tar.name}"
        return replace(task, lost={**task.lost, lost.item: lost.blame(at, time_limit_s)})

    return run_tasks(write_shard, tasks, workers=workers, time_limit_s=time_limit_s, on_lost=on_lost, on_tick=on_tick)


def write_one(task: ShardTask, time_limit_s: float) -> ShardResult:
    """One shard, by one process under watch: what a machine of a cluster is given to do. Raises as `write_all`."""
    [(_, part)] = write_all([task], workers=1, time_limit_s=time_limit_s, on_tick=lambda _: None)
    return part
