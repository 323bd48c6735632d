"""What processes that train together have of each other: rows, with their true gradient or without, and results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Job = TypeVar("Job")
Found = TypeVar("Found")


_ALONE = ContextVar("alone", default=False)


def world_size() -> int:
    """Processes that train together; 1 outside torch.distributed, and in `alone`."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


@contextmanager
def alone() -> Iterator[None]:
    """While it lasts nothing here asks the other processes: for what one of them computes by itself."""
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


def gather(rows: Tensor) -> Tensor:
    """(B,...) on each of P processes -> (P*B,...) on all, in order of rank; B must be the same everywhere.

    The gradient of a row is the sum of what every process wants of it. Where each process computes the whole loss and
    gradients are then averaged (as DistributedDataParallel does), P processes of B train like one process of P*B.
    """
    if world_size() == 1:
        return rows
    return _Gather.apply(rows) if rows.is_floating_point() else _all(rows)


def fetch(rows: Tensor, wanted: Tensor) -> Tensor:
    """(B,...) on each of P processes, (B,) int64 numbers among all P*B -> (B,...): the rows of these, no gradient.

    Each process is sent what it wants and no more; the numbers are those of `gather`'s rows.
    """
    if world_size() == 1:
        return rows[wanted]
    world, rank, size = world_size(), dist.get_rank(), len(rows)
    asked = _all(wanted).view(world, -1)
    mine = asked // size == rank  # (P,B): what each process wants of this one
    given = rows[asked[mine] % size].contiguous()
    home = wanted // size
    order = home.argsort(stable=True)  # as they arrive: by process, and within one as they were asked for
    arrived = rows.new_empty((len(wanted), *rows.shape[1:]))
    counts = torch.bincount(home, minlength=world).tolist(), mine.sum(1).tolist()
    dist.all_to_all_single(arrived, given, *counts)
    found = torch.empty_like(arrived)
    found[order] = arrived
    return found


def in_turn(work: Callable[[Sequence[Job]], Iterable[Found]], jobs: Sequence[Job]) -> list[Found]:
    """What `work` finds of each of `jobs`, in their order: each of P processes does every P-th, and all get all.

    What one process raises is raised in all of them, or they would wait for it.
    """
    if world_size() == 1:
        return list(work(jobs))
    mine: list[Found] = []
    failed: Exception | None = None
    try:
        mine = list(work(jobs[dist.get_rank() :: world_size()]))
    except Exception as error:
        failed = error
    every: list[Any] = [None] * world_size()
    dist.all_gather_object(every, (mine, failed))
    failed = next((told for _, told in every if told is not None), None)
    try:
        if failed is not None:
            raise failed
        return [every[number % world_size()][0][number // world_size()] for number in range(len(jobs))]
    finally:
        # An error whose own frames hold it keeps all that these hold, worker processes too.
        del failed, every


def _all(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """`_all`, whose gradient goes home: every process sums what all want, and keeps that of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ARG004
        return _all(rows)

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> Tensor:  # noqa: ARG004
        # A sum of everything and a cut, not a reduce-scatter: gloo has long been without, and B x E is little.
        total = wanted[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[dist.get_rank()]
