"""The order of training is arithmetic: each epoch shows each sample once, whoever asks and from wherever."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import chain, islice

import numpy as np
import pytest
from order_helpers import training_slots

from vtr.data.order import (
    Subset,
    epoch_order,
    evaluation_slots,
    mixed_slots,
    steps_of,
    turn,
    turns,
)  # fmt: skip
from vtr.errors import ConfigError

CASES = 40


def random_case(number: int):
    """(shard_of (N,), seed, batch, world): any sizes, a world that divides the batch."""
    rng = np.random.default_rng(number)
    sizes = rng.integers(1, 30, rng.integers(1, 25))
    world = int(rng.integers(1, 6))
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes), number, world * int(rng.integers(1, 9)), world


def whole(shard_of, seed, batch, world, start, steps):
    """The global batches from `start` on, put together from every rank's part."""
    ranks = [islice(training_slots(shard_of, seed, batch, start, rank, world), steps) for rank in range(world)]
    return [list(chain(*parts)) for parts in zip(*ranks, strict=True)]


@pytest.mark.parametrize("number", range(CASES))
def test_each_epoch_shows_each_sample_once_at_any_world_size(number: int) -> None:
    shard_of, seed, batch, world = random_case(number)
    count, epochs = len(shard_of), 3
    steps = -(-epochs * count // batch)
    slots = list(chain(*whole(shard_of, seed, batch, world, 0, steps)))
    for epoch in range(epochs):
        seen = [sample for e, sample in slots if e == epoch]
        assert sorted(seen) == list(range(count))
        assert [e for e, _ in slots] == sorted(e for e, _ in slots), "epochs follow each other"
    alone = list(chain(*islice(training_slots(shard_of, seed, batch, 0), steps)))
    assert slots == alone, "the same order as of one process"


@pytest.mark.parametrize("number", range(CASES))
def test_a_resumed_stream_goes_on_as_if_it_had_never_stopped(number: int) -> None:
    shard_of, seed, batch, world = random_case(number)
    steps = 2 * len(shard_of) // batch + 3
    stop = int(np.random.default_rng(number + 1000).integers(0, steps))
    undisturbed = list(islice(training_slots(shard_of, seed, batch, 0), steps))
    assert whole(shard_of, seed, batch, world, stop, steps - stop) == undisturbed[stop:]


@pytest.mark.parametrize("number", range(10))
def test_samples_mix_within_a_window_of_shards(number: int) -> None:
    shard_of, seed, _, _ = random_case(number)
    order = epoch_order(shard_of, seed, 0, window=3)
    # Walk through the order: at most 3 shards are open at a time, and none is opened again.
    shards = shard_of[order].tolist()
    last = {shard: place for place, shard in enumerate(shards)}
    first = {shard: shards.index(shard) for shard in last}
    assert max(sum(first[s] <= place <= last[s] for s in last) for place in range(len(shards))) <= 3


def test_seeds_and_epochs_give_other_orders() -> None:
    shard_of = np.repeat(np.arange(4, dtype=np.int32), 25)
    orders = {epoch_order(shard_of, seed, epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert epoch_order(shard_of, 1, 1).tobytes() in orders


def test_one_sample_in_one_shard() -> None:
    slots = list(islice(training_slots(np.zeros(1, np.int32), 0, 2, 0), 2))
    assert slots == [[(0, 0), (1, 0)], [(2, 0), (3, 0)]]


def test_a_batch_divides_among_the_processes() -> None:
    with pytest.raises(ConfigError, match=r"global batch of 10 does not divide among 4 processes\n.*--batch-size"):
        next(training_slots(np.zeros(5, np.int32), 0, 10, 0, 0, 4))


def test_evaluation_sees_every_sample_once_in_order() -> None:
    assert evaluation_slots(5, 2) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert evaluation_slots(4, 8) == [[(0, 0), (0, 1), (0, 2), (0, 3)]]


@pytest.mark.parametrize(("images", "videos", "batch", "epochs"), [(40, 6, 16, 1), (1000, 30, 64, 1), (50, 1000, 96, 2),
                                                                    (10, 10, 8, 1), (24, 60, 32, 0.5)])  # fmt: skip
def test_an_epoch_of_images_and_videos_shows_each_of_both(images: int, videos: int, batch: int, epochs: float) -> None:
    """Batches are of one kind, so some come twice, but none is left out; and not a step more than that takes."""
    whole = int(max(1, epochs))
    numbers = np.arange(images + videos)
    both = [
        Subset(own, np.zeros(len(own), np.int32), Fraction(len(own)), still)
        for own, still in ((numbers[:videos], False), (numbers[videos:], True))
    ]
    steps = steps_of(both, batch, epochs)
    shown = np.zeros(len(numbers), np.int64)
    for slots in islice(mixed_slots(both, 0, batch, 0), steps):
        for _, number in slots:
            shown[number] += 1
    if epochs >= 1:
        assert shown.min() >= whole
    least = [turns(steps - 1, [part.weight for part in both])[n] * batch < epochs * len(part.numbers)
             for n, part in enumerate(both)]  # fmt: skip
    assert any(least) or steps == math.ceil(epochs * len(numbers) / batch)
    assert turns(steps, [part.weight for part in both]) == [
        sum(turn(step, [part.weight for part in both])[0] == n for step in range(steps)) for n in (0, 1)
    ]


def test_one_s_own_weights_are_no_promise_to_show_all() -> None:
    both = [Subset(np.arange(10), np.zeros(10, np.int32), Fraction(n)) for n in (9, 1)]
    assert steps_of(both, 4, 1) == 5
