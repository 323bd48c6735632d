"""Tars of others: an index of them says the truth, leaves out by name, opens no pickle, and trains like our own."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from shard_helpers import make_samples, make_video, tree

from vtr.data import captions, index_file, patterns, stored
from vtr.data.foreign import IndexSummary, write_index
from vtr.data.index import ShardIndex
from vtr.data.manifest import warnings_of
from vtr.data.shards import write_shards
from vtr.data.store import FrameStore, VideoStore
from vtr.data.transcode import SmallVideoStore
from vtr.data.verify import verify
from vtr.errors import DataError, InputError, VideoError, WorkError

CORPUS = Path(__file__).resolve().parents[2] / ".." / "shared" / "corpus" / "tars"


def index(where: Path | str, **options: Any) -> IndexSummary:
    return write_index(patterns.find(str(where)), **options)


def videos(tmp_path: Path, count: int) -> list[bytes]:
    return [make_video(tmp_path / "videos" / f"{i}.mp4", i).read_bytes() for i in range(count)]


def add_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar as `tar` itself would write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    picture = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    Image.fromarray(picture).resize((64, 48)).save(file, "JPEG")
    return file.getvalue()


def test_what_shard_writer_writes(tmp_path: Path) -> None:
    made = videos(tmp_path, 5)
    (tmp_path / "out").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "out" / "%06d.tar"), maxcount=2, verbose=0) as writer:
        for i, data in enumerate(made):
            writer.write({"__key__": f"clip{i}", "mp4": data, "txt": f"clip number {i}\n", "cls": 3})
    summary = index(tmp_path / "out")
    assert (summary.tars, summary.samples, summary.captions, summary.skipped) == (3, 5, 5, {})
    assert summary.remarks == {"ignored": 5}, "the .cls members"
    opened = ShardIndex.open(tmp_path / "out")
    assert [opened.key(i) for i in range(5)] == [f"clip{i}" for i in range(5)]
    assert opened.captions(4) == ["clip number 4"]
    assert [opened.read_video(i) for i in range(5)] == made
    assert stored.read_frames(opened, 2, [0, 7]).shape == (2, 144, 176, 3)
    assert opened.info(0).frames == 8
    assert verify(opened).problems == ()
    assert index(tmp_path / "out").nothing_to_do


def test_video2dataset_and_img2dataset(tmp_path: Path) -> None:
    made = videos(tmp_path, 2)
    for shard in range(2):
        about = json.dumps({"caption": f"film {shard}", "url": "http://x/", "key": f"{shard}0000"}).encode()
        add_tar(
            tmp_path / "v2d" / f"0000{shard}.tar",
            [(f"{shard}0000.mp4", made[shard]), (f"{shard}0000.txt", f"film {shard}".encode()),
             (f"{shard}0000.json", about)],
        )  # fmt: skip
        (tmp_path / "v2d" / f"0000{shard}_stats.json").write_text("{}")
    add_tar(
        tmp_path / "i2d" / "00000.tar",
        [member for i in range(3) for member in (
            (f"{i:09d}.jpg", jpeg(i)), (f"{i:09d}.json", json.dumps({"caption": f"bild {i}"}).encode()),
            (f"{i:09d}.txt", f"bild {i}".encode()))],
    )  # fmt: skip
    assert index(tmp_path / "v2d").samples == 2
    summary = index(tmp_path / "i2d")
    assert (summary.samples, summary.decoders) == (3, {"image": 3})
    opened = ShardIndex.open(tmp_path / "i2d")
    assert opened.captions(2) == ["bild 2"]
    assert stored.read_frames(opened, 1, [0, 0, 0]).shape == (3, 48, 64, 3), "an image is a clip of one frame"


def test_tars_that_each_count_from_zero(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_tar(tmp_path / f"{name}.tar", [("0.jpg", jpeg(ord(name))), ("0.txt", name.encode())])
    index(tmp_path)
    opened = ShardIndex.open(tmp_path)
    assert [opened.key(i) for i in range(2)] == ["a/0", "b/0"]
    assert opened.read(1, ["txt"]) == {"txt": b"b"}


def test_no_pickle_is_opened_and_no_path_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "opened",))

    data = videos(tmp_path, 1)[0]
    trap = pickle.dumps(Trap())
    add_tar(
        tmp_path / "out" / "a.tar",
        [("../../escaped.mp4", data), ("../../escaped.txt", b"up"), ("/etc/abs.mp4", data), ("/etc/abs.txt", b"abs"),
         ("k.mp4", data), ("k.txt", b"k"), ("k.pkl", trap), ("k.pyd", trap), ("k.pth", trap), ("k.npy", trap)],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    summary = index(tmp_path / "out")
    assert summary.samples == 3
    assert summary.remarks == {"ignored": 4}
    names = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert names == {"index.parquet", "skipped.jsonl"}, "nothing was unpickled or unpacked"
    opened = ShardIndex.open(tmp_path / "out")
    assert opened.key(0) == "../../escaped"
    assert [member.ext for member in opened.members(2)] == ["mp4", "txt"]


def test_an_index_that_names_a_tar_outside(tmp_path: Path) -> None:
    add_tar(tmp_path / "in" / "a.tar", [("0.jpg", jpeg(0)), ("0.txt", b"x")])
    index(tmp_path / "in")
    table = index_file.pq.read_table(tmp_path / "in" / index_file.NAME)
    for name in ("../a.tar", str(tmp_path / "in" / "a.tar")):
        index_file.write_index(tmp_path / "in" / index_file.NAME, table, [index_file.Shard(name, 10240, 1)])
        with pytest.raises(DataError, match="names a tar outside of its directory"):
            ShardIndex.open(tmp_path / "in")


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    good = videos(tmp_path, 1)[0]
    out = tmp_path / "out"
    add_tar(
        out / "a.tar",
        [("ok.mp4", good), ("ok.txt", b"fine"), ("bad.mp4", b"no video"), ("bad.txt", b"x"), ("mute.mp4", good),
         ("mute.json", b'{"url": "u"}'), ("latin.mp4", good), ("latin.txt", b"\xe9"), ("torn.mp4", good),
         ("torn.json", b'{"caption": ')],
    )  # fmt: skip
    (out / "b.tar").write_bytes(b"<html>")
    with pytest.raises(WorkError, match=r"5 of 6 samples are left out of the index of .*2 bad-caption") as caught:
        index(out)
    assert "--max-skipped 0.84" in caught.value.hint
    entries = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {entry["video"]: entry["kind"] for entry in entries} == {
        "a.tar/bad": "not-video", "a.tar/mute": "no-caption", "a.tar/latin": "bad-caption",
        "a.tar/torn": "bad-caption", "b.tar": "bad-tar",
    }  # fmt: skip
    assert len(ShardIndex.open(out)) == 1
    (out / "a.tar").unlink()
    with pytest.raises(DataError, match=r"hold no sample that can be used: .*is no tar"):
        index(out, max_skipped=1.0)


def pictures(path: Path, count: int) -> Path:
    """A tar of `count` images with captions."""
    members = [
        (f"{path.stem}{n:03}.{ext}", data) for n in range(count) for ext, data in (("jpg", jpeg(n)), ("txt", b"x"))
    ]
    return add_tar(path, members)


def test_a_tar_that_is_lost_is_more_than_a_sample(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        pictures(tmp_path / f"{name}.tar", 30)
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:6000])
    (tmp_path / "c.tar").write_bytes(b"")
    (tmp_path / "d.tar").write_bytes(gzip.compress((tmp_path / "d.tar").read_bytes()))
    lost = "3 of 4 tars cannot be read to their end, what they held is lost: b.tar, c.tar, d.tar"
    for _ in range(2):
        with pytest.raises(WorkError, match=lost) as caught:
            index(tmp_path, max_skipped=0.2)
        assert "skipped.jsonl names them; accept that with --max-skipped 0.75" in caught.value.hint
    assert index(tmp_path, max_skipped=0.75).damaged == ("b.tar", "c.tar", "d.tar")
    [told] = warnings_of(ShardIndex.open(tmp_path))
    assert "has 2 tars that its index leaves out: c.tar, d.tar; vtr inspect" in told
    for name in ("c", "d"):
        (tmp_path / f"{name}.tar").unlink()
    with pytest.raises(WorkError, match=r"1 of 2 tars .*: b\.tar"):
        index(tmp_path, max_skipped=0.1)
    again = index(tmp_path, max_skipped=0.5)
    assert (again.nothing_to_do, again.damaged, again.skipped["bad-tar"]) == (True, ("b.tar",), 1)
    with pytest.raises(WorkError, match=r"1 of 2 tars .*: b\.tar"):
        index(tmp_path, max_skipped=0.1)
    (tmp_path / "skipped.jsonl").write_text("{}")
    assert not index(tmp_path, max_skipped=0.5).nothing_to_do, "what it left out is not known any more"
    for limit in (float("nan"), 2):
        with pytest.raises(InputError, match="is no share of the samples"):
            index(tmp_path, max_skipped=limit)


def test_a_video_that_is_cut_short_is_no_lost_tar(tmp_path: Path) -> None:
    whole = videos(tmp_path, 1)[0]
    members = [(f"{n}.{ext}", data) for n in range(4) for ext, data in (("mp4", whole), ("txt", b"x"))]
    add_tar(tmp_path / "a.tar", [("torn.mp4", whole[: len(whole) // 2]), ("torn.txt", b"x"), *members])
    summary = index(tmp_path, max_skipped=0.3)
    assert (summary.samples, summary.damaged, sum(summary.skipped.values())) == (4, (), 1)


def test_one_bad_character_costs_one_sample(tmp_path: Path) -> None:
    good = [("b.jpg", jpeg(1)), ("b.txt", b"bee")]
    for name, odd, kind, words in (
        ("latin", {b"caf\xe9.jpg": jpeg(0), b"caf\xe9.txt": b"coffee"}, "bad-key", "are not UTF-8: 'caf"),
        ("end", {b"a.jpg": jpeg(0), b"a.\xe9.txt": b"coffee"}, "bad-key", "are not UTF-8: 'a'"),
        ("half", {b"a.jpg": jpeg(0), b"a.json": b'{"caption": "\\ud83d"}'}, "bad-caption", "its caption has half"),
        ("split", {b"a.jpg": jpeg(0), b"a.json": b'{"text": "x", "split": "\\ud83d"}'}, "bad-caption", "the split"),
    ):
        members = [(stem.decode("utf-8", "surrogateescape"), data) for stem, data in odd.items()]
        add_tar(tmp_path / name / "a.tar", members + good)
        summary = index(tmp_path / name, max_skipped=0.5)
        assert (summary.samples, summary.skipped) == (1, {kind: 1})
        [entry] = [json.loads(line) for line in (tmp_path / name / "skipped.jsonl").read_text().splitlines()]
        assert words in entry["message"]
        opened = ShardIndex.open(tmp_path / name)
        assert (opened.key(0), opened.captions(0)) == ("b", ["bee"])
        assert verify(opened).samples == 1
    (tmp_path / "half" / "a.tar").rename(tmp_path / "half" / os.fsdecode(b"\xe9.tar"))
    with pytest.raises(DataError, match=r"the name of '.udce9\.tar' in .* is not UTF-8"):
        index(tmp_path / "half")


def test_captions_stand_in_many_places() -> None:
    both = {"json": b'{"captions": ["a", "b "], "caption": "a"}', "txt": b"c"}
    assert captions.read(both) == ["a", "b"]
    assert captions.read({"json": b'{"caption": "a"}', "txt": b"c\n"}) == ["c"]
    assert captions.read({"json": b'{"text": ["a", "", 3]}'}) == ["a"]
    assert captions.read({"title.txt": b"a"}) == ["a"]
    assert captions.read({"caption": "\ufeffü".encode()}) == ["ü"]
    assert captions.read({"json": b'{"alt": "a"}', "txt": b"c"}, "alt") == ["a"]
    for members, field, kind, words in (
        ({"json": b'{"alt": "a"}'}, "title", "no-caption", "no text under 'title'; it has alt"),
        ({"txt": b"  "}, None, "no-caption", "none of its members txt"),
        ({}, None, "no-caption", "no member txt, caption or json; a key ends at the first dot"),
        ({"a.txt": b"a", "b.txt": b"b"}, None, "no-caption", r"which of a\.txt, b\.txt is its caption\?"),
        ({"json": b"[" * 100_000}, None, "bad-caption", "its json cannot be read"),
        ({"txt": b"fine", "json": b"{"}, None, "bad-caption", "its json cannot be read"),
        ({"json": b'{"captions": ["a", "\\ud83d"]}'}, None, "bad-caption", "its caption has half a surrogate pair"),
        ({"txt": b"a" * (1 << 21)}, None, "bad-caption", "its txt has 2097152 bytes"),
    ):
        with pytest.raises(VideoError, match=words) as caught:
            captions.read(members, field)
        assert caught.value.kind == kind


def test_dots_in_names(tmp_path: Path) -> None:
    data = videos(tmp_path, 1)[0]
    add_tar(tmp_path / "named" / "a.tar", [("x.video.mp4", data), ("x.caption.txt", b"named")])
    index(tmp_path / "named")
    assert ShardIndex.open(tmp_path / "named").captions(0) == ["named"]
    both = [(f"clip.v{n}.{ext}", bytes_) for n in (1, 2) for ext, bytes_ in (("mp4", data), ("txt", b"x"))]
    add_tar(tmp_path / "both" / "a.tar", both)
    words = (
        r"2 samples, clip\.v1 and clip\.v2 among them, fall into one: the key of a WebDataset sample ends at the first "
        r"dot; write them without one, as clip_v1"
    )
    with pytest.raises(DataError, match=words):
        index(tmp_path / "both")
    (tmp_path / "writer").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "writer" / "%06d.tar"), verbose=0) as writer:
        for n in range(3):
            writer.write({"__key__": f"clip.{n}", "mp4": data, "txt": "x"})
        writer.write({"__key__": "other", "mp4": data, "v2.mp4": data, "txt": "x"})
    with pytest.raises(WorkError, match=r"1 of 2 samples are left out of the index of .*: 1 dots-in-key"):
        index(tmp_path / "writer")
    summary = index(tmp_path / "writer", max_skipped=0.5, split="val")
    assert (summary.skipped, summary.remarks["several-videos"]) == ({"dots-in-key": 1}, 1)


@pytest.mark.parametrize("store", [VideoStore(), FrameStore(frames=3, short_side=96), SmallVideoStore(short_side=96)])
def test_an_index_of_ours_that_was_lost_is_made_again(tmp_path: Path, store: Any) -> None:
    out = tmp_path / "out"
    write_shards(make_samples(tmp_path / "v", 4), out, reader="table", source="t", per_shard=2, workers=1, store=store)
    before = tree(out)
    (out / "index.parquet").unlink()
    index(out)
    assert tree(out) == before


def test_interrupted_and_changed(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        add_tar(tmp_path / f"{name}.tar", [(f"{name}.jpg", jpeg(ord(name))), (f"{name}.txt", name.encode())])
    index(tmp_path)
    whole = tree(tmp_path)
    (tmp_path / "index.parquet").unlink()

    def stop(done: int, total: int) -> None:
        assert total == 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(tmp_path, progress=stop)
    assert len(list((tmp_path / ".indexing").glob("*.parquet"))) >= 1
    counted: list[int] = []
    index(tmp_path, progress=lambda done, total: counted.append(done))
    assert len(counted) < 3, "what was done is not done again"
    assert tree(tmp_path) == whole
    (tmp_path / "index.parquet").unlink()
    with pytest.raises(KeyboardInterrupt):
        index(tmp_path, progress=stop)
    for part in (tmp_path / ".indexing").glob("*.parquet"):  # as another version of vtr would have left them
        pq.write_table(pq.read_table(part).drop_columns(["width"]), part)
    index(tmp_path)
    assert tree(tmp_path) == whole
    add_tar(tmp_path / "c.tar", [("d.jpg", jpeg(4)), ("d.txt", b"four"), ("e.jpg", jpeg(5)), ("e.txt", b"five")])
    assert index(tmp_path).samples == 4


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    for n in range(3):
        add_tar(tmp_path / f"{n}.tar", [(f"{n}.jpg", jpeg(n)), (f"{n}.txt", b"word " * 50)])
    index(tmp_path)
    whole, path = tree(tmp_path), tmp_path / index_file.NAME
    sound = path.read_bytes()
    for at in [*range(10, len(sound), len(sound) // 6), len(sound) - 6]:
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x11]) + sound[at + 1 :])
        index(tmp_path)
        assert index_file.read_whole(path)[1].num_rows == 3
        assert ShardIndex.open(tmp_path).captions(2) == [("word " * 50).strip()]
    path.unlink()
    index(tmp_path)
    assert tree(tmp_path) == whole
    table = index_file.pq.read_table(path)
    other = table.set_column(0, table.schema.field(0), index_file.pa.array(["a", "b", "c"], "large_string"))
    meta = index_file.pq.read_schema(path).metadata
    index_file.pq.write_table(other.replace_schema_metadata(meta), path, write_page_checksum=True)
    with pytest.raises(DataError, match="damaged: its rows are not those that it has the digest of"):
        index_file.read_whole(path)
    assert not index(tmp_path).nothing_to_do, "sound pages of other rows"
    assert tree(tmp_path) == whole


def test_another_way_to_read_them_makes_the_index_anew(tmp_path: Path) -> None:
    about = json.dumps({"caption": "usual", "alt": "other"}).encode()
    add_tar(tmp_path / "a.tar", [("0.jpg", jpeg(0)), ("0.json", about)])
    ways: list[tuple[dict[str, str], str, str]] = [
        ({}, "usual", ""),
        ({"caption_key": "alt"}, "other", ""),
        ({"caption_key": "alt", "split": "val"}, "other", "val"),
        ({"split": "val"}, "usual", "val"),
        ({}, "usual", ""),
    ]
    for options, caption, split in ways:
        assert not index(tmp_path, **options).nothing_to_do
        opened = ShardIndex.open(tmp_path)
        assert (opened.captions(0), opened.info(0).split) == ([caption], split)
        assert index(tmp_path, **options).nothing_to_do, "the same again"


def test_tars_that_are_not_named_are_not_dropped(tmp_path: Path) -> None:
    for n in range(4):
        add_tar(tmp_path / f"{n}.tar", [(f"{n}.jpg", jpeg(n)), (f"{n}.txt", b"x")])
    index(f"{tmp_path}/{{0..1}}.tar")
    before = tree(tmp_path)
    with pytest.raises(DataError, match=r"index\.parquet also has 0\.tar and 1 more; .*\n.*index all of them together"):
        index(f"{tmp_path}/{{2..3}}.tar")
    with pytest.raises(DataError, match=r"index\.parquet also has 0\.tar; an index of what was named would lose that"):
        index(f"{tmp_path}/{{1..3}}.tar")
    assert tree(tmp_path) == before
    (tmp_path / "0.tar").unlink()
    assert index(f"{tmp_path}/{{1..3}}.tar").samples == 3, "what is gone is not missed"
    assert index(tmp_path).nothing_to_do


def test_what_follows_the_end_of_a_tar_is_told(tmp_path: Path) -> None:
    """Two tars put together by `cat`: readers stop at the end of the first."""
    one, two = (add_tar(tmp_path / f"{n}", [(f"{n}.jpg", jpeg(n)), (f"{n}.txt", b"x")]) for n in range(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "both.tar").write_bytes(one.read_bytes() + two.read_bytes())
    summary = index(tmp_path / "out")
    assert (summary.samples, summary.remarks) == (1, {"after-end": 1})
    assert [one["kind"] for one in verify(ShardIndex.open(tmp_path / "out")).problems] == ["after-end"]


def test_patterns(tmp_path: Path) -> None:
    for name in ("x/000", "x/001", "x/002", "y/000"):
        stem = name.replace("/", "")
        add_tar(tmp_path / f"{name}.tar", [(f"{stem}.jpg", jpeg(len(name))), (f"{stem}.txt", name.encode())])
    found = patterns.find(f"{tmp_path}/x/{{000..002}}.tar")
    assert (found.root, found.names) == (tmp_path / "x", ("000.tar", "001.tar", "002.tar"))
    assert patterns.find(f"{tmp_path}/x/*.tar") == found == patterns.find(f"{tmp_path}/x")
    both = f"{tmp_path}/{{x/{{000..001}},y/000}}.tar"
    assert patterns.find(both).names == ("x/000.tar", "x/001.tar", "y/000.tar")
    assert index(both).samples == 3
    opened = ShardIndex.open(both)
    assert opened.captions(2) == ["y/000"]
    with pytest.raises(DataError, match=r"x/002.tar is not in the index of .*, which has 3 tars"):
        ShardIndex.open(f"{tmp_path}/{{x/{{000..002}},y/000}}.tar")
    for pattern, words in (
        (f"{tmp_path}/x/{{000..003}}.tar", r"003.tar does not exist, .* names it"),
        (f"{tmp_path}/z/*.tar", "no file is called"),
        (f"{tmp_path}/{{x.tar", "does not exist|do not match"),
        (f"{tmp_path}/nowhere", "does not exist"),
        (f"{tmp_path}", "has no tars"),
        ("pipe:touch x.tar", "is no path"),
        ("https://example.org/{000..002}.tar", "is no path"),
        ("a.tar::b.tar", "is no path"),
        *(
            (f"{many}.tar", "names more than 1000000 tars")
            for many in (
                "{0..99999999}",
                "{-1..1000000}",
                "{5..-2000000}",
                "{a,b}" * 21,
                "{x," + "{a,b}" * 40 + "}",
                "{a..z}" * 5,
                "{0..9999999..3}",
                "{" + "9" * 30 + ".." + "1" * 30 + "}",
            )
        ),
        ("{" * 2000 + "a.tar" + "}" * 2000, "do not match"),
        ("{0..9999999..1000}.tar", "0.tar does not exist"),  # ten thousand
        ("{" + ",".join("{a}{0..2000}" for _ in range(3)) + "}.tar", "does not exist"),  # six thousand
    ):
        with pytest.raises(DataError, match=words):
            patterns.find(pattern)


def test_the_corpus_of_tricky_tars(tmp_path: Path) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of tricky tars is not beside the repository")
    for tar in CORPUS.glob("*.tar"):
        shutil.copy(tar, tmp_path)
    summary = index(tmp_path, max_skipped=1.0)
    opened = ShardIndex.open(tmp_path)
    assert summary.samples == len(opened)
    kinds = {"bad-tar", "key-not-contiguous", "incomplete", "sparse"}
    assert kinds <= summary.skipped.keys()
    assert verify(opened, workers=1).samples == len(opened)
