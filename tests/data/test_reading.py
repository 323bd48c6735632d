"""What was read is counted by the path it took, and compared with what a frame store would give."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtr.data.cache import FrameCache
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches
from vtr.data.order import evaluation_slots
from vtr.data.reading import Reading, frame_store_rate, sum_of
from vtr.data.shards import write_shards

SHAPE = ClipShape(frames=4, size=32, resize=36, decoder="auto")


@pytest.mark.parametrize("workers", [0, 1])
def test_every_clip_is_counted_with_its_path(index: ShardIndex, words, workers: int) -> None:
    seen = Reading()
    list(batches(ClipDataset(index, SHAPE), evaluation_slots(24, 10), words, workers, reading=seen))
    assert seen.clips == {"decord": 24}
    assert 0 < seen.rate("decord") == seen.rate() < 1e5
    by_pyav = Reading()
    shape = ClipShape(frames=4, size=32, resize=36, decoder="pyav")
    list(batches(ClipDataset(index, shape), evaluation_slots(24, 10), words, workers, reading=by_pyav))
    assert by_pyav.clips == {"pyav": 24}


def test_what_is_held_decoded_is_a_path_of_its_own(index: ShardIndex, words) -> None:
    seen = Reading()
    dataset = ClipDataset(index, SHAPE, cache=FrameCache(index, SHAPE.resize, 1e9))
    for _ in range(2):
        list(batches(dataset, evaluation_slots(24, 10), words, 0, reading=seen))
    assert seen.clips == {"decord": 24, "cache": 24}


def test_the_hint_is_measured_on_the_videos_themselves(index: ShardIndex) -> None:
    rate = frame_store_rate(ClipDataset(index, SHAPE, training=True))
    assert rate > 1
    seen = Reading()
    for _ in range(10):
        seen.count("decord", 0.1)
    seen.count("image", 0.01)
    first, hint = seen.lines(rate)
    assert first == "clips read: 10 by decord (10/s), 1 by image (100/s) per core"
    assert hint == (
        f"from a frame store one core would read about {rate:.0f}/s instead of 10/s: vtr shard --store frames"
    )
    assert seen.record() == {
        "clips": {"decord": 10, "image": 1}, "clips_per_core_s": {"decord": 10.0, "image": 100.0}
    }  # fmt: skip
    assert Reading().lines() == []


def test_what_was_not_timed_has_no_rate() -> None:
    seen = Reading()
    seen.count("pyav", None)
    assert seen.lines(100.0) == ["clips read: 1 by pyav per core"]
    assert seen.record() == {"clips": {"pyav": 1}, "clips_per_core_s": {}}


def test_a_frame_store_needs_no_hint(tmp_path: Path, words) -> None:
    from shard_helpers import make_samples

    write_shards(make_samples(tmp_path / "v", 3), tmp_path / "s", reader="table", source="x", store="frames", workers=1)
    index = ShardIndex.open(tmp_path / "s")
    dataset, seen = ClipDataset(index, SHAPE), Reading()
    list(batches(dataset, evaluation_slots(3, 3), words, 0, reading=seen))
    assert seen.clips == {"jpeg": 3}
    assert frame_store_rate(dataset) == 0.0


def test_several_processes_count_together() -> None:
    parts = [Reading(), Reading()]
    for one, count in zip(parts, (3, 5), strict=True):
        for _ in range(count):
            one.count("pyav", 0.5)
    assert sum_of(parts).record() == {"clips": {"pyav": 8}, "clips_per_core_s": {"pyav": 2.0}}
