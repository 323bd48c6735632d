"""Rows of all processes in one tensor, with their true gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Processes that train together; 1 outside torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(rows: Tensor) -> Tensor:
    """(B,...) on each of P processes -> (P*B,...) on all, in order of rank; B must be the same everywhere.

    The gradient of a row is the sum of what every process wants of it. Where each process computes the whole loss and
    gradients are then averaged (as DistributedDataParallel does), P processes of B train like one process of P*B.
    """
    if world_size() == 1:
        return rows
    return _Gather.apply(rows) if rows.is_floating_point() else _all(rows)


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
