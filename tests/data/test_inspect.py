"""What inspection says of shards: the truth, counted another way; damage is found; who can be fed is said."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from shard_helpers import make_samples

from vtr.data import index_file, patterns
from vtr.data.annotations import Sample
from vtr.data.between import check_ours
from vtr.data.facts import describe
from vtr.data.feed import feed
from vtr.data.foreign import write_index
from vtr.data.index import ShardIndex
from vtr.data.shards import write_shards
from vtr.data.sheet import BACKGROUND, GAP, HIDDEN, TALL, make_sheet
from vtr.data.store import FrameStore, Store, VideoStore
from vtr.data.tarwriter import TarWriter
from vtr.data.transcode import SmallVideoStore
from vtr.data.verify import verify
from vtr.errors import ConfigError, InputError

STORES: dict[str, Store] = {
    "video": VideoStore(),
    "frames": FrameStore(frames=5, short_side=96),
    "small": SmallVideoStore(short_side=96),
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    made = make_samples(tmp_path_factory.mktemp("videos"), 7)
    made[3] = replace(made[3], video=made[2].video)  # the same video under two keys
    return made


@pytest.fixture(scope="module", params=list(STORES))
def out(request: Any, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "out"
    write_shards(samples, folder, reader="table", source="t", per_shard=3, workers=1, store=STORES[request.param])
    return folder


def test_facts(out: Path, samples: list[Sample]) -> None:
    index = ShardIndex.open(out)
    found = describe(index)
    texts = [caption for sample in samples for caption in sample.captions]
    assert (found["samples"], found["captions"], found["shards"]) == (7, len(texts), 3)
    assert found["bytes"] == sum(tar.stat().st_size for tar in out.glob("*.tar"))
    assert found["duration_s"]["total"] == pytest.approx(7.0)
    assert found["splits"] == {"train": 6, "test": 1}
    assert found["frames"]["total"] == sum(index.fact(i, "frames") for i in range(7))
    assert found["captions_per_sample"] == {"min": 1.0, "median": 1.0, "p95": 2.0, "max": 2.0}
    assert found["words_per_caption"]["max"] == 3.0
    assert found["duplicates"]["captions"] == {"distinct": 1, "occurrences": 3, "most": {"ein Würfel läuft": 3}}
    assert found["duplicates"]["videos"] == {"distinct": 1, "occurrences": 2, "most": {"clip-002": 2}}
    height = 96 if index.fact(0, "height") == 96 else 144
    assert found["short_side"]["median"] == height


def test_a_sound_directory(out: Path) -> None:
    index = ShardIndex.open(out)
    ticks: list[tuple[int, int]] = []
    done = verify(index, workers=2, progress=lambda begun, total: ticks.append((begun, total)))
    assert done.problems == ()
    assert done.samples == 7
    assert done.members == sum(len(index.members(i)) for i in range(7))
    assert done.bytes == sum(member.size for i in range(7) for member in index.members(i))
    assert done.frames == sum(index.fact(i, "frames") for i in range(7))
    assert ticks[-1] == (7, 7)


def test_every_kind_of_damage_is_found(out: Path, tmp_path: Path) -> None:
    """A flipped bit anywhere that holds something: the json, the pictures, a header."""
    index = ShardIndex.open(out)
    draw = np.random.default_rng(3)
    members = index.members(4)
    places = [draw.integers(m.offset, m.offset + m.size) for m in (members[0], members[-1])]
    places.append(members[1].offset - 512 + 3)  # in the name of a header
    tar = out / "000001.tar"
    whole = tar.read_bytes()
    try:
        for place in places:
            flipped = bytearray(whole)
            flipped[place] ^= 16
            tar.write_bytes(flipped)
            found = verify(ShardIndex.open(out)).problems
            assert found, place
            assert all(problem["shard"] == "000001.tar" for problem in found)
            assert {"corrupt", "bad-header"} >= {problem["kind"] for problem in found}
    finally:
        tar.write_bytes(whole)


def test_every_byte_of_a_tar_counts(out: Path) -> None:
    """What belongs to no member: bytes of the headers, of the padding, and of the end."""
    index, tar = ShardIndex.open(out), out / "000001.tar"
    whole = tar.read_bytes()
    members = [(index.key(i), one) for i in np.flatnonzero(index.shard_of == 1).tolist() for one in index.members(i)]
    inside = np.zeros(len(whole), bool)
    for _, one in members:
        inside[one.offset : one.offset + one.size] = True
    between = np.flatnonzero(~inside)
    places = [*np.random.default_rng(0).choice(between, 40).tolist(), int(between[-1]), int(between[-700])]
    assert list(check_ours(tar, members)) == []
    try:
        for place in places:
            flipped = bytearray(whole)
            flipped[place] ^= 32
            tar.write_bytes(flipped)
            found = list(check_ours(tar, members))
            assert len(found) == 1, place
            assert found[0].kind in ("bad-header", "bad-padding")
        assert [problem["kind"] for problem in verify(index).problems] == [found[0].kind]
    finally:
        tar.write_bytes(whole)


def changed(path: Path, name: str, values: Any) -> Any:
    """The rows of the index at `path` with other `values` in the column `name`."""
    table = index_file.read_whole(path)[1]
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values, field.type))


def test_a_damaged_index_is_found(out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    path = copy / "index.parquet"
    header = index_file.read_header(path)
    index_file.write_index(path, changed(path, "fps", [9.0] * 7), header.shards)
    found = verify(ShardIndex.open(copy)).problems
    assert [(one["shard"], one["kind"]) for one in found] == [("index.parquet", "bad-index")]
    assert "it is not the one that manifest.json names (sha256)" in found[0]["message"]
    (copy / "manifest.json").unlink()
    assert verify(ShardIndex.open(copy)).problems == (), "the digest says nothing of measured facts"
    other = changed(path, "captions", [["x"]] * 7)
    with path.open("wb") as file:
        index_file.pq.write_table(other, file)
    assert "its rows are not those" in verify(ShardIndex.open(copy)).problems[0]["message"]
    (copy / "manifest.json").write_text("{")
    assert "manifest.json beside it is damaged" in [one["message"] for one in verify(ShardIndex.open(copy)).problems]


def test_what_was_stored_is_known_by_its_sum(out: Path, tmp_path: Path) -> None:
    """Other bytes with a new index beside them, in which every CRC-32 is right."""
    index = ShardIndex.open(out)
    (tmp_path / "copy").mkdir()
    with (tmp_path / "copy" / "a.tar").open("wb") as file:
        writer = TarWriter(file)
        for ext, data in index.read(1).items():
            writer.add(index.key(1), ext, data if ext == "json" else index.read(0)[ext])
        writer.close()
    write_index(patterns.find(str(tmp_path / "copy")))
    [found] = verify(ShardIndex.open(tmp_path / "copy")).problems
    source = "stored_sha256" not in json.loads(index.read(1)["json"])
    assert source == (out.parent.name.startswith("video"))
    assert f"clip-001 is not {'the file that was sharded' if source else 'what was stored'}" in found["message"]


def test_padding_in_tars_of_others(samples: list[Sample], tmp_path: Path) -> None:
    write_shards(samples[:2], tmp_path, reader="table", source="t", workers=1)
    (tmp_path / "manifest.json").unlink()
    index, tar = ShardIndex.open(tmp_path), tmp_path / "000000.tar"
    whole = tar.read_bytes()
    about = index.members(1)[0]
    for place, kind in ((about.offset + about.size, "bad-padding"), (len(whole) - 5, "after-end")):
        tar.write_bytes(whole[:place] + b"x" + whole[place + 1 :])
        assert [one["kind"] for one in verify(ShardIndex.open(tmp_path)).problems] == [kind]


def test_a_frame_number_that_is_not_true(samples: list[Sample], tmp_path: Path) -> None:
    """An index of somebody who counts differently."""
    write_shards(samples[:2], tmp_path, reader="table", source="t", workers=1)
    (tmp_path / "manifest.json").unlink()
    index = ShardIndex.open(tmp_path)
    table = index_file.pq.read_table(tmp_path / "index.parquet", schema=index_file.SCHEMA)
    for name, value, kind in (
        ("frames", [6, 6], "corrupt"),
        ("frames", [9, 9], "no-frames"),
        ("sha256", ["0"] * 2, "corrupt"),
    ):
        place = table.schema.get_field_index(name)
        changed = table.set_column(
            place, table.schema.field(place), index_file.pa.array(value, table.schema.field(place).type)
        )
        index_file.write_index(tmp_path / "index.parquet", changed, index.shards)
        found = verify(ShardIndex.open(tmp_path)).problems
        if (name, value[0]) == ("frames", 6):
            assert not found, "fewer frames than there are is how a foreign index may cut a video"
        else:
            assert [problem["kind"] for problem in found] == [kind] * 2


def test_the_sheet_shows_what_is_there(out: Path) -> None:
    index = ShardIndex.open(out)
    sheet = np.asarray(make_sheet(index, 4)[0])
    assert sheet.shape[2] == 3
    one = np.asarray(make_sheet(index, 1)[0])
    assert one.shape[0] < sheet.shape[0] // 2 + 20
    assert one.shape[1] < sheet.shape[1]
    colours = {tuple(pixel) for pixel in one.reshape(-1, 3)[::7]}
    assert len(colours) > 20, "pictures, not an empty page"
    assert make_sheet(index, 100)[0].height == make_sheet(index, 7)[0].height, "no sample twice"


def test_a_sheet_shows_what_a_mask_hides(out: Path) -> None:
    index = ShardIndex.open(out)
    plain, masked = (make_sheet(index, 1, ratio)[0].convert("RGB") for ratio in (0.0, 0.75))
    assert masked.height == plain.height + TALL + 2
    pixels = np.asarray(masked)
    above, below = (pixels[at : at + TALL] for at in (GAP, GAP + TALL + 2))
    assert (above == np.asarray(plain)[GAP : GAP + TALL]).all()
    drawn = (above != BACKGROUND).any(-1)
    hidden = (below == HIDDEN).all(-1)
    assert not (hidden & ~drawn).any()
    assert hidden.sum() / drawn.sum() == pytest.approx(0.75, abs=0.02)
    kept = drawn & ~hidden
    assert (below[kept] == above[kept]).all()
    with pytest.raises(ConfigError, match=r"a mask ratio of 1.5, it must be at least 0 and below 1"):
        make_sheet(index, 1, 1.5)


def test_a_damaged_sample_on_the_sheet(samples: list[Sample], tmp_path: Path) -> None:
    write_shards(samples[:2], tmp_path, reader="table", source="t", workers=1)
    index = ShardIndex.open(tmp_path)
    tar = tmp_path / "000000.tar"
    data = bytearray(tar.read_bytes())
    data[index.members(0)[1].offset + 50] ^= 1
    tar.write_bytes(data)
    sheet = np.asarray(make_sheet(ShardIndex.open(tmp_path), 2)[0]).astype(int)
    red = (sheet[..., 0] > 150) & (sheet[..., 1] < 60) & (sheet[..., 2] < 60)
    assert red.any(), "its error stands in its place"


def test_damaged_samples_are_counted_where_feeding_is_measured(samples: list[Sample], tmp_path: Path) -> None:
    write_shards(samples[:2], tmp_path, reader="table", source="t", workers=1)
    index, tar = ShardIndex.open(tmp_path), tmp_path / "000000.tar"
    whole = bytearray(tar.read_bytes())
    for sample, words in (
        (1, r"of 2 samples tried 1 cannot be read: clip-001 \(corrupt"),
        (0, r"tried 2 .* and 1 more;"),
    ):
        whole[index.members(sample)[1].offset + 60] ^= 1
        tar.write_bytes(whole)
        found = feed(ShardIndex.open(tmp_path), 1, 1, batch_size=2)
        assert re.search(words, found["problems"][0])
        assert (found["clips_per_s"] > 0) == ("s_per_batch" in found) == (sample == 1)


def test_who_can_be_fed(out: Path) -> None:
    index = ShardIndex.open(out)
    good = feed(index, 2, 3, batch_size=4)
    assert (good["ok"], good["problems"], good["steps_per_epoch"]) == (True, [], 1)
    assert good["clips_per_s"] == pytest.approx(6 * good["clips_per_s_per_core"], rel=0.01)
    assert not good["streams_in_webdataset"], "three shards for six workers"
    more = feed(index, 1, 1, batch_size=96, frames=2)
    assert (more["ok"], more["frames"], more["steps_per_epoch"]) == (True, 2, 1), "a step has no more than there are"
    assert more["s_per_batch"] == pytest.approx(7 / more["clips_per_s"], rel=0.05)  # both are rounded
    for numbers, words in (
        ({"num_processes": 0, "workers": 1}, "--num-processes is 0"),
        ({"num_processes": 1, "workers": -1}, "--workers is -1"),
        ({"num_processes": 1, "workers": 1, "frames": 0}, "--frames is 0"),
    ):
        with pytest.raises(InputError, match=words):
            feed(index, **numbers)
