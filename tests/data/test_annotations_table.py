"""The table reader: four formats, one meaning, and an error that says which line."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vtr.data.annotations import READERS, ReaderOptions, Sample, describe, read
from vtr.errors import DataError, InputError

CLIPS = Path(__file__).resolve().parents[2] / ".." / "shared" / "clips"


def table(path: Path, text: str, **options: object) -> list[Sample]:
    path.write_text(text, encoding="utf-8")
    return read("table", str(path), ReaderOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"video": "a\\u0000.mp4", "caption": "c"}', "NUL byte in its video"),
        ('{"video": "a\\ud800.mp4", "caption": "c"}', "half a surrogate pair in its video"),
        ('{"video": "a.mp4", "key": "\\ud800", "caption": "c"}', "half a surrogate pair in its video, key or split"),
        ('{"video": "a.mp4", "caption": "c", "n": ' + "9" * 5000 + "}", "line 1 has a value of no sane size"),
        ('{"video": "a.mp4", "caption": "c", "n": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1"),
    ],
    ids=["nul", "surrogate", "key", "number", "nested"],
)
def test_hostile_lines_are_told_in_words(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=words):
        read("table", str(tmp_path / "t.jsonl"), ReaderOptions())


def test_a_column_for_each_row_is_refused_before_it_takes_all_memory(tmp_path: Path) -> None:
    def lines(rows: int) -> str:
        return "".join(f'{{"video": "a.mp4", "caption": "c", "n{row}": 1}}\n' for row in range(rows))

    with pytest.raises(
        DataError, match=r"4000 values of metadata, and .* more than 10000000: rows of 'a\.mp4'(?s:.*)--limits 10"
    ):
        table(tmp_path / "wide.jsonl", lines(4000))
    [one] = table(tmp_path / "some.jsonl", lines(200))
    assert one.meta["n7"] == [None] * 7 + [1] + [None] * 192


def test_rows_of_one_video_gather_in_order(tmp_path: Path) -> None:
    samples = table(
        tmp_path / "t.csv",
        "video,caption,lang,part\nb.mp4, one ,en,1\nsub/a.mp4,two,en,1\nb.mp4,three,en,2\n./b.mp4,four,en,3\n",
    )
    assert [s.key for s in samples] == ["b", "sub_a"]
    assert samples[0].captions == ("one", "three", "four")
    assert samples[0].video == tmp_path / "b.mp4"
    assert samples[0].source == "b.mp4"
    assert samples[0].split == "train"
    assert samples[0].meta == {"lang": "en", "part": ["1", "2", "3"]}


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    rows = [("a.mp4", "x, y", "test"), ("b.mp4", 'he said "hi"', "train"), ("a.mp4", "ünïcode", "test")]
    csv = 'video,caption,split\na.mp4,"x, y",test\nb.mp4,"he said ""hi""",train\na.mp4,ünïcode,test\n'
    expected = table(tmp_path / "t.csv", "\ufeff" + csv)
    tsv = 'video\tcaption\tsplit\na.mp4\tx, y\ttest\nb.mp4\t"he said ""hi"""\ttrain\na.mp4\tünïcode\ttest\n'
    lines = "".join(json.dumps({"video": v, "caption": c, "split": s}) + "\n\n" for v, c, s in rows)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("video", "caption", "split"))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert expected[0].captions == ("x, y", "ünïcode")
    assert table(tmp_path / "t.tsv", tsv) == expected
    assert table(tmp_path / "t.jsonl", lines) == expected
    assert read("table", str(tmp_path / "t.parquet")) == expected


def test_caption_lists_and_typed_metadata(tmp_path: Path) -> None:
    samples = table(tmp_path / "t.jsonl", '{"video": "a.mp4", "caption": ["x", "y"], "n": 3, "bad": NaN}\n')
    assert samples[0].captions == ("x", "y")
    assert samples[0].meta == {"n": 3, "bad": None}
    day = datetime.date(2024, 5, 1)
    pq.write_table(
        pa.table({"video": ["a.mp4"], "caption": [["x", "y"]], "day": [day], "raw": [b"\x01"], "s": [{"k": 1.5}]}),
        tmp_path / "t.parquet",
    )
    samples = read("table", str(tmp_path / "t.parquet"))
    assert samples[0].captions == ("x", "y")
    assert samples[0].meta == {"day": "2024-05-01", "raw": "01", "s": {"k": 1.5}}
    json.dumps(samples[0].meta, allow_nan=False)


def test_splits_limit_and_root(tmp_path: Path) -> None:
    text = "video,caption,split\na.mp4,x,train\nb.mp4,y,test\nc.mp4,z,test\n"
    assert [s.key for s in table(tmp_path / "t.csv", text, split="test")] == ["b", "c"]
    assert [s.key for s in table(tmp_path / "t.csv", text, split="test", limit=1)] == ["b"]
    assert table(tmp_path / "t.csv", text, root=tmp_path / "v")[0].video == tmp_path / "v" / "a.mp4"
    with pytest.raises(DataError, match=r"no sample of split 'val'\n  hint: it has: test, train"):
        table(tmp_path / "t.csv", text, split="val")
    with pytest.raises(DataError, match="a limit of 0 samples"):
        ReaderOptions(limit=0)


def test_a_table_without_splits_is_all_of_one_which_is_said(tmp_path: Path) -> None:
    told: list[str] = []
    text = "video,caption,lang\na.mp4,x,en\nb.mp4,y,en\n"
    assert {s.split for s in table(tmp_path / "t.csv", text, split="val", warn=told.append)} == {"val"}
    assert told == [f"{tmp_path}/t.csv has no column 'split': all its videos are taken as val"]
    assert {s.split for s in table(tmp_path / "t.csv", text, warn=told.append)} == {"train"}
    assert {s.split for s in table(tmp_path / "t.csv", text + "b.mp4,z,en\n", split="val")} == {"val"}
    assert len(told) == 1


@pytest.mark.parametrize("name", ["Split", "SPLIT", "splits", "official_split", "set", "Subset", "partition", "fold"])
def test_a_column_that_seems_to_name_splits_is_no_label_for_all(tmp_path: Path, name: str) -> None:
    text = f"video,caption,{name}\na.mp4,x,train\nb.mp4,y,test\n"
    rows = [dict(zip(("video", "caption", name), line.split(","), strict=True)) for line in text.splitlines()[1:]]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    wanted = rf"has no column 'split' to take 'train' from, but one named '{name}'\n  hint: rename it to 'split' if"
    for suffix, words in ((".csv", text), (".jsonl", lines)):
        with pytest.raises(DataError, match=wanted):
            table(tmp_path / f"t{suffix}", words, split="train")
    with pytest.raises(DataError, match=wanted):
        read("table", str(tmp_path / "t.parquet"), ReaderOptions(split="train"))
    told: list[str] = []
    assert {s.split for s in table(tmp_path / "t.csv", text, warn=told.append)} == {"train"}
    assert told == [f"{tmp_path}/t.csv has no column 'split', but {name!r}: all its videos are taken as train"]


def test_lines_that_name_no_split_among_others_are_train(tmp_path: Path) -> None:
    text = '{"video": "a.mp4", "caption": "x"}\n{"video": "b.mp4", "caption": "y", "split": "test"}\n'
    assert [s.key for s in table(tmp_path / "t.jsonl", text, split="test")] == ["b"]
    assert [s.key for s in table(tmp_path / "t.jsonl", text, split="train")] == ["a"]


def test_a_key_column_names_samples(tmp_path: Path) -> None:
    samples = table(tmp_path / "t.csv", "video,caption,key\na.mp4,x,one\na.mp4,y,two\na.mp4,z,one\nb.mp4,w,k.1\n")
    assert [(s.key, s.captions) for s in samples] == [("one", ("x", "z")), ("two", ("y",)), ("k-1", ("w",))]
    assert samples[2].meta == {"key": "k.1"}


BAD = {
    "no column 'caption'; its columns are: video, text": "video,text\na.mp4,x\n",
    "no column 'video' and no column 'caption'": "a\tb\n",
    "two columns 'caption'": "video,caption,caption\na.mp4,x,y\n",
    "is empty: it has no header": "",
    "is empty: it has no rows": "video,caption\n",
    "line 3 has an empty caption": "video,caption\na.mp4,x\na.mp4,  \n",
    "line 2 has an empty video": "video,caption\n,x\n",
    "line 2 has 3 fields, the header has 2": "video,caption\na.mp4,one, two\n",
    "cannot be read as a table: unexpected end of data": 'video,caption\na.mp4,"x\n',
    "cannot be read as a table: field larger than field limit": f"video,caption\na.mp4,{'x' * 200_000}\n",
    "line 3 gives the key 'k' to 'b.mp4', but .* line 2 gave it to 'a.mp4'": (
        "video,caption,key\na.mp4,x,k\nb.mp4,y,k\n"
    ),
    "two videos have the key 'a': 'a.mp4' and 'a.avi'": "video,caption\na.mp4,x\na.avi,y\n",
    "line 3 puts 'a.mp4' into split 'test', but .* line 2 put it into 'train'": (
        "video,caption,split\na.mp4,x,train\na.mp4,y,test\n"
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_csv(tmp_path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        table(tmp_path / "t.csv", BAD[message])
    assert caught.value.hint


BAD_LINES = {
    "line 1 is not JSON": "{",
    "line 1 is no object": "[1]",
    "line 2 has no column 'caption'; its columns are: video, text": (
        '{"video": "a", "caption": "x"}\n{"video": "b", "text": "y"}'
    ),
    "line 1 has half a surrogate pair": '{"video": "a", "caption": "x \\ud83d"}',
    "line 1 has an empty caption": '{"video": "a", "caption": []}',
    "is empty: it has no rows": "\n\n",
}


@pytest.mark.parametrize("message", BAD_LINES)
def test_bad_jsonl(tmp_path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path / "t.jsonl", BAD_LINES[message])


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("video,caption\na.mp4,caf\u00e9\n".encode("latin-1"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"video": "\xff"}')
    (tmp_path / "t.parquet").write_bytes(b"nothing of the sort")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    for name, message in {
        "gone.csv": "gone.csv does not exist; the table reader wants a .csv .tsv .jsonl .ndjson .parquet file",
        "latin.csv": "cannot be read as a table: 'utf-8' codec",
        "latin.jsonl": r"is not UTF-8 text \(byte",
        "t.parquet": "cannot be read as parquet",
        "t.xlsx": "is no table that vtr reads\n  hint: its name should end in .csv",
        ".": "is a folder",
    }.items():
        with pytest.raises(DataError, match=message):
            read("table", str(tmp_path / name))
    with pytest.raises(InputError, match=r"no reader 'tabel'\n  hint: the readers are: table, folder"):
        read("tabel", "x")


def test_every_reader_is_described() -> None:
    assert all(describe(name).startswith(f"`{name}`") for name in READERS)


def test_the_real_clip_table() -> None:
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not beside the repository")
    samples = read("table", str(CLIPS / "captions.csv"))
    assert len(samples) == 61
    assert sum(len(s.captions) for s in samples) == 122
    assert all(isinstance(s.video, Path) and s.video.is_file() for s in samples)


@pytest.mark.parametrize(
    "far",
    [
        pa.array([2**62], pa.timestamp("ms")),
        pa.array([2**62], pa.timestamp("us")),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([2**62], pa.date64()),
        pa.array([2**62], pa.duration("s")),
        pa.array([2**62], pa.time64("us")),
        pa.array([0], pa.timestamp("us", tz="Nowhere/Such")),
    ],
    ids=lambda far: str(far.type),
)
def test_times_that_python_has_not(far: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"video": ["a.mp4"], "caption": ["c"], "when": far}), path)
    why = "a column has a timezone that is not known" if getattr(far.type, "tz", None) else ""
    with pytest.raises(DataError, match=rf"t\.parquet cannot be read as parquet: {why}"):
        read("table", str(path))
