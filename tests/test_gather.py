"""Gathered rows and their gradient, in real processes."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vtr.gather import gather, world_size

PROCESSES, ROWS = 2, 3


def test_one_process_gathers_nothing():
    rows = torch.randn(4, 2, requires_grad=True)
    assert world_size() == 1
    assert gather(rows) is rows


def whole() -> torch.Tensor:
    return torch.randn(PROCESSES * ROWS, 5, generator=torch.Generator().manual_seed(0))


def loss_of(rows: torch.Tensor) -> torch.Tensor:
    """Any function in which each row meets every other."""
    return ((rows @ rows.T).sin() * torch.arange(1, len(rows) + 1)).sum()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")  # a child does not inherit what pytest asks for
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    own = slice(rank * ROWS, (rank + 1) * ROWS)
    rows = whole()[own].T.contiguous().T.requires_grad_()  # not contiguous, as a slice of a larger tensor may be
    gathered = gather(rows)
    loss_of(gathered).backward()
    ok, numbers = torch.arange(PROCESSES * ROWS) % 3 != rank, torch.arange(PROCESSES * ROWS) * 10
    with torch.no_grad():
        quiet = gather(rows)
    result = {
        "world": world_size(),
        "rows": gathered.detach(),
        "grad": rows.grad,
        "ok": gather(ok[own]),
        "numbers": gather(numbers[own]),
        "quiet": quiet,
    }
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_rows_come_in_order_of_rank_with_the_gradient_of_all(tmp_path: Path):
    mp.spawn(work, (str(tmp_path),), nprocs=PROCESSES)
    rows = whole().requires_grad_()
    loss_of(rows).backward()
    for rank in range(PROCESSES):
        result, own = torch.load(tmp_path / f"{rank}.pt"), slice(rank * ROWS, (rank + 1) * ROWS)
        assert result["world"] == PROCESSES
        assert torch.equal(result["rows"], rows)
        assert torch.equal(result["quiet"], rows)
        assert result["numbers"].tolist() == [0, 10, 20, 30, 40, 50]
        assert result["ok"].tolist() == [False, True, True, True, False, True]
        assert result["ok"].dtype == torch.bool
        # Every process computes the whole loss: a row's gradient is what all of them want of it.
        torch.testing.assert_close(result["grad"], PROCESSES * rows.grad[own], rtol=1e-5, atol=1e-6)
