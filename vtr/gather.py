"""Rows of all processes in one tensor, with their true gradient."""

from __future__ import annotations

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
    if not rows.is_floating_point():
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))  # type: ignore[no-untyped-call]
