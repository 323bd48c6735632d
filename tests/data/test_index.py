"""The shard index: any sample by its number, checked, from any process, and cheap to open."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import re
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from index_helpers import build, content

from vtr.data import index_file, stored
from vtr.data.index import ShardIndex
from vtr.data.index_file import Shard
from vtr.data.limits import Limits
from vtr.data.places import narrow
from vtr.data.tarfiles import OPEN_FILES
from vtr.errors import DataError, VideoError


def test_every_sample_by_its_number(tmp_path: Path) -> None:
    index = build(tmp_path)
    assert len(index) == 7
    assert index.shard_of.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert [shard.samples for shard in index.shards] == [3, 3, 1]
    for i in range(7):
        assert index.read(i) == {"json": b"{}", "mp4": content(i)}
        assert index.read(i, ["json"]) == {"json": b"{}"}
        assert index.read_video(i) == content(i)
        assert index.captions(i) == [f"caption {i}", "Fuß"][: 1 + i % 2]
        info = index.info(i)
        assert (info.key, info.shard, info.frames, info.duration_s) == (f"k{i}", f"{i // 3:06d}.tar", i + 1, 0.5 * i)
        assert (info.decoder, info.store, info.sha256) == ("pyav" if i % 3 else "decord", "video", f"{i:064x}")
        assert [m.size for m in index.members(i)] == [2, len(content(i))]
    assert index.facts("frames").tolist() == list(range(1, 8))
    assert index.facts("decoder").tolist() == [index.info(i).decoder for i in range(7)]
    with pytest.raises(IndexError):
        index.read_video(7)


def test_any_parquet_tool_finds_the_columns(tmp_path: Path) -> None:
    build(tmp_path)
    table = pq.read_table(tmp_path / "index.parquet")
    assert table.num_rows == 7
    first = table.slice(0, 1).to_pylist()[0]
    data = (tmp_path / first["shard"]).read_bytes()
    for ext, offset, size, crc32 in zip(
        *(first[f"member_{n}"] for n in ("ext", "offset", "size", "crc32")), strict=True
    ):
        assert zlib.crc32(data[offset : offset + size]) == crc32, ext


def test_bit_rot_is_caught_where_it_is(tmp_path: Path) -> None:
    index = build(tmp_path)
    place = index.members(4)[1].offset + 5
    data = bytearray((tmp_path / "000001.tar").read_bytes())
    data[place] ^= 1
    (tmp_path / "000001.tar").write_bytes(bytes(data))
    index = ShardIndex.open(tmp_path)
    assert index.read_video(3) == content(3)
    with pytest.raises(VideoError, match=r"k4\.mp4 in .*000001\.tar has other bytes than were written") as caught:
        index.read_video(4)
    assert caught.value.kind == "corrupt"
    assert index.read(4, ["json"]) == {"json": b"{}"}


def test_a_tar_that_is_cut_while_in_use(tmp_path: Path) -> None:
    index = build(tmp_path)
    data = (tmp_path / "000001.tar").read_bytes()
    (tmp_path / "000001.tar").write_bytes(data[: index.members(5)[1].offset + 10])
    with pytest.raises(VideoError, match=r"k5\.mp4 in .*000001\.tar ends after 10 of \d+ bytes") as caught:
        index.read_video(5)
    assert caught.value.kind == "truncated"
    with pytest.raises(DataError, match=r"000001\.tar has \d+ bytes, the index says"):
        ShardIndex.open(tmp_path)
    (tmp_path / "000001.tar").unlink()
    with pytest.raises(DataError, match=r"000001\.tar is missing, the index names it"):
        ShardIndex.open(tmp_path)
    index = pickle.loads(pickle.dumps(index))
    with pytest.raises(DataError, match=r"000001\.tar cannot be opened"):
        index.read_video(5)


def test_directories_that_are_no_shards(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone does not exist\n  hint: make one: vtr shard READER SOURCE DIR"):
        ShardIndex.open(tmp_path / "gone")
    with pytest.raises(
        DataError, match=r"has no index\.parquet\n  hint: give the directory that vtr shard wrote, or make"
    ):
        ShardIndex.open(tmp_path)
    for name, what in (
        ("run.json", "a run"),
        ("emb-0.parquet", "a folder of embeddings"),
        ("a.MP4", "a folder of videos"),
    ):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=f"is {what}, not a shard directory"):
            ShardIndex.open(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "a.tar").touch()
    with pytest.raises(DataError, match=r"has tars but no index\.parquet\n  hint: make it: vtr inspect .* --index"):
        ShardIndex.open(tmp_path)
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match="is a file, not a shard directory"):
        ShardIndex.open(tmp_path / "a.csv")
    (tmp_path / ".parts").mkdir()
    with pytest.raises(DataError, match="is not sharded to the end\n  hint: run the same vtr shard again"):
        ShardIndex.open(tmp_path)
    (tmp_path / "index.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"index\.parquet is no shard index"):
        ShardIndex.open(tmp_path)
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "index.parquet")
    with pytest.raises(DataError, match=r"index\.parquet is no shard index"):
        ShardIndex.open(tmp_path)
    meta = json.dumps({"format": 99})
    pq.write_table(pa.table({"key": ["a"]}).replace_schema_metadata({"vtr.index": meta}), tmp_path / "index.parquet")
    with pytest.raises(DataError, match="an index of format 99, this vtr reads format 1"):
        ShardIndex.open(tmp_path)
    whole = build(tmp_path / "whole")
    data = bytearray((whole.root / "index.parquet").read_bytes())
    data[200:1200] = bytes(1000)
    (whole.root / "index.parquet").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"index\.parquet is damaged"):
        whole = ShardIndex.open(whole.root)
        [whole.info(i) for i in range(len(whole))]


def test_the_digest_is_of_what_training_sees(tmp_path: Path) -> None:
    index = build(tmp_path / "a")
    assert build(tmp_path / "b").digest == index.digest
    table, shards = pq.read_table(tmp_path / "a" / "index.parquet"), index.shards
    table = table.cast(index_file.SCHEMA)
    assert index_file.digest_of(table, shards) == index.digest
    pieces = pa.concat_tables([table.slice(i, 1) for i in range(7)])
    assert index_file.digest_of(pieces, shards) == index.digest, "how arrow cuts its columns is no content"

    def changed(name: str, value: Any) -> str:
        rows = table.to_pylist()
        rows[3][name] = value
        return index_file.digest_of(index_file.rows_to_table(rows), shards)

    assert changed("fps", 24.0) == index.digest
    assert changed("captions", ["captio", "n 3Fuß"]) != index.digest
    assert changed("member_crc32", [1, 2]) != index.digest
    assert index_file.digest_of(table.take(list(range(6, -1, -1))), shards) != index.digest
    assert index_file.digest_of(table, shards[:2]) != index.digest


def read_all(index: ShardIndex) -> list[bytes]:
    return [index.read_video(i) for i in range(len(index))]


def test_it_goes_to_other_processes_and_threads(tmp_path: Path) -> None:
    index = build(tmp_path, samples=2 * OPEN_FILES + 9, per_shard=1)
    expected = read_all(index)  # more shards than files stay open
    assert expected == [content(i) for i in range(len(index))]
    assert len(pickle.dumps(index)) < 1000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_all, (index,)) == expected
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(read_all(index) == expected)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_it_will_not_be_swapped_under_a_running_process(tmp_path: Path) -> None:
    pickled = pickle.dumps(build(tmp_path))
    assert pickle.loads(pickled).key(6) == "k6"
    build(tmp_path, samples=6)
    with pytest.raises(DataError, match="was sharded anew while it was in use"):
        pickle.loads(pickled)


def test_a_pattern_of_some_tars_gives_these_alone(tmp_path: Path) -> None:
    whole = build(tmp_path)
    some = ShardIndex.open(f"{tmp_path}/{{000002,000000}}.tar")
    assert (len(some), len(some.shards), some.only) == (4, 2, ("000002.tar", "000000.tar"))
    assert [some.key(i) for i in range(4)] == ["k0", "k1", "k2", "k6"], "in the order of the index"
    assert read_all(some) == [content(i) for i in (0, 1, 2, 6)]
    assert some.captions(1) == whole.captions(1)
    assert some.shard_of.tolist() == [0, 0, 0, 1]
    assert some.info(3) == whole.info(6)
    assert [len(subset.numbers) for subset in some.subsets()] == [4]
    assert some.all_captions().to_pylist() == [whole.captions(i) for i in (0, 1, 2, 6)]
    assert some.digest != whole.digest
    again = pickle.loads(pickle.dumps(some))
    assert (again.digest, read_all(again)) == (some.digest, read_all(some))
    assert ShardIndex.open(f"{tmp_path}/{{000000,000002}}.tar").digest == some.digest
    assert ShardIndex.open(f"{tmp_path}/*.tar").digest == whole.digest, "of all, it is the directory"
    (tmp_path / "000001.tar").unlink()
    assert len(ShardIndex.open(f"{tmp_path}/{{000000,000002}}.tar")) == 4, "the others may be elsewhere"
    (tmp_path / "000003.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"000003.tar is not in the index of .*, which has 3 tars"):
        ShardIndex.open(f"{tmp_path}/{{000002..000003}}.tar")
    with pytest.raises(DataError, match=r"000001.tar does not exist, .* names it"):
        ShardIndex.open(f"{tmp_path}/{{000000..000002}}.tar")


def test_an_index_of_before_a_column(tmp_path: Path, monkeypatch) -> None:
    path, digest = tmp_path / index_file.NAME, build(tmp_path).digest
    pq.write_table(pq.read_table(path).drop_columns(["split"]), path)
    assert ShardIndex.open(tmp_path).facts("split").tolist() == [""] * 7
    # A column that vtr has from now on:
    monkeypatch.setattr(index_file, "SCHEMA", index_file.SCHEMA.append(pa.field("turned", pa.int32(), False)))
    with pytest.raises(DataError, match=r"other columns than an index has: no split, no turned\n.*--index"):
        ShardIndex.open(tmp_path)
    monkeypatch.setattr(index_file, "DEFAULTS", {**index_file.DEFAULTS, "turned": 90})
    index = ShardIndex.open(tmp_path)
    assert (index.digest, len(index), index.read_video(3)) == (digest, 7, content(3))
    assert (index.info(6).split, index.fact(6, "turned"), index.facts("turned").tolist()) == ("", 90, [90] * 7)
    header, table = index_file.read_whole(path)
    assert (header.digest, table.schema.remove_metadata()) == (digest, index_file.SCHEMA)
    assert table.column("turned").to_pylist() == [90] * 7
    again = ShardIndex.open(f"{tmp_path}/000001.tar")
    assert again.facts("turned").tolist() == [90] * 3
    assert build(tmp_path / "new").facts("turned").tolist() == [90] * 7


def test_an_index_of_columns_that_are_not_known(tmp_path: Path) -> None:
    build(tmp_path)
    path = tmp_path / index_file.NAME
    table = pq.read_table(path)
    for other, told in (
        (table.drop_columns(["width"]), "no width"),
        (table.append_column("turned", table.column("width")), "turned"),
        (table.set_column(7, "frames", table.column("width").cast(pa.int64())), "of other types"),
    ):
        pq.write_table(other, path)
        with pytest.raises(DataError, match=rf"has other columns than an index has: {told}\n.*inspect DIR --index"):
            ShardIndex.open(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("samples", 2, r"damaged: it counts 2 samples in 000000\.tar and has 3 of them\n.*inspect DIR --index"),
        ("samples", 2**62, r"damaged: it counts 4611686018427387904 samples in 000000\.tar"),
        ("samples", -3, "does not say which tars it is of"),
        ("samples", 10**30, "does not say which tars it is of"),
        ("bytes", 10**30, "does not say which tars it is of"),
        ("bytes", -1, "does not say which tars it is of"),
    ],
)
def test_numbers_of_the_metadata_are_not_believed(tmp_path: Path, key: str, value: int, told: str) -> None:
    build(tmp_path)
    path = tmp_path / index_file.NAME
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[index_file.META])
    meta["shards"][0][key] = value
    pq.write_table(table.replace_schema_metadata({index_file.META: json.dumps(meta)}), path)
    with pytest.raises(DataError, match=told):
        ShardIndex(tmp_path)


def changed_rows(root: Path, row: int, **values: Any) -> None:
    """Writes other values into a row of the index in `root`."""
    path = root / index_file.NAME
    header, table = index_file.read_whole(path)
    rows = table.to_pylist()
    rows[row].update(values)
    index_file.write_index(path, index_file.rows_to_table(rows), header.shards)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"frames": 0}, "sample 2 has 0 frames, at least 1 was wanted"),
        ({"frames": -7}, "sample 2 has -7 frames, at least 1 was wanted"),
        ({"frames": 2**31 - 1, "store": "frames"}, "sample 2 has 2147483647 frames in 2 members"),
        ({"frames": 2**31 - 1, "decoder": "image"}, "sample 2 has 2147483647 frames in 2 members"),
    ],
)
def test_numbers_of_frames_that_cannot_be(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    build(tmp_path)
    changed_rows(tmp_path, 2, **values)
    with pytest.raises(DataError, match=rf"index\.parquet is damaged: {told}\n.*vtr inspect DIR --index"):
        ShardIndex(tmp_path)


@pytest.mark.parametrize(
    ("values", "what"),
    [({"store": "frames", "decoder": "jpeg"}, r"0000\.jpg"), ({"decoder": "image"}, "image")],
)
def test_pictures_that_are_not_there(tmp_path: Path, values: dict[str, Any], what: str) -> None:
    build(tmp_path)
    changed_rows(tmp_path, 0, frames=1, **values)
    with pytest.raises(VideoError, match=rf"k0 has no member {what}, which its index says.*\n.*inspect DIR") as caught:
        stored.fetch(ShardIndex(tmp_path), 0, [0])
    assert caught.value.kind == "corrupt"


PAGE = Path(__file__).parents[2] / "docs/data.md"


def test_the_documentation_has_its_columns() -> None:
    def named(type_: pa.DataType) -> str:
        if pa.types.is_list(type_) or pa.types.is_large_list(type_):
            return f"{'large_' * pa.types.is_large_list(type_)}list of {named(type_.value_type)}"
        return str(type_)

    _, rows = PAGE.read_text("utf-8").split("| column | type | |\n", 1)
    told = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", rows.split("\n\n", 1)[0], re.MULTILINE)
    assert told == [(field.name, named(field.type)) for field in index_file.SCHEMA]
    assert not any(field.nullable for field in index_file.SCHEMA)


def test_the_documentation_has_its_metadata(tmp_path: Path) -> None:
    index = build(tmp_path)
    raised = Limits(max_bytes=5, max_pixels=5, max_packets=5, max_gop=5)
    read_with = {"caption_key": "title", "split": "train"}
    table = pq.read_table(tmp_path / index_file.NAME)
    index_file.write_index(tmp_path / index_file.NAME, table, index.shards, raised, read_with)
    meta = json.loads(pq.read_schema(tmp_path / index_file.NAME).metadata[b"vtr.index"])
    _, rows = PAGE.read_text("utf-8").split("| key of `vtr.index` | |\n", 1)
    told = dict(re.findall(r"^\| `(\w+)`.*? \| (.*) \|$", rows.split("\n\n", 1)[0], re.MULTILINE))
    assert list(told) == list(meta)
    assert told["format"].startswith(f"{meta['format']};")
    for key in ("limits", "read_with"):
        assert re.findall(r"`(\w+)`", told[key]) == list(meta[key])
    assert re.findall(r"`(\w+)`", told["shards"]) == list(meta["shards"][0])


def test_the_digest_is_the_one_that_the_documentation_tells(tmp_path: Path) -> None:
    build(tmp_path)
    table = pq.read_table(tmp_path / index_file.NAME)
    meta = json.loads(table.schema.metadata[b"vtr.index"])
    wide = {"member_offset": "<i8", "member_size": "<i8", "member_crc32": "<u4"}

    def values(name: str, found: list[Any]) -> bytes:
        if isinstance(found[0], int):
            return np.array(found, wide[name]).tobytes()
        if isinstance(found[0], str):
            found = [text.encode() for text in found]
        lengths = np.array([len(one) for one in found], "<i8").tobytes()
        if isinstance(found[0], bytes):
            return lengths + b"".join(found)
        return lengths + values(name, [one for some in found for one in some])

    told = re.search(r"for each of `([\w ]+)`, the name of the\ncolumn", PAGE.read_text("utf-8"))
    assert told is not None
    data = json.dumps([meta["format"], meta["shards"]]).encode()
    data += b"".join(name.encode() + values(name, table.column(name).to_pylist()) for name in told[1].split())
    assert hashlib.sha256(data).hexdigest() == meta["digest"]


def test_several_row_groups(tmp_path: Path) -> None:
    """Enough rows for three row groups: columns are joined, dictionaries too."""
    samples, per_shard = 300_000, 1000
    count = np.arange(samples)
    ext = pa.array(["json", "mp4"]).take(pa.array(np.tile([0, 1], samples)))
    starts = pa.array(np.arange(0, 2 * samples + 1, 2), pa.int32())
    numbers = {name: pa.array(np.arange(2 * samples)) for name in ("member_offset", "member_size", "member_crc32")}
    lists = {
        name: pa.ListArray.from_arrays(starts, values).cast(index_file.SCHEMA.field(name).type)
        for name, values in {"member_ext": ext, **numbers}.items()
    }
    text = pa.array(count).cast(pa.large_string())
    columns = {
        **lists,
        "key": text,
        "shard": pa.array([f"{n:06d}.tar" for n in range(samples // per_shard)]).take(pa.array(count // per_shard)),
        "captions": pa.LargeListArray.from_arrays(pa.array(np.arange(samples + 1)), text),
        "sha256": text,
    }
    for field in index_file.SCHEMA:
        if field.name not in columns:
            columns[field.name] = pa.array(["x"] * samples) if field.type == pa.string() else pa.array(1 + count % 100)
    table = pa.table([columns[f.name].cast(f.type) for f in index_file.SCHEMA], schema=index_file.SCHEMA)
    shards = [Shard(f"{n:06d}.tar", 1 << 30, per_shard) for n in range(samples // per_shard)]
    index_file.write_index(tmp_path / index_file.NAME, table, shards)
    index = ShardIndex(tmp_path)
    for i in (0, 131_072, 299_999):
        assert index.key(i) == str(i)
        assert index.captions(i) == [str(i)]
        assert index.shard_of[i] == i // per_shard
        assert [m.offset for m in index.members(i)] == [2 * i, 2 * i + 1]
        assert [m.ext for m in index.members(i)] == ["json", "mp4"]
        assert index.info(i).frames == 1 + i % 100


def test_places_take_as_few_bytes_as_the_largest_needs() -> None:
    for values, wide in (([], 1), ([3, 255], 1), ([0, 1 << 32], 8), ([(1 << 32) - 1], 4)):
        kept = narrow(np.array(values, np.int64))
        assert (kept.tolist(), kept.itemsize) == (values, wide)


def test_any_bit_of_an_index_may_be_another(tmp_path: Path) -> None:
    """Each reads as something or is a DataError; no error of arrow's, and none of Python's, comes out."""
    path = build(tmp_path, 3).root / index_file.NAME
    sound = path.read_bytes()
    footer = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    generator = np.random.default_rng(0)
    bits = np.concatenate(
        [generator.integers(0, 8 * len(sound), 60), generator.integers(8 * footer, 8 * len(sound), 90)]
    )
    names = [m.start() for m in re.finditer(rb"element|list", sound[footer:])]
    refused = 0
    for bit in [*bits.tolist(), *(8 * (footer + at) for at in names)]:
        data = bytearray(sound)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(data))
        try:
            opened = ShardIndex.open(tmp_path)
            for name in index_file.SCHEMA.names:
                index_file.read_column(path, name)
            assert len(opened) == 3
        except DataError:
            refused += 1
    assert refused > 50
