"""What processes have of each other, in real processes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vtr.errors import VtrError
from vtr.gather import fetch, gather, in_turn, world_size

PROCESSES, ROWS = 2, 3
WANTED = [[5, 0, 5], [1, 1, 2]]  # the first asks for two of the second's, which asks for none of its own


def test_one_process_gathers_nothing():
    rows = torch.randn(4, 2, requires_grad=True)
    assert world_size() == 1
    assert gather(rows) is rows
    assert torch.equal(fetch(rows, torch.tensor([3, 3, 0])), rows[[3, 3, 0]])
    assert in_turn(lambda jobs: (2 * job for job in jobs), [3, 4]) == [6, 8]


def whole() -> torch.Tensor:
    return torch.randn(PROCESSES * ROWS, 5, generator=torch.Generator().manual_seed(0))


def loss_of(rows: torch.Tensor) -> torch.Tensor:
    """Any function in which each row meets every other."""
    return ((rows @ rows.T).sin() * torch.arange(1, len(rows) + 1)).sum()


def squares(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    for number in numbers:
        if number == 7:
            raise VtrError("seven cannot be squared", "leave it out")
        yield number * number, dist.get_rank()


def failure() -> str:
    """Job 7 is the second process's."""
    try:
        in_turn(squares, range(9))
    except VtrError as error:
        return str(error)
    return ""


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
        "fetched": fetch(whole()[own], torch.tensor(WANTED[rank])),
        "nothing fetched": fetch(torch.zeros(ROWS, 0), torch.tensor(WANTED[rank])),
        "squares": [in_turn(squares, range(count)) for count in (5, 1, 0)],
        "failed": failure(),
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
        assert torch.equal(result["fetched"], whole()[WANTED[rank]])
        assert result["nothing fetched"].shape == (ROWS, 0)
        assert result["squares"] == [[(0, 0), (1, 1), (4, 0), (9, 1), (16, 0)], [(0, 0)], []]
        assert result["failed"] == "seven cannot be squared\n  hint: leave it out"
        # Every process computes the whole loss: a row's gradient is what all of them want of it.
        torch.testing.assert_close(result["grad"], PROCESSES * rows.grad[own], rtol=1e-5, atol=1e-6)
