"""Frames in memory: those of the index's sizes, as many as fit, one copy for all processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from vtr.data import stored
from vtr.data.cache import FrameCache
from vtr.data.clips import to_short_side
from vtr.data.index import ShardIndex

SHORT = 40


@pytest.fixture
def index(shards: Path) -> ShardIndex:
    return ShardIndex.open(shards)


def frames_of(index: ShardIndex, i: int) -> np.ndarray:
    return to_short_side(stored.read_frames(index, i, range(int(index.fact(i, "frames")))), SHORT)


def bytes_of(index: ShardIndex, i: int) -> int:
    return frames_of(index, i).nbytes


def test_what_is_put_is_got(index: ShardIndex) -> None:
    cache = FrameCache(index, SHORT, 1e9)
    assert cache.held == len(index)
    kept = {i: frames_of(index, i) for i in (0, 5, len(index) - 1)}
    for i, frames in kept.items():
        assert cache.get(i) is None
        cache.put(i, frames)
    for i, frames in kept.items():
        held = cache.get(i)
        assert held is not None
        assert np.array_equal(held, frames)
    assert cache.get(1) is None


def test_the_limit_is_kept(index: ShardIndex) -> None:
    one = bytes_of(index, 0)
    for limit, held in ((0, 0), (one - 1, 0), (one, 1), (3 * one + 1, 3)):
        cache = FrameCache(index, SHORT, limit)
        assert cache.held == held
        cache.put(held, frames_of(index, held))  # past the limit: nothing happens
        assert cache.get(held) is None


def test_frames_of_another_size_are_not_kept(index: ShardIndex) -> None:
    """An index that tells a size wrong must not shift what its neighbours hold."""
    cache = FrameCache(index, SHORT, 1e9)
    cache.put(0, frames_of(index, 0))
    cache.put(1, frames_of(index, 1)[:-1])
    cache.put(2, frames_of(index, 2)[:, :-1])
    assert cache.get(1) is None
    assert cache.get(2) is None
    held = cache.get(0)
    assert held is not None
    assert np.array_equal(held, frames_of(index, 0))


def fill(cache: FrameCache, i: int) -> None:
    cache.put(i, frames_of(cache_index, i))


cache_index: ShardIndex


def test_what_a_forked_process_puts_all_get(index: ShardIndex) -> None:
    global cache_index  # noqa: PLW0603
    cache_index = index
    cache = FrameCache(index, SHORT, 1e9)
    child = multiprocessing.get_context("fork").Process(target=fill, args=(cache, 3))
    child.start()
    child.join(30)
    held = cache.get(3)
    assert held is not None
    assert np.array_equal(held, frames_of(index, 3))


def test_long_videos_are_decoded_each_time(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ShardIndex.open(shards)
    monkeypatch.setattr("vtr.data.cache.LONGEST", 5)  # the clips here have 16 frames
    cache = FrameCache(index, SHORT, 1e9)
    assert not cache.has_room(0)
    cache.put(0, frames_of(index, 0))
    assert cache.get(0) is None
