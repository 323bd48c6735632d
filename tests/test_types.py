"""A batch checks its own shape, and moves as one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vtr.types import Batch


def batch(rows: int = 2) -> Batch:
    ids = torch.arange(rows * 5).view(rows, 5)
    clips = torch.zeros(rows, 4, 3, 8, 8, dtype=torch.uint8)
    return Batch(clips, ids, ids > 1, ids > 2, torch.arange(rows), torch.ones(rows, dtype=torch.bool), ("a", "b"))


def tensors(of: Batch) -> dict[str, Tensor]:
    return {f.name: value for f in fields(of) if isinstance(value := getattr(of, f.name), Tensor)}


@pytest.mark.parametrize(
    "change", [{"ids": torch.zeros(3, 5)}, {"clips": torch.zeros(2, 3, 4, 8, 8)}, {"clips": torch.zeros(2, 3, 8, 8)}]
)
def test_what_does_not_fit_together_is_no_batch(change):
    with pytest.raises(ValueError, match="a batch of clips"):
        Batch(**(tensors(batch()) | change))


def test_all_of_a_batch_moves():
    moved = batch().to(torch.device("meta"))
    assert moved.keys == ("a", "b")
    assert {name: t.device.type for name, t in tensors(moved).items()} == dict.fromkeys(tensors(batch()), "meta")
    assert all(t.dtype == tensors(batch())[name].dtype for name, t in tensors(moved).items())


def test_all_of_a_batch_is_pinned(monkeypatch):
    """Where there is nothing to pin for, torch's own pinning is replaced by one that leaves a trace."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor.to("meta"))
    pinned = batch().pin_memory()
    assert pinned.keys == ("a", "b")
    assert {t.device.type for t in tensors(pinned).values()} == {"meta"}
    assert len(tensors(pinned)) == 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_loader_pins_its_batches(shards: Path):
    from vtr.data import tokenizer
    from vtr.data.index import ShardIndex
    from vtr.data.loader import ClipDataset, ClipShape, batches
    from vtr.data.order import evaluation_slots

    index = ShardIndex.open(shards)
    words = tokenizer.train(index.captions(0), 24, 200)
    dataset = ClipDataset(index, ClipShape(4, 32, 36, decoder="pyav"))
    made, errors = next(iter(batches(dataset, evaluation_slots(24, 8), words, 1, pin=True)))
    assert errors == []
    assert all(t.is_pinned() for t in tensors(made).values())
