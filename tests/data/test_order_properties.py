"""Whatever the sizes, the worlds and the workers: each sample of an epoch exactly once, also over a resume."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from order_helpers import training_slots

from vtr.data.order import WINDOW, epoch_order

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=30)
WORLDS = (1, 2, 3, 4, 6, 8, 12)


def shards_of(samples: list[int]):
    return np.repeat(np.arange(len(samples), dtype=np.int32), samples)


def by_workers(stream, workers: int, steps: int):
    """The batches of `steps` steps as torch's loader deals them out: batch n is worker n % workers' work, and comes
    back in its place."""
    dealt = [list(islice(stream, 1)) for _ in range(steps)]
    done = {n: dealt[n][0] for worker in range(workers) for n in range(worker, steps, workers)}
    return [done[n] for n in range(steps)]


def run(shard_of, seed: int, batch: int, world: int, workers: int, start: int, steps: int):
    """All that `steps` steps from `start` on show: (epoch, sample) of every rank, step by step."""
    ranks = [
        by_workers(training_slots(shard_of, seed, batch, start, rank, world), workers, steps) for rank in range(world)
    ]
    return [list(chain(*parts)) for parts in zip(*ranks, strict=True)]


@settings(max_examples=150, deadline=None)
@given(
    samples=sizes,
    seed=st.integers(0, 2**32 - 1),
    times=st.integers(1, 4),
    before=st.tuples(st.sampled_from(WORLDS), st.integers(1, 4)),
    after=st.tuples(st.sampled_from(WORLDS), st.integers(1, 4)),
    stop=st.integers(0, 60),
)
def test_a_run_resumed_elsewhere_sees_each_remaining_sample_once(samples, seed, times, before, after, stop) -> None:
    """Stopped at any step, gone on with another world size and other workers; over two epochs."""
    shard_of = shards_of(samples)
    count, batch = len(shard_of), 24 * times  # 24 divides among every one of WORLDS
    steps = -(-2 * count // batch)
    stop = min(stop, steps)
    shown = run(shard_of, seed, batch, *before, 0, stop) + run(shard_of, seed, batch, *after, stop, steps - stop)
    seen = Counter(chain(*shown))
    for epoch in range(2):
        assert [seen[epoch, sample] for sample in range(count)] == [1] * count
    assert shown == run(shard_of, seed, batch, 1, 1, 0, steps), "as if one process had never stopped"


@settings(max_examples=60, deadline=None)
@given(samples=sizes, seed=st.integers(0, 2**32 - 1), batches=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_another_batch_size_goes_on_at_the_same_sample(samples, seed, batches) -> None:
    """A stream is one list of slots: what is left of an epoch does not depend on how it is cut into batches."""
    shard_of = shards_of(samples)
    one, other = batches
    slots = [
        list(islice(chain.from_iterable(training_slots(shard_of, seed, size, 0)), 3 * len(shard_of)))
        for size in (one, other)
    ]
    assert slots[0] == slots[1]


@settings(max_examples=60, deadline=None)
@given(samples=sizes, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9))
def test_reads_stay_near_each_other(samples, seed, epoch) -> None:
    """At most WINDOW tars are in use at a time, and none is taken up again."""
    shard_of = shards_of(samples)
    shards = shard_of[epoch_order(shard_of, seed, epoch)]
    groups = [set(part.tolist()) for part in np.split(shards, np.flatnonzero(_starts(shards, WINDOW)))]
    assert sorted(chain(*groups)) == list(range(len(samples)))
    assert all(len(group) <= WINDOW for group in groups)


def _starts(shards, window: int):
    """(N,) bool: where a new group of `window` shards begins, judged by the order alone."""
    starts, group = np.zeros(len(shards), bool), set[int]()
    for place, shard in enumerate(shards.tolist()):
        if shard not in group and len(group) == window:
            starts[place], group = True, set()
        group.add(shard)
    return starts
