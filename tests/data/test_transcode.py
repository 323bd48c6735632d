"""A small re-encoding keeps every frame at its time, upright, can be entered every 12 frames, and is byte-stable."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from shard_helpers import make_samples, make_video, tree

from vtr.data import video
from vtr.data.annotations import Sample
from vtr.data.index import ShardIndex
from vtr.data.limits import DEFAULT
from vtr.data.shards import write_shards
from vtr.data.store import make_store
from vtr.data.transcode import SmallVideoStore, small_size
from vtr.errors import ConfigError, VideoError

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
# fmt: off
NAMES = (
    "rot90.mp4", "vfr.mp4", "sar2.mp4", "h264_10.mp4", "odd_vp9.webm", "mpeg4.avi", "h264.ts", "bt709.mp4",
    "fullrange.mp4", "opengop.mp4", "interlaced.mpg", "reschange.ts", "one_frame.mp4", "fps_240.mp4", "anim.gif",
)
# fmt: on
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus is not at {CORPUS}")


def prepare(data: bytes, **settings: int) -> tuple[bytes, video.VideoInfo]:
    ready = SmallVideoStore(**settings).prepare(data, "mp4", DEFAULT)
    [(ext, small)] = ready.members
    assert ext == "mp4"
    return small, video.probe(small)


def key_frames(data: bytes) -> list[int]:
    with av.open(io.BytesIO(data)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        shown = {pts: n for n, pts in enumerate(sorted(p.pts for p in packets))}
        return [shown[p.pts] for p in packets if p.is_keyframe]


def test_a_key_frame_every_twelve_frames(tmp_path: Path) -> None:
    data = make_video(tmp_path / "a.mp4", 1, frames=30, size=(640, 360)).read_bytes()
    small, info = prepare(data, short_side=180)
    assert (info.frames, info.width, info.height, info.codec) == (30, 320, 180, "h264")
    assert key_frames(small) == [0, 12, 24]
    assert key_frames(prepare(data, gop=5)[0]) == [0, 5, 10, 15, 20, 25]
    pytest.importorskip("decord", reason="decord is not installed")
    assert info.decoder == "decord", "closed groups at plain times: any decoder is right on it"


def test_frames_are_those_of_the_source(tmp_path: Path) -> None:
    data = make_video(tmp_path / "a.mp4", 3, frames=24, size=(320, 240)).read_bytes()
    small, info = prepare(data)
    assert (info.width, info.height) == (320, 240), "never made larger"
    before = video.read_frames(data, range(24)).astype(float)
    after = video.read_frames(small, range(24)).astype(float)
    assert np.abs(before - after).mean() < 4
    assert np.allclose(video.frame_times(small), video.frame_times(data), atol=1e-4)


def test_the_bytes_are_stable_in_any_process(tmp_path: Path) -> None:
    samples = make_samples(tmp_path / "videos", 6)
    store = SmallVideoStore(short_side=96)
    for workers in (1, 3):
        write_shards(
            samples, tmp_path / str(workers), reader="table", source="t", per_shard=2, workers=workers, store=store
        )
    assert tree(tmp_path / "1") == tree(tmp_path / "3")
    index = ShardIndex.open(tmp_path / "1")
    about = json.loads(index.read(0, ["json"])["json"])
    assert (about["store"], about["codec"], about["height"]) == ("video", "h264", 96)
    assert about["original"]["height"] == 144
    again = write_shards(samples, tmp_path / "1", reader="table", source="t", per_shard=2, store=store)
    assert again.nothing_to_do


def test_sizes_are_even() -> None:
    assert small_size(1919, 1079, 256) == (456, 256)
    assert small_size(101, 57, 256) == (100, 56)
    assert small_size(3, 2000, 256) == (4, 2000)
    assert small_size(1, 1, 256) == (2, 2)


@needs_corpus
@pytest.mark.parametrize("name", NAMES)
def test_difficult_files(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    before = video.probe(data)
    small, info = prepare(data)
    assert info.frames == before.frames
    assert abs(info.width - before.width) <= 1, "odd sizes become even"
    assert abs(info.height - before.height) <= 1
    assert np.allclose(video.frame_times(small), video.frame_times(data), atol=1e-4)
    first, last = video.read_frames(small, [0, info.frames - 1]).astype(float)
    wanted = video.read_frames(data, [0, before.frames - 1])[:, : info.height, : info.width].astype(float)
    height, width = min(info.height, before.height), min(info.width, before.width)
    assert np.abs(np.stack([first, last])[:, :height, :width] - wanted[:, :height, :width]).mean() < 12


def test_a_damaged_frame_is_an_error(tmp_path: Path) -> None:
    data = make_video(tmp_path / "a.mp4", 1, frames=30, size=(640, 360)).read_bytes()
    with pytest.raises(VideoError) as caught:
        prepare(data[: len(data) // 2])
    assert caught.value.kind in ("truncated", "corrupt")


def test_an_image_stays_as_it_is(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    sample = Sample("a", tmp_path / "a.png", ("a",), source="a.png")
    write_shards([sample], tmp_path / "out", reader="table", source="t", store=SmallVideoStore())
    assert ShardIndex.open(tmp_path / "out").read(0, ["png"])["png"] == (tmp_path / "a.png").read_bytes()


def test_settings_of_stores() -> None:
    assert make_store("video", transcode=True, short_side=128) == SmallVideoStore(short_side=128)
    for settings, message in (
        ({"name": "video", "fps": 2.0}, "--fps belongs to --store frames"),
        ({"name": "video", "max_frames": 2}, "--max-frames belongs to --store frames"),
        ({"name": "video", "transcode": True, "quality": 80}, "--quality belongs to --store frames"),
        ({"name": "video", "short_side": 80}, "--short-side has no effect on videos that are kept"),
        ({"name": "frames", "transcode": True}, "--transcode makes small videos, --store frames makes none"),
        ({"name": "frames", "frames": 8, "fps": 2.0}, "--frames 8 is an exact number, --fps a rate"),
        ({"name": "frames", "frames": 8, "max_frames": 2}, "--frames 8 is an exact number, --max-frames a rate"),
        ({"name": "frames", "quality": 101}, "quality of a frame store is 101"),
        ({"name": "video", "transcode": True, "short_side": 8}, "short_side of a small video is 8"),
        ({"name": "films"}, "there is no store 'films'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_store(**settings)  # type: ignore[arg-type]
