"""Memory that a worker and its parent share is used again only when nobody looks at it any more."""

from __future__ import annotations

import gc
import multiprocessing
from itertools import islice

import pytest
import torch
from order_helpers import training_slots

from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches
from vtr.data.parcels import PLACES, Packing, Ring

SHAPE = ClipShape(frames=4, size=32, resize=36, crop_min=0.5, decoder="pyav")


def test_a_place_is_free_when_its_last_tensor_is_gone() -> None:
    ring = Ring(2, 24)
    places = [ring.take(1, 24) for _ in range(PLACES)]
    assert places == list(range(PLACES, 2 * PLACES)), "of the second worker"
    assert ring.take(1, 24) is None
    assert ring.take(0, 25) is None, "too large for a place"
    shape = (2, 1, 3, 2, 2)
    ring.view(PLACES, shape).fill_(7)
    whole = ring.open(PLACES, shape)
    assert whole.shape == shape
    part = whole[1, 0, :, 0]
    del whole
    gc.collect()
    assert ring.take(1, 24) is None, "a view of it is in use"
    assert part.tolist() == [[7] * 2] * 3
    del part
    gc.collect()
    assert ring.take(1, 24) == PLACES


def test_clips_of_one_batch_have_one_shape() -> None:
    """An image among clips would be stretched to one by a copy, without a word."""
    packing = Packing(2, None)
    packing.put(0, torch.ones(4, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"a clip of \(1, 3, 2, 2\) in a batch of \(4, 3, 2, 2\)"):
        packing.put(1, torch.ones(1, 3, 2, 2, dtype=torch.uint8))


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="workers are not forked here")
@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_are_kept_stay_as_they_are(index: ShardIndex, words, workers: int) -> None:
    """More are kept than there are places, while the workers go on."""
    dataset = ClipDataset(index, SHAPE, training=True)
    steps = workers * PLACES + 6
    slots = list(islice(training_slots(index.shard_of, 0, 3, 0), steps))
    alone = [batch for batch, _ in batches(dataset, slots, words, 0)]
    copies, kept = [], []
    for batch, _ in batches(dataset, slots, words, workers):
        copies.append(batch.clips.clone())
        kept.append(batch)
    assert len(kept) == steps
    for own, copy, other in zip(kept, copies, alone, strict=True):
        assert torch.equal(own.clips, copy)
        assert torch.equal(own.clips, other.clips)
        assert torch.equal(own.ids, other.ids)
