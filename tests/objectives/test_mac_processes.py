"""Processes that train together train like one: P of B give the gradients of one of P * B, masks and all."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import toy
from torch.nn.parallel import DistributedDataParallel

from vtr.objectives.mac import MAC
from vtr.types import Batch

PROCESSES, ROWS = 2, 4
CASES = {
    "per_frame": {"mask": "per_frame"},
    "tube, tubelets of 2": {"mask": "tube", "tubelet": 2},
    "joint, a learned temperature": {"attention": "joint", "learn_temperature": True},
    "rows that are out": {"out": [1, 6, 7]},
    "a process with nothing readable": {"out": [4, 5, 6, 7]},
    "a clip that two processes have": {"samples": [0, 1, 2, 3, 1, 4, 5, 0]},
}


def case(mask: str = "per_frame", out=(), samples=None, **of_model: object) -> tuple[MAC, Batch]:
    batch = toy.batch(PROCESSES * ROWS)
    ok = batch.ok.clone()
    ok[list(out)] = False
    if samples is not None:
        batch = replace(batch, samples=torch.tensor(samples))
    return MAC(toy.model(**of_model), toy.MASK_ID, 0.6, 0.3, mask), replace(batch, ok=ok)


def gradients(objective: MAC) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")  # a child does not inherit what pytest asks for
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    results = {}
    for name, given in CASES.items():
        objective, batch = case(**given)
        # Each process pads its captions to what they need: the masks must not depend on it.
        own = toy.rows(batch, slice(rank * ROWS, (rank + 1) * ROWS))
        shared = DistributedDataParallel(objective)  # its hooks live only as long as it does, so until backward
        loss = shared(own, 5)["contrastive"]
        loss.backward()
        results[name] = (own.ids.shape[1], loss.detach(), gradients(objective))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("processes")
    mp.spawn(work, (str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_process(results, name):
    objective, batch = case(**CASES[name])
    loss = objective(batch, 5)["contrastive"]
    loss.backward()
    whole = gradients(objective)
    assert max(grad.abs().max() for grad in whole.values()) > 1e-2, "the comparison is of something"
    for length, own_loss, grads in (result[name] for result in results):
        assert length <= batch.ids.shape[1]
        torch.testing.assert_close(own_loss, loss.detach(), rtol=1e-6, atol=1e-6)
        assert grads.keys() == whole.keys()
        for parameter, grad in grads.items():
            torch.testing.assert_close(
                grad, whole[parameter], rtol=1e-5, atol=1e-6, msg=lambda m, p=parameter: f"{p}: {m}"
            )


def test_the_processes_did_pad_differently(results):
    lengths = {result["per_frame"][0] for result in results}
    assert len(lengths) == PROCESSES
