"""A batch is the same whoever makes it: any workers, with a cache or without."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from order_helpers import training_slots

from vtr.data.cache import FrameCache
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches, workers_watched
from vtr.data.order import evaluation_slots
from vtr.errors import DataError, WorkError
from vtr.types import Batch

TRAINING = ClipShape(frames=4, size=32, resize=36, crop_min=0.5, flip=True, decoder="pyav")
# Nothing is cropped by chance, so a cached frame is the very one that is decoded.
EXACT = ClipShape(frames=4, size=32, resize=36, crop_min=1.0, flip=True, decoder="pyav")


def test_large_videos_enter_the_cache_frame_by_frame(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At their own size all frames of an HD video are gigabytes; the pictures are the same either way."""
    index = ShardIndex.open(shards)
    for decoder in ("auto", "pyav"):
        shape = ClipShape(frames=4, size=32, resize=36, decoder=decoder)
        held = []
        for large in (1 << 40, 0):
            monkeypatch.setattr("vtr.data.dataset.LARGE_BYTES", large)
            cache = FrameCache(index, 36, 1e9)
            ClipDataset(index, shape, training=True, cache=cache)[0, 1]
            held.append(cache.get(1))
        assert np.array_equal(*held)


def take(index: ShardIndex, words, shape: ClipShape, *, workers: int = 0, cache: bool = False, seed: int = 1, start=0):
    frames = FrameCache(index, shape.resize, 1e9) if cache else None
    dataset = ClipDataset(index, shape, training=True, seed=seed, cache=frames)
    slots = training_slots(index.shard_of, seed, 8, start)
    return list(islice(batches(dataset, slots, words, workers), 8 - start))


def same(a: Batch, b: Batch) -> bool:
    fields = ("clips", "ids", "attention", "maskable", "samples", "ok")
    return a.keys == b.keys and all(torch.equal(getattr(a, f), getattr(b, f)) for f in fields)


@pytest.fixture(scope="module")
def alone(index: ShardIndex, words) -> list:
    """8 batches of 8 from 24 clips: two epochs and a bit, made by this process without a cache."""
    return take(index, words, TRAINING)


def test_a_batch_is_what_it_says(alone: list, index: ShardIndex) -> None:
    batch, errors = alone[0]
    assert errors == []
    assert batch.clips.shape == (8, 4, 3, 32, 32)
    assert batch.clips.dtype == torch.uint8
    assert batch.ids.shape == batch.attention.shape == batch.maskable.shape
    assert batch.ids.shape[1] <= 24
    assert batch.ok.all()
    assert batch.keys == tuple(index.key(int(i)) for i in batch.samples)
    seen = torch.cat([b.samples for b, _ in alone[:3]])
    assert sorted(seen.tolist()) == list(range(24))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_byte(index: ShardIndex, words, alone: list, workers: int) -> None:
    made = take(index, words, TRAINING, workers=workers)
    assert all(same(a[0], b[0]) for a, b in zip(made, alone, strict=True))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_cache_changes_no_byte_where_nothing_is_cropped(index: ShardIndex, words, workers: int) -> None:
    plain = take(index, words, EXACT)
    cached = take(index, words, EXACT, workers=workers, cache=True)
    assert all(same(a[0], b[0]) for a, b in zip(cached, plain, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_out_of_the_cache_are_the_same_for_all_workers(index: ShardIndex, words, workers: int) -> None:
    """Cropped from resized frames, they differ from crops of whole ones: but not by when or by whom they are made."""
    first = take(index, words, TRAINING, cache=True)
    again = take(index, words, TRAINING, workers=workers, cache=True)
    assert all(same(a[0], b[0]) for a, b in zip(again, first, strict=True))


def test_a_resumed_loader_goes_on_with_the_same_bytes(index: ShardIndex, words, alone: list) -> None:
    made = take(index, words, TRAINING, start=5, workers=1)
    assert all(same(a[0], b[0]) for a, b in zip(made, alone[5:], strict=True))


def test_augmentation_is_addressed_by_seed_epoch_and_sample(index: ShardIndex) -> None:
    def clip(seed: int, epoch: int, sample: int) -> bytes:
        dataset = ClipDataset(index, TRAINING, training=True, seed=seed)
        for other in (3, 9, sample):  # what was drawn before is of no matter
            item = dataset[(epoch, other)]
        return item.clip.numpy().tobytes()

    assert clip(0, 0, 5) == clip(0, 0, 5)
    assert len({clip(seed, epoch, 5) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_evaluation_draws_nothing(index: ShardIndex, words) -> None:
    dataset = ClipDataset(index, TRAINING)
    found = [list(batches(dataset, evaluation_slots(24, 10), words, workers)) for workers in (0, 2)]
    assert [len(batch) for batch, _ in found[0]] == [10, 10, 4]
    assert all(same(a[0], b[0]) for a, b in zip(*found, strict=True))
    assert torch.equal(dataset[(0, 3)].clip, dataset[(7, 3)].clip)
    assert dataset[(0, 3)].caption == index.captions(3)[0]


def test_several_captions_take_turns(tmp_path: Path) -> None:
    from shard_helpers import make_samples

    from vtr.data.shards import write_shards

    write_shards(make_samples(tmp_path / "v", 2), tmp_path / "s", reader="table", source="x", workers=1)
    index = ShardIndex.open(tmp_path / "s")
    dataset = ClipDataset(index, TRAINING, training=True)
    drawn = {dataset[(epoch, 1)].caption for epoch in range(12)}
    assert drawn == set(index.captions(1))
    assert len(drawn) == 2
    assert ClipDataset(index, TRAINING)[(0, 1)].caption == index.captions(1)[0]


@pytest.mark.parametrize("cache", [False, True])
def test_a_video_of_one_frame(tmp_path: Path, words, cache: bool) -> None:
    from shard_helpers import make_samples

    from vtr.data.shards import write_shards

    write_shards(make_samples(tmp_path / "v", 2, frames=1), tmp_path / "s", reader="table", source="x", workers=1)
    index = ShardIndex.open(tmp_path / "s")
    assert index.fact(0, "frames") == 1
    frames = FrameCache(index, 36, 1e9) if cache else None
    for training in (False, True):
        clip = ClipDataset(index, EXACT, training=training, cache=frames)[(0, 0)].clip
        assert clip.shape == (4, 3, 32, 32)
        assert all(torch.equal(clip[0], frame) for frame in clip)
        assert clip.float().std() > 1


def damage(shards: Path, out: Path, sample: int) -> ShardIndex:
    """A copy of `shards` where a few bytes in the middle of a sample's video are flipped, on the disk."""
    shutil.copytree(shards, out)
    index = ShardIndex.open(out)
    member = next(m for m in index.members(sample) if m.ext == "mp4")
    tar = out / index.shards[index.shard_of[sample]].name
    with tar.open("r+b") as file:
        file.seek(member.offset + member.size // 2)
        old = file.read(4)
        file.seek(member.offset + member.size // 2)
        file.write(bytes(255 - b for b in old))
    return ShardIndex.open(out)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_keeps_its_slot(shards: Path, tmp_path: Path, words, alone: list, workers: int) -> None:
    index = damage(shards, tmp_path / "s", 6)
    made = take(index, words, TRAINING, workers=workers)
    errors = [error for _, found in made for error in found]
    assert {(key, kind) for key, kind, _ in errors} == {(index.key(6), "corrupt")}
    assert all("other bytes than were written" in message for _, _, message in errors)
    for (batch, _), (healthy, _) in zip(made, alone, strict=True):
        assert batch.keys == healthy.keys
        bad = batch.samples == 6
        assert torch.equal(batch.ok, ~bad)
        assert not batch.clips[bad].any(), "nothing takes its place"
        assert torch.equal(batch.clips[~bad], healthy.clips[~bad]), "its neighbours are as they were"
        assert torch.equal(batch.ids, healthy.ids)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tar_that_goes_away_is_named_without_a_traceback(shards: Path, tmp_path: Path, words, workers: int) -> None:
    shutil.copytree(shards, tmp_path / "s")
    index = ShardIndex.open(tmp_path / "s")
    (tmp_path / "s" / index.shards[1].name).unlink()
    with pytest.raises(DataError) as caught:
        take(index, words, TRAINING, workers=workers)
    assert caught.value.message == f"{tmp_path / 's' / '000001.tar'} cannot be opened: No such file or directory"


def test_a_worker_that_is_killed_is_told_of(index: ShardIndex, words) -> None:
    dataset = ClipDataset(index, TRAINING, training=True)
    with pytest.raises(WorkError, match=r"a decoding process ended: DataLoader worker(?s:.*)fewer --workers"):  # noqa: SIM117
        with workers_watched():
            for number, _ in enumerate(batches(dataset, training_slots(index.shard_of, 0, 8, 0), words, 1)):
                if number == 0:
                    for child in multiprocessing.active_children():
                        os.kill(child.pid, signal.SIGKILL)
                assert number < 1000


SCRIPT = """
import sys
from pathlib import Path
from vtr.data import tokenizer
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches

if __name__ == "__main__":
    index = ShardIndex.open(Path(sys.argv[1]))
    shape = ClipShape(frames=2, size=32, resize=32, decoder="pyav")
    words, slots = tokenizer.load(Path(sys.argv[2]), 24), [[(0, i)] for i in range(4)] * 50
    stream = iter(batches(ClipDataset(index, shape, training=True), slots, words, 1))
    next(stream)
    raise ValueError("an error of the script, whose loader is still there")
"""


def test_a_script_that_fails_ends(shards: Path, words, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    words.save(tmp_path / "words")
    command = [sys.executable, str(tmp_path / "script.py"), str(shards), str(tmp_path / "words")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "ValueError: an error of the script" in done.stderr


def test_decoders_agree(index: ShardIndex) -> None:
    """What sharding has proven right for decord is the same from PyAV."""
    pytest.importorskip("decord")
    assert set(index.facts("decoder")) == {"decord"}
    a, b = (ClipDataset(index, ClipShape(4, 32, 36, decoder=decoder)) for decoder in ("auto", "pyav"))
    for i in (0, 7, 23):
        difference = a[(0, i)].clip.int() - b[(0, i)].clip.int()
        assert np.abs(difference.numpy()).max() <= 2
