"""What a step is measured by: operations and bytes that are counted, the clock, and what a matrix product reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def counted(run: Callable[[], None]) -> tuple[int, int]:
    """(FLOPs of a step, bytes that it keeps for its backward pass beside weights), counted, not timed."""
    from torch.utils.flop_counter import FlopCounterMode

    from vtr.footprint import keeping

    with FlopCounterMode(display=False) as counter, keeping() as kept:
        run()
    return counter.get_total_flops(), sum(kept.values())


def gemm_tflops(where: torch.device, precision: str, size: int = 2048) -> float:
    """What a square matrix product reaches here: the yardstick of utilisation, where no data sheet is at hand."""
    import statistics

    import torch

    from vtr.compute import DTYPES

    clock = clock_of(where)
    size = 8192 if where.type == "cuda" else size
    a = torch.randn(size, size, device=where, dtype=DTYPES[precision])
    taken = []
    for _ in range(6):
        begin = clock()
        (a @ a)[0, 0].item()  # waits for it
        taken.append(clock() - begin)
    return 2 * size**3 / statistics.median(taken[1:]) / 1e12


def clock_of(where: torch.device) -> Callable[[], float]:
    """Wall-clock; on one thread of a CPU the seconds of this process alone, which others disturb less."""
    import time

    import torch

    return time.process_time if where.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
