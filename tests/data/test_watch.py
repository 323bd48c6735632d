"""A decoder that hangs or crashes costs its sample: real workers, really hanging, really ended."""

from __future__ import annotations

import os
import resource
import signal
import time
from itertools import islice

import pytest
import torch
from order_helpers import training_slots

from vtr.data.cache import FrameCache
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches, workers_watched
from vtr.data.order import evaluation_slots
from vtr.data.watch import native
from vtr.errors import WorkError

SHAPE = ClipShape(frames=4, size=32, resize=36, crop_min=0.5, flip=True, decoder="pyav")


class Treacherous(ClipDataset):
    """Some samples never come out of their decoder."""

    hangs: frozenset[int] = frozenset()
    crashes: frozenset[int] = frozenset()
    by = signal.SIGSEGV

    def _decode(self, i, encoded, at_least=0, shrink=None):
        with native(self.beat, i):
            if i in self.hangs:
                # No signal that could be handled gets through, as to a decoder that never returns to Python.
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                time.sleep(1000)
            if i in self.crashes:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if self.by != signal.SIGKILL:
                    signal.signal(self.by, signal.SIG_DFL)
                os.kill(os.getpid(), self.by)
                time.sleep(10)
        return super()._decode(i, encoded, at_least, shrink)


def dataset(index: ShardIndex, cache: bool = False, **bad: object) -> Treacherous:
    made = Treacherous(
        index, SHAPE, training=True, seed=1, cache=FrameCache(index, SHAPE.resize, 1e9) if cache else None
    )
    for name, value in bad.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(("workers", "cache"), [(2, True)])
def test_what_hangs_or_crashes_is_a_masked_row_and_the_rest_is_as_it_was(
    index: ShardIndex, words, workers: int, cache: bool
) -> None:
    slots = list(islice(training_slots(index.shard_of, 1, 8, 0), 6))
    healthy = list(batches(dataset(index, cache), slots, words, 0))
    bad = dataset(index, cache, hangs=frozenset({5}), crashes=frozenset({11}))
    made = list(batches(bad, slots, words, workers, time_limit_s=1.0))
    assert len(made) == len(healthy) == 6
    errors = {key: (kind, message) for _, found in made for key, kind, message in found}
    assert set(errors) == {index.key(5), index.key(11)}
    kind, message = errors[index.key(5)]
    assert (kind, message) == ("timeout", f"{index.key(5)} in {index.root} was not decoded within 1 s")
    kind, message = errors[index.key(11)]
    assert (kind, message) == ("corrupt", f"{index.key(11)} in {index.root} crashes its decoder")
    for (batch, _), (other, _) in zip(made, healthy, strict=True):
        assert batch.keys == other.keys, "no slot is lost, none comes twice"
        out = (batch.samples == 5) | (batch.samples == 11)
        assert torch.equal(batch.ok, ~out)
        assert torch.equal(batch.clips[~out], other.clips[~out])
    assert sum((batch.samples == 5).sum().item() for batch, _ in made) == 2, "it came in both epochs"


def test_evaluation_is_watched_too(index: ShardIndex, words) -> None:
    bad = dataset(index, hangs=frozenset({23}))
    found = list(batches(bad, evaluation_slots(24, 10), words, 1, time_limit_s=1.0))
    assert [kind for _, errors in found for _, kind, _ in errors] == ["timeout"]


def test_who_is_killed_from_outside_blames_no_sample(index: ShardIndex, words) -> None:
    """The kernel out of memory kills with SIGKILL: that is no fault of the video."""
    bad = dataset(index, crashes=frozenset({5}), by=signal.SIGKILL)
    with pytest.raises(WorkError, match="a decoding process ended"), workers_watched():
        list(batches(bad, evaluation_slots(24, 8), words, 1))


def test_the_main_thread_is_not_interrupted_by_a_worker_that_ends(index: ShardIndex, words) -> None:
    """Torch raises from its handler of SIGCHLD wherever the main thread is; that would be amid a training step."""
    bad = dataset(index, crashes=frozenset({12}))
    rows = batches(bad, evaluation_slots(24, 4), words, 1)
    next(rows)
    end = time.monotonic() + 2  # the worker decodes ahead, and crashes meanwhile
    while time.monotonic() < end:
        sum(range(1000))
    assert len(list(rows)) == 5
    assert set(bad.lost) == {12}
