"""Sharding real files: what is written, what is skipped, and that it depends on nothing else."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import re
import tarfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_helpers import make_samples, tree

from vtr.data import video
from vtr.data.annotations import READERS, ReaderOptions, Sample, read, take_census
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape
from vtr.data.manifest import ShardSummary
from vtr.data.shards import Progress, write_shards
from vtr.data.store import VideoStore
from vtr.errors import DataError, InputError, WorkError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"


def shard(samples: Sequence[Sample], out: Path, **options: Any) -> ShardSummary:
    options = {"reader": "table", "source": "t.csv", "per_shard": 4, "workers": 2, **options}
    return write_shards(samples, out, **options)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return make_samples(tmp_path_factory.mktemp("videos"), 10)


@pytest.fixture(scope="module")
def whole(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished shard directory; tests only read it."""
    out = tmp_path_factory.mktemp("whole") / "shards"
    seen: list[Progress] = []
    summary = shard(samples, out, progress=seen.append)
    assert summary == ShardSummary(
        out=out, samples=10, captions=15, shards=3, bytes=summary.bytes, duration_s=10.0, decoders={"decord": 10}
    )
    assert summary.bytes == sum(path.stat().st_size for path in out.glob("*.tar"))
    assert seen[-1] == Progress(10, 10, 0, summary.bytes)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    return out


def test_files_and_manifest(whole: Path) -> None:
    files = ["000000.tar", "000001.tar", "000002.tar", "index.parquet", "manifest.json", "skipped.jsonl"]
    assert sorted(path.name for path in whole.iterdir()) == files
    manifest = json.loads((whole / "manifest.json").read_text())
    assert (manifest["samples"], manifest["captions"]) == (10, 15)
    assert manifest["index"]["sha256"] == hashlib.sha256((whole / "index.parquet").read_bytes()).hexdigest()
    assert manifest["shards"][2] == {"name": "000002.tar", "bytes": (whole / "000002.tar").stat().st_size, "samples": 2}
    assert (whole / "skipped.jsonl").read_bytes() == b""


def test_the_documentation_has_the_fields_of_a_manifest(samples: list[Sample], tmp_path: Path) -> None:
    census = take_census("table", "t.csv", ReaderOptions(), samples[:2]).record()
    shard(samples[:2], tmp_path / "out", census=census)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    page = (Path(__file__).parents[2] / "docs/data.md").read_text("utf-8").split("### manifest.json", 1)[1]
    rows = page.split("| field | |", 1)[1].strip().split("\n\n", 1)[0].splitlines()[1:]
    cells = [row.split(" | ", 1) for row in rows]
    assert [name for names, _ in cells for name in re.findall(r"`(\w+)`", names)] == list(manifest)
    about = {names.strip("| `"): re.findall(r"`([\w.]+)`", text) for names, text in cells}
    assert about["census"] == list(manifest["census"])
    assert about["plan"] == list(manifest["plan"])
    assert about["index"] == ["index.parquet", *manifest["index"]]


def test_each_member_is_as_webdataset_writes_it(samples: list[Sample], tmp_path: Path) -> None:
    """Its writer sorts the members of a sample, ours puts the json first; so it gets them one at a time."""
    import webdataset

    shard(samples[:3], tmp_path / "out", store="frames")
    ours, theirs = tmp_path / "out" / "000000.tar", tmp_path / "theirs.tar"
    with tarfile.open(ours) as tar, webdataset.TarWriter(str(theirs), mtime=0, encoder=False) as writer:
        names = tar.getnames()
        for member in tar:
            key, _, ext = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            writer.write({"__key__": key, ext: file.read()})
    assert ours.read_bytes() == theirs.read_bytes()
    wanted = ["json", *(f"{n:04d}.jpg" for n in range(4))]
    assert names == [f"{sample.key}.{ext}" for sample in samples[:3] for ext in wanted]


def test_webdataset_reads_our_tars_unaided(whole: Path, samples: list[Sample]) -> None:
    import webdataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its last tar open
        found = list(webdataset.WebDataset(str(whole / "{000000..000002}.tar"), shardshuffle=False))
        gc.collect()
    assert [sample["__key__"] for sample in found] == [sample.key for sample in samples]
    for got, sample in zip(found, samples, strict=True):
        about = json.loads(got["json"])
        assert isinstance(sample.video, Path)
        assert got["mp4"] == sample.video.read_bytes()
        assert about["captions"] == list(sample.captions)
        assert about["caption"] == sample.captions[0]
        assert (about["key"], about["split"], about["source"]) == (sample.key, sample.split, sample.source)
        assert about["meta"] == dict(sample.meta)
        assert (about["frames"], about["fps"], about["duration_s"]) == (8, 8.0, 1.0)
        assert (about["width"], about["height"], about["decoder"]) == (176, 144, "decord")
        assert about["sha256"] == hashlib.sha256(got["mp4"]).hexdigest()


def test_the_index_reads_every_member_back(whole: Path, samples: list[Sample]) -> None:
    index = ShardIndex.open(whole)
    assert len(index) == 10
    assert index.shard_of.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    for i, sample in enumerate(samples):
        assert isinstance(sample.video, Path)
        assert index.key(i) == sample.key
        assert index.captions(i) == list(sample.captions)
        assert index.info(i).split == sample.split
        assert [member.ext for member in index.members(i)] == ["json", "mp4"]
        data = index.read_video(i)
        assert data == sample.video.read_bytes()
        assert video.read_frames(data, [0, 7], index.info(i).decoder).shape == (2, 144, 176, 3)


def test_bytes_depend_on_the_samples_alone(whole: Path, samples: list[Sample], tmp_path: Path) -> None:
    summary = shard(samples, tmp_path / "one", workers=1, max_skipped=0.5)
    assert (summary.continued, summary.nothing_to_do) == (0, False)
    assert tree(tmp_path / "one") == tree(whole)


def test_a_second_run_has_nothing_to_do(whole: Path, samples: list[Sample]) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    summary = shard(samples, whole, source="the same table by another path")
    assert summary.nothing_to_do
    assert (summary.samples, summary.captions, summary.shards) == (10, 15, 3)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_another_plan_is_refused_and_says_what_differs(whole: Path, samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other arguments: per_shard was 4 and is 5\n  hint: shard into another"):
        shard(samples, whole, per_shard=5)
    with pytest.raises(DataError, match="reader was table and is folder, split was None and is test"):
        shard(samples, whole, reader="folder", options={"split": "test"})
    with pytest.raises(DataError, match=r"t\.csv has changed since .*: it gave 10 samples, now it gives 9"):
        shard(samples[:9], whole)
    other = replace(samples[5], captions=("another",))
    with pytest.raises(DataError, match=r"t\.csv has changed since .*: among clip-004 \.\.\. clip-007 a caption"):
        shard([*samples[:5], other, *samples[6:]], whole)
    grown = tmp_path / "grown.mp4"
    assert isinstance(samples[0].video, Path)
    grown.write_bytes(samples[0].video.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"among clip-000 \.\.\. clip-003 .* the size of a video"):
        shard([replace(samples[0], video=grown), *samples[1:]], whole)


def test_a_finished_directory_that_lost_something(whole: Path, samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, data in tree(whole).items():
        out.mkdir(exist_ok=True)
        (out / name).write_bytes(data)
    (out / "index.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"index\.parquet is not the one that was written"):
        shard(samples, out)
    (out / "000001.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"000001\.tar has 0 bytes, the index says"):
        shard(samples, out)
    (out / "000001.tar").unlink()
    with pytest.raises(DataError, match=r"000001\.tar is missing"):
        shard(samples, out)
    sound = json.loads((whole / "manifest.json").read_bytes())
    for text in ("{}", json.dumps(sound | {"census": 3}), json.dumps(sound | {"census": {"warnings": [[]]}})):
        (out / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=r"manifest\.json is damaged"):
            shard(samples, out)


def bad_samples(samples: list[Sample], folder: Path) -> list[Sample]:
    """The samples, with five more whose videos are no good in five ways."""
    assert isinstance(samples[0].video, Path)
    good = samples[0].video.read_bytes()
    (folder / "cut.mp4").write_bytes(good[: len(good) // 3])
    (folder / "page.mp4").write_bytes(b"<html>404 Not Found</html>" * 100)
    (folder / "zero.mp4").touch()
    names = ["cut", "page", "zero", "gone"]
    bad = [Sample(name, folder / f"{name}.mp4", ("x",), source=f"{name}.mp4") for name in names]
    silent = Sample("silent", samples[0].video, (), source="silent.mp4")
    return [*samples[:3], *bad[:2], *samples[3:], *bad[2:], silent]


def test_what_cannot_be_decoded_is_named_and_counted(samples: list[Sample], tmp_path: Path) -> None:
    mixed = bad_samples(samples, tmp_path)
    out = tmp_path / "out"
    with pytest.raises(WorkError, match=r"5 of 15 samples were skipped, more than 0\.05 of them: 1 empty, ") as caught:
        shard(mixed, out, per_shard=3)
    assert caught.value.exit_code == 1
    assert "cut.mp4 (truncated: " in caught.value.message
    assert "accept that with --max-skipped 0.34" in caught.value.hint
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [(entry["key"], entry["kind"]) for entry in skipped] == [
        ("cut", "truncated"),
        ("page", "not-video"),
        ("zero", "empty"),
        ("gone", "missing"),
        ("silent", "no-caption"),
    ]
    assert all(set(entry) == {"key", "video", "kind", "message"} for entry in skipped)
    # What was good is all there, the shard of only bad samples has no tar, and accepting that needs no new work.
    index = ShardIndex.open(out)
    assert [index.key(i) for i in range(len(index))] == [sample.key for sample in samples]
    assert [s.name for s in index.shards] == ["000000.tar", "000001.tar", "000002.tar", "000003.tar"]
    assert not (out / "000004.tar").exists()
    told = (out / "skipped.jsonl").read_text()
    (out / "skipped.jsonl").write_text("edited by hand\n" + told)
    with pytest.raises(WorkError, match=r"5 of 15 samples were skipped, .*; first: edited by hand; cut\.mp4 \("):
        shard(mixed, out, per_shard=3)
    (out / "skipped.jsonl").write_text(told)
    summary = shard(mixed, out, per_shard=3, max_skipped=0.34)
    assert summary.nothing_to_do
    assert summary.skipped == {"empty": 1, "missing": 1, "no-caption": 1, "not-video": 1, "truncated": 1}


def test_a_path_that_no_file_can_have_is_a_bad_file_like_any(samples: list[Sample], tmp_path: Path) -> None:
    from vtr import api

    long = "d" * 300 + "/v.mp4"
    rows = [*((str(sample.video), "a clip") for sample in samples[:3]), (long, "too long")]
    (tmp_path / "t.csv").write_text("\n".join(["video,caption", *(",".join(row) for row in rows)]) + "\n")
    summary = api.shard("table", str(tmp_path / "t.csv"), tmp_path / "out", workers=1, max_skipped=0.25)
    assert (summary.samples, summary.skipped) == (3, {"missing": 1})
    assert "1 of 4 media files are not there" in summary.warnings[0]
    skipped = json.loads((tmp_path / "out" / "skipped.jsonl").read_text())
    assert skipped["video"] == long
    assert skipped["message"].endswith("v.mp4 cannot be read: File name too long")
    # The annotations of others may even hold a NUL byte.
    shard([*samples[:3], replace(samples[3], video=Path("a\0b.mp4"))], tmp_path / "nul", max_skipped=0.25)
    skipped = json.loads((tmp_path / "nul" / "skipped.jsonl").read_text())
    assert (skipped["kind"], skipped["message"]) == ("missing", "'a\\x00b.mp4' is no path: embedded null byte")


def test_when_nothing_is_left(samples: list[Sample], tmp_path: Path) -> None:
    lost = [replace(sample, video=tmp_path / sample.source) for sample in samples]
    with pytest.raises(WorkError, match="10 of 10 samples were skipped") as caught:
        shard(lost, tmp_path / "out", max_skipped=1.0)
    assert "--root says where relative paths start" in caught.value.hint
    with pytest.raises(DataError, match="holds no samples"):
        ShardIndex.open(tmp_path / "out")


def test_bad_arguments(samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="there are no samples to shard"):
        shard([], out)
    with pytest.raises(DataError, match="0 samples a shard, at least 1"):
        shard(samples, out, per_shard=0)
    with pytest.raises(InputError, match="0 workers, at least 1"):
        shard(samples, out, workers=0)
    with pytest.raises(InputError, match="5 is no share of the samples"):
        shard(samples, out, max_skipped=5)
    with pytest.raises(DataError, match=r"'a\.b' is no key"):
        shard([replace(samples[0], key="a.b")], out)
    with pytest.raises(DataError, match="two videos have the key 'clip-000'"):
        shard([samples[0], samples[0]], out)
    assert not out.exists()
    out.write_text("")
    with pytest.raises(DataError, match="out is a file, shards need a directory"):
        shard(samples, out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "a.tar").touch()
    with pytest.raises(DataError, match=r"foreign has tars but no manifest\.json"):
        shard(samples, foreign)
    assert [path.name for path in foreign.iterdir()] == ["a.tar"]


def test_files_of_others_stay(samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = [".parts/notes.txt", ".parts/own/000000.parquet", ".parts/a.parquet", ".parts/b.tmp-1", ".c.tmp-2"]
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    (out / ".parts" / "000000.tar.tmp-1").write_text("begun by a run of ours")
    for _ in range(2):
        shard(samples[:3], out)
        assert all((out / name).read_text() == name for name in mine)
        assert sorted(path.name for path in (out / ".parts").iterdir()) == ["a.parquet", "b.tmp-1", "notes.txt", "own"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "a.tmp-1").touch()
    with pytest.raises(DataError, match=r"has other files in it: a\.tmp-1"):
        shard(samples[:3], foreign)
    assert (foreign / "a.tmp-1").exists()


def test_without_checking_any_bytes_are_stored(tmp_path: Path) -> None:
    (tmp_path / "x.avi").write_bytes(b"not a video")
    summary = shard(
        [Sample("x", tmp_path / "x.avi", ("x",), source="x.avi")], tmp_path / "out", store=VideoStore(check=False)
    )
    assert summary.samples == 1
    index = ShardIndex.open(tmp_path / "out")
    assert index.read(0, ["avi"]) == {"avi": b"not a video"}
    with pytest.raises(DataError, match=r"x in .*out was stored without being looked at: nobody knows how many frames"):
        ClipDataset(index, ClipShape(frames=2, size=16, resize=16), training=True)[0, 0]


def test_readers_to_tars_in_the_order_of_containers(tmp_path: Path, samples: list[Sample]) -> None:
    """json stands first whatever the container's name sorts like, and the container is what the bytes are."""
    import av

    for name in ("a.avi", "b.mp4"):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="avi") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
            for t in range(4):
                picture = np.full((144, 176, 3), 40 * t, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        (tmp_path / name).write_bytes(buffer.getvalue())
        (tmp_path / name).with_suffix(".txt").write_text("grey grows lighter")
    summary = shard(READERS["folder"](str(tmp_path), ReaderOptions()), tmp_path / "out", reader="folder")
    assert summary.decoders == {"pyav": 2}
    index = ShardIndex.open(tmp_path / "out")
    assert [[m.ext for m in index.members(i)] for i in range(2)] == [["json", "avi"]] * 2


def test_the_real_clips(tmp_path: Path) -> None:
    if not (SHARED / "clips").is_dir():
        pytest.skip("the real clips are not beside the repository")
    table = SHARED / "clips" / "captions.csv"
    summary = shard(read("table", str(table)), tmp_path / "out", source=str(table), per_shard=None)
    assert (summary.samples, summary.captions, summary.skipped) == (61, 122, {})
    index = ShardIndex.open(tmp_path / "out")
    assert sum(len(index.captions(i)) for i in range(len(index))) == 122
    for i in range(len(index)):
        assert hashlib.sha256(index.read_video(i)).hexdigest() == index.info(i).sha256


def test_what_a_data_set_lacks_is_told_each_time(tmp_path: Path) -> None:
    from vtr import api
    from vtr.data import synthetic

    text = "-4wsuPCjDBc_5_15 a squirrel is eating a peanut\nvTAnnW0ypPs_10_20 a man is shooting a gun\n"
    (tmp_path / "AllVideoDescriptions.txt").write_text(text)
    (tmp_path / "test_list.txt").write_text("-4wsuPCjDBc_5_15\nvTAnnW0ypPs_10_20\n")
    (tmp_path / "YouTubeClips").mkdir()
    scene = next(synthetic.scenes(0, "train"))
    clip = synthetic.encode(synthetic.render(scene))
    (tmp_path / "YouTubeClips" / "vTAnnW0ypPs_10_20.avi").write_bytes(clip)

    def shard() -> tuple[str, ...]:
        return api.shard("msvd", str(tmp_path), tmp_path / "out", split="test", max_skipped=0.5, workers=1).warnings

    warnings = shard()
    assert "MSVD test is not the whole official set: the annotations have 2 videos (published: 670)" in warnings
    assert "1 of 2 media files are not there" in warnings[1]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["census"]["missing"] == 1
    assert shard() == warnings, "a directory that is whole tells them too"
