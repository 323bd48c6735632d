"""The tasks of a plan on a Ray cluster: each shard is a Ray task of one processor, done under the same watch as here.

Only what was skipped and where the bytes are comes back; the tars are written where this process wants them, so every
machine must see that directory, and the videos, under the same path.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtr.data.oneshard import ShardResult, ShardTask, read_part
from vtr.data.watched import write_one
from vtr.errors import InputError, VtrError, WorkError
from vtr.optional import library

HINT = "start one: ray start --head; then --ray auto"
POLL_S = 0.5
AHEAD = 4  # tasks handed out for every processor of the cluster: a million waiting ones would fill its memory


def write_all(
    tasks: Sequence[ShardTask], address: str, *, time_limit_s: float, on_tick: Callable[[int], None]
) -> Generator[tuple[ShardTask, ShardResult]]:
    """Yields each task with what its shard left, as they end. `address` is as `ray.init` takes it, or "local".

    Raises InputError without ray or without a cluster there, WorkError when a machine writes where we do not see it,
    and what a task raised.
    """
    if not tasks:
        return
    ray = library("ray", "sharding on a cluster needs", "ray")
    with _connected(ray, address):
        remote = ray.remote(num_cpus=1, max_retries=3)(write_one)
        waiting = list(reversed([_absolute(task) for task in tasks]))
        at_once = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        running: dict[Any, ShardTask] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    task = waiting.pop()
                    running[remote.remote(task, time_limit_s)] = task
                ended, _ = ray.wait(list(running), timeout=POLL_S)
                for handle in ended:
                    task = running.pop(handle)
                    yield task, _result(ray, handle, task)
                on_tick(0)
        finally:
            for handle in running:
                ray.cancel(handle, force=True)


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to the cluster, closed at the end where it was opened here."""
    if ray.is_initialized():
        yield
        return
    _knock(address)
    # The workers import the package from this tree, wherever it is installed on their machine, if at all.
    package = str(Path(__file__).resolve().parents[1])
    try:
        ray.init(
            address=address,
            runtime_env={"py_modules": [package]},
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise InputError(f"there is no Ray cluster at {address}: {said}", HINT) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Sees that somebody listens at a `host:port`, where ray itself would end the process. Raises InputError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise InputError(f"there is no Ray cluster at {address}: {error.strerror or error}", HINT) from error


def _absolute(task: ShardTask) -> ShardTask:
    """The same task for a process that runs in another folder."""
    samples = tuple(
        replace(sample, video=sample.video.absolute()) if isinstance(sample.video, Path) else sample
        for sample in task.samples
    )
    return replace(task, out=task.out.absolute(), samples=samples)


def _result(ray: Any, handle: Any, task: ShardTask) -> ShardResult:
    try:
        part: ShardResult = ray.get(handle)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, VtrError):
            raise cause from None
        raise WorkError(f"{task.tar.name} failed on the cluster: {cause}", "run the same command again") from error
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()[0]
        raise WorkError(
            f"{task.tar.name} was lost on the cluster: {said}", "run the same command again, it continues"
        ) from error
    if read_part(task) is None:
        raise WorkError(
            f"{task.tar.name} was written on a machine of the cluster, and is not in {task.out} here",
            "shard into a directory that all machines share under this path",
        )
    return part
