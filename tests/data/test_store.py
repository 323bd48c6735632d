"""What a store keeps of a video: the right frames, upright and small, and reading back touches only what is asked."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from shard_helpers import make_samples, make_video, tree

from vtr.data import stored, video
from vtr.data.annotations import Sample
from vtr.data.index import ShardIndex
from vtr.data.index_file import SCHEMA
from vtr.data.limits import Limits
from vtr.data.manifest import ShardSummary
from vtr.data.shards import write_shards
from vtr.data.store import FrameStore, Store, VideoStore, make_store
from vtr.data.transcode import SmallVideoStore
from vtr.errors import ConfigError, DataError, VideoError

CORPUS = Path(__file__).resolve().parents[2] / ".." / "shared" / "corpus"


def shard(samples: list[Sample], out: Path, store: Store | str, **options: Any) -> ShardSummary:
    options = {"per_shard": 3, "workers": 2, **options}
    return write_shards(samples, out, reader="table", source="t.csv", store=store, **options)


def test_frames_at_the_middles_of_equal_spans() -> None:
    times = np.arange(60) / 30
    assert FrameStore(fps=4).choose(times, 2.0) == [3, 11, 18, 26, 33, 41, 48, 56]
    assert FrameStore(fps=4, max_frames=2).choose(times, 2.0) == [15, 45]
    assert FrameStore(frames=1).choose(times, 2.0) == [30]
    assert FrameStore(fps=1000, max_frames=64).choose(times, 2.0) == list(range(60)), "none twice for a rate"
    assert FrameStore(frames=4).choose(times[:2], 2 / 30) == [0, 0, 1, 1], "an exact number is kept to"
    assert FrameStore(fps=4).choose(np.zeros(1), 0.01) == [0]
    uneven = np.array([0.0, 0.1, 0.2, 1.9])
    assert FrameStore(frames=4).choose(uneven, 2.0) == [2, 2, 2, 2], "what a player shows at that moment"


def test_all_stores_measure_the_same_columns(tmp_path: Path) -> None:
    """Those of the index that are not of its place, its words or its source (test_foreign has tars of others)."""
    told = {"key", "shard", "captions", "split", "sha256", "store"}
    measured = [name for name in SCHEMA.names if name not in told and not name.startswith("member_")]
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "PNG")
    clip = make_video(tmp_path / "a.mp4", 1).read_bytes()
    for store in (VideoStore(), VideoStore(check=False), SmallVideoStore(short_side=96), FrameStore(short_side=96)):
        for data, suffix in ((clip, "mp4"), (file.getvalue(), "png")):
            found = store.prepare(data, suffix, Limits()).facts
            assert list(found) == measured, (store, suffix)
            assert None not in found.values()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], Path]:
    """Samples of 24 frames at 8 a second, and their frame store: 4 a second at short side 96."""
    folder = tmp_path_factory.mktemp("frames")
    samples = make_samples(folder / "videos", 5, frames=24)
    summary = shard(samples, folder / "out", FrameStore(short_side=96))
    assert (summary.samples, summary.decoders, summary.duration_s) == (5, {"jpeg": 5}, 15.0)
    return samples, folder / "out"


def test_a_frame_store(frames: tuple[list[Sample], Path]) -> None:
    samples, out = frames
    index = ShardIndex.open(out)
    for i, sample in enumerate(samples):
        assert isinstance(sample.video, Path)
        data = sample.video.read_bytes()
        info = index.info(i)
        assert (info.frames, info.fps, info.duration_s, info.store, info.decoder) == (12, 4.0, 3.0, "frames", "jpeg")
        assert (info.width, info.height) == (117, 96)
        assert [m.ext for m in index.members(i)] == ["json", *(f"{k:04d}.jpg" for k in range(12))]
        about = json.loads(index.read(i, ["json"])["json"])
        assert about["times"] == [0.125 + 0.25 * k for k in range(12)]
        assert about["original"] == {
            "frames": 24, "fps": 8.0, "duration_s": 3.0, "width": 176, "height": 144,
            "decoder": "decord", "codec": "h264", "container": "mp4",
        }  # fmt: skip
        kept = stored.read_frames(index, i, [0, 5, 11])
        for picture, original in zip(kept, video.read_frames(data, [1, 11, 23]), strict=True):
            small = Image.fromarray(original).resize((117, 96), Image.Resampling.BICUBIC)
            assert np.abs(picture.astype(int) - np.asarray(small)).mean() < 3


def test_reading_some_frames_reads_no_others(frames: tuple[list[Sample], Path], tmp_path: Path) -> None:
    """Every member but two is overwritten; those two still read."""
    _, out = frames
    index = ShardIndex.open(out)
    keep = {"0003.jpg", "0007.jpg"}
    data = bytearray((out / "000001.tar").read_bytes())
    for member in index.members(3):
        if member.ext not in keep:
            data[member.offset : member.offset + member.size] = bytes(member.size)
    for name, content in tree(out).items():
        (tmp_path / name).write_bytes(bytes(data) if name == "000001.tar" else content)
    broken = ShardIndex.open(tmp_path)
    assert (stored.read_frames(broken, 3, [7, 3, 7]) == stored.read_frames(index, 3, [7, 3, 7])).all()
    with pytest.raises(VideoError, match=r"clip-003\.0004\.jpg in .*000001\.tar has other bytes"):
        stored.read_frames(broken, 3, [4])


def test_one_reader_serves_both_stores(frames: tuple[list[Sample], Path], tmp_path: Path) -> None:
    samples, out = frames
    shard(samples, tmp_path / "video", "video")
    original = ShardIndex.open(tmp_path / "video")
    assert stored.read_frames(original, 2, [23, 0]).shape == (2, 144, 176, 3)
    with pytest.raises(VideoError, match="the video has 24") as caught:
        stored.read_frames(original, 2, [24])
    assert caught.value.kind == "no-frames"
    with pytest.raises(VideoError, match="clip-002 has 12 stored frames, number 12 was asked for"):
        stored.read_frames(ShardIndex.open(out), 2, [12])


def test_webdataset_reads_a_frame_store(frames: tuple[list[Sample], Path]) -> None:
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    samples, out = frames
    index = ShardIndex.open(out)
    found = []
    for tar in sorted(out.glob("*.tar")):
        with tar.open("rb") as file:
            found += list(group_by_keys({**member, "__url__": ""} for member in tar_file_iterator(file)))
    assert [sample["__key__"] for sample in found] == [sample.key for sample in samples]
    for i, sample in enumerate(found):
        assert {name: data for name, data in sample.items() if not name.startswith("__")} == index.read(i)


def test_the_same_bytes_whoever_makes_them(frames: tuple[list[Sample], Path], tmp_path: Path) -> None:
    samples, out = frames
    shard(samples, tmp_path / "again", FrameStore(short_side=96), workers=1)
    assert tree(tmp_path / "again") == tree(out)
    with pytest.raises(DataError, match="other arguments: quality was 90 and is 80"):
        shard(samples, out, FrameStore(short_side=96, quality=80))
    with pytest.raises(DataError, match="short_side was 96 and is None, store was frames and is video"):
        shard(samples, out, VideoStore())


def test_a_video_that_breaks_off_is_skipped_by_a_frame_store(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 2)
    whole = make_video(tmp_path / "x.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    samples[1] = replace(samples[1], video=tmp_path / "cut.mp4")
    assert shard(samples, tmp_path / "out", "frames", max_skipped=0.5).skipped == {"truncated": 1}


def test_settings_that_make_no_sense() -> None:
    for name, value in {"fps": 0, "max_frames": 0, "frames": 20_000, "short_side": 4, "quality": 101}.items():
        with pytest.raises(ConfigError, match=f"{name} of a frame store is {value}\n  hint: give one from"):
            FrameStore(**{name: value})
    with pytest.raises(ConfigError, match="there is no store 'frame'\n  hint: the stores are: video, frames"):
        make_store("frame")


def test_pictures_that_are_none() -> None:
    with pytest.raises(VideoError, match="a picture cannot be decoded") as caught:
        stored.decode_jpeg(b"\xff\xd8 nothing")
    assert caught.value.kind == "corrupt"
    file = io.BytesIO()
    Image.new("L", (64, 32)).save(file, "PNG")
    assert stored.decode_jpeg(file.getvalue()).shape == (32, 64, 3)
    with pytest.raises(VideoError, match="a picture of 64x32, over max_pixels = 100"):
        stored.decode_jpeg(file.getvalue(), Limits(max_pixels=100))


def barcode(picture: npt.NDArray[np.uint8]) -> int:
    """The frame's number, written across its top quarter: white, black, 12 bits, even parity, white."""
    height, width = picture.shape[:2]
    row = picture[height // 16 : 3 * height // 16].mean((0, 2))
    cells = [float(row[int((c + 0.3) * width / 16) : int((c + 0.7) * width / 16) + 1].mean()) > 128 for c in range(16)]
    assert (cells[0], cells[1], cells[15], sum(cells[2:15]) % 2) == (True, False, True, False), "no barcode there"
    return int("".join(map(str, map(int, cells[2:14]))), 2)


@pytest.mark.parametrize("store", ["video", "frames"])
def test_every_tricky_file_has_its_outcome(store: str, tmp_path: Path) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of tricky videos is not beside the repository")
    entries = {entry["file"]: entry for entry in json.loads((CORPUS / "manifest.json").read_text())["files"]}
    samples = [Sample(name.replace(".", "-"), CORPUS / name, (name,), source=name) for name in entries]
    kept = FrameStore(fps=1000, max_frames=5) if store == "frames" else VideoStore()
    shard(samples, tmp_path / "out", kept, max_skipped=0.9, per_shard=8)
    index = ShardIndex.open(tmp_path / "out")
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    skipped = {json.loads(line)["video"] for line in lines}
    written = {index.captions(i)[0]: i for i in range(len(index))}
    assert skipped | set(written) == set(entries)
    assert not skipped & set(written)
    for name, entry in entries.items():
        if entry["expect"] in ("error", "policy"):
            assert name in skipped, name
        elif entry["expect"] == "decode" and name != "still.jpg":
            i = written[name]
            about = json.loads(index.read(i, ["json"])["json"])
            original = about.get("original", about)
            assert original["frames"] == entry["frames"], name
            if store == "frames" and entry.get("barcode", True):
                times = video.frame_times((CORPUS / name).read_bytes())
                chosen = FrameStore(fps=1000, max_frames=5).choose(times, original["duration_s"])
                codes = entry.get("codes") or [entry["first_code"] + k for k in range(entry["frames"])]
                shown = stored.read_frames(index, i, range(about["frames"]))
                assert [barcode(picture) for picture in shown] == [codes[k] for k in chosen], name


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no system that counts the bytes a process reads")
def test_reading_some_frames_touches_their_bytes_alone(frames: tuple[list[Sample], Path]) -> None:
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    _, out = frames
    index = ShardIndex.open(out)
    wanted = {"0003.jpg", "0007.jpg"}
    size = sum(member.size for member in index.members(3) if member.ext in wanted)
    assert size < sum(member.size for member in index.members(3)) / 3
    stored.fetch(index, 2, [1])  # the tar is open, the columns of the index are loaded
    before = bytes_read()
    counting = bytes_read() - before  # what asking costs
    before = bytes_read()
    encoded = stored.fetch(index, 3, [7, 3, 7])
    assert bytes_read() - before - counting == size == sum(map(len, encoded.parts))
