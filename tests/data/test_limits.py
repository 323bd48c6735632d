"""Limits on one video: what is over them is left out; raised ones are remembered by the shards and read with."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image
from shard_helpers import make_samples
from video_makers import make

from vtr.data import patterns, stored, video
from vtr.data.annotations import Sample
from vtr.data.foreign import write_index
from vtr.data.image import decode
from vtr.data.index import ShardIndex
from vtr.data.limits import DEFAULT, LARGEST_MEMBER, Limits, limits_of, loosest
from vtr.data.mixture import open_shards
from vtr.data.shards import write_shards
from vtr.data.tasks import note, write_task
from vtr.data.verify import verify
from vtr.errors import ConfigError, DataError, VideoError

TIGHT = Limits(max_gop=7)


def test_an_hour_passes_by_default() -> None:
    assert DEFAULT.max_packets > 3600 * 60
    assert DEFAULT.max_gop > 9999, "what libaom takes where nothing is asked for"
    assert DEFAULT.max_gop < 30_000


def test_the_longest_way_to_a_key_frame() -> None:
    """25 frames with a key frame every 10: 0-9, 10-19, 20-24."""
    data = make(frames=25, gop=10, options={"x264-params": "scenecut=0"})
    assert video.probe(data, Limits(max_gop=10)).frames == 25
    with pytest.raises(VideoError, match="10 frames without a key frame among them, over max_gop = 9") as caught:
        video.check(data, Limits(max_gop=9))
    assert (caught.value.kind, caught.value.hint) == (
        "too-large", "if this video is meant, shard it with a larger --max-gop",
    )  # fmt: skip
    last = make(frames=25, gop=20, options={"x264-params": "scenecut=0"})
    assert video.probe(last, Limits(max_gop=20)).frames == 25
    one = make(frames=25, gop=100)
    with pytest.raises(VideoError, match="25 frames without a key frame"):
        video.probe(one, Limits(max_gop=24))


def test_limits_that_are_none() -> None:
    with pytest.raises(ConfigError, match="max_gop is 0, but must be at least 1"):
        Limits(max_gop=0)
    with pytest.raises(ConfigError, match=r"max_bytes is 8589934592, but a tar holds files of at most 8589934591"):
        Limits(max_bytes=LARGEST_MEMBER + 1)
    assert limits_of({"max_gop": 5, "max_bytes": None, "store": "video"}) == Limits(max_gop=5)
    assert Limits(max_gop=5).raised() == {"max_gop": 5}
    assert loosest([Limits(max_gop=5), Limits(max_pixels=9)]) == DEFAULT


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Four videos of eight frames, one key frame each."""
    return make_samples(tmp_path_factory.mktemp("videos"), 4)


def shard(samples: list[Sample], out: Path, limits: Limits | None, **options: object) -> dict[str, int]:
    how: dict[str, object] = {"reader": "table", "source": "t", "max_skipped": 1.0, "workers": 1, **options}
    return write_shards(samples, out, limits=limits, **how).skipped  # type: ignore[arg-type]


def test_shards_remember_what_was_raised(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = Limits(max_pixels=2 * DEFAULT.max_pixels)
    shard(samples, tmp_path / "plain", None)
    shard(samples, tmp_path / "raised", raised)
    plain, index = ShardIndex.open(tmp_path / "plain"), ShardIndex.open(tmp_path / "raised")
    assert (plain.limits, index.limits) == (DEFAULT, raised)
    assert plain.digest == index.digest, "training sees the same"
    assert json.loads((tmp_path / "raised" / "manifest.json").read_text())["plan"]["arguments"]["max_pixels"]
    assert b"max_pixels" not in (tmp_path / "plain" / "manifest.json").read_bytes()
    with pytest.raises(DataError, match=r"other arguments: max_pixels was 18874368 and is None"):
        shard(samples, tmp_path / "raised", None)
    assert stored.fetch(index, 0, [0]).limits == raised
    both = open_shards([tmp_path / "plain", tmp_path / "raised"])
    assert both.limits == raised
    assert stored.fetch(both, 0, [0]).limits == raised


def test_they_are_read_with_the_limits_they_were_made_with(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defaults made tight stand for videos that are large."""
    shard(samples, tmp_path, Limits(max_gop=8))
    index = ShardIndex.open(tmp_path)
    assert index.limits.max_gop == 8
    monkeypatch.setattr(index, "limits", TIGHT)
    with pytest.raises(VideoError, match="over max_gop = 7"):
        stored.decode(stored.fetch(index, 0, [0], "pyav"))
    index = ShardIndex.open(tmp_path)
    assert stored.decode(stored.fetch(index, 0, [0, 7], "pyav")).shape == (2, 144, 176, 3)
    assert verify(index).problems == ()


def test_what_is_over_is_skipped_by_name(samples: list[Sample], tmp_path: Path) -> None:
    from vtr.errors import WorkError

    with pytest.raises(WorkError, match="4 too-large"):
        shard(samples, tmp_path, TIGHT)
    entry = json.loads((tmp_path / "skipped.jsonl").read_text().splitlines()[0])
    assert "over max_gop = 7" in entry["message"]


def test_tasks_have_the_limits_of_their_plan(samples: list[Sample], tmp_path: Path) -> None:
    what = {"reader": "table", "source": "t"}
    limits = Limits(max_gop=8)
    note(lambda: (samples, {}), tmp_path, limits=limits, **what)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="max_gop was 8 and is None"):
        write_task(lambda: (samples, {}), tmp_path, 0, 1, workers=1, **what)  # type: ignore[arg-type]
    done = write_task(lambda: (samples, {}), tmp_path, 0, 1, workers=1, limits=limits, **what)  # type: ignore[arg-type]
    assert done.whole is not None
    assert ShardIndex.open(tmp_path).limits == limits


def test_an_index_of_foreign_tars_remembers_too(samples: list[Sample], tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, "mp4": sample.video.read_bytes(), "txt": sample.captions[0]})
    tars = patterns.find(str(tmp_path))
    with pytest.raises(DataError, match=r"no sample that can be used: the video has 8 frames without a key frame"):
        write_index(tars, limits=TIGHT, max_skipped=1.0)
    assert write_index(tars, limits=Limits(max_gop=8)).samples == 4
    assert ShardIndex.open(tmp_path).limits.max_gop == 8
    assert write_index(tars, limits=Limits(max_gop=8)).nothing_to_do
    assert not write_index(tars).nothing_to_do
    assert ShardIndex.open(tmp_path).limits == DEFAULT


def test_pictures_that_pil_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(file, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(file.getvalue(), Limits(max_pixels=2400)).shape == (40, 60, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(VideoError, match="could be decompression bomb") as caught:
        decode(file.getvalue(), Limits(max_pixels=999))
    assert caught.value.kind == "too-large"
