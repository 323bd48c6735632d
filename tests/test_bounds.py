"""Limits without an option of their own are raised together, at every door that has one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vtr import bounds
from vtr.data import captions, memory, spans, tarheaders, unfolding
from vtr.data.annotations import ReaderOptions, cells, read
from vtr.data.patterns import find
from vtr.errors import ConfigError, DataError, VideoError
from vtr.retrieval.columns import read_table

RAISE = r"vtr --limits 10 VERB"


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bounds.NAME, "10")


def vtr(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "vtr", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_a_bound_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(bounds.NAME, raising=False)
    assert (bounds.at_most(5), bounds.at_most(60.0)) == (5, 60.0)
    monkeypatch.setenv(bounds.NAME, "2.5")
    assert (bounds.at_most(4), bounds.at_most(60.0)) == (10, 150.0)
    for wrong in ("x", "0.5", "nan", "inf", "-1", "1e9"):
        monkeypatch.setenv(bounds.NAME, wrong)
        with pytest.raises(ConfigError, match=f"VTR_LIMITS is '{wrong}', wanted a number from 1 to 1000000"):
            bounds.at_most(1)


def test_a_cell_of_a_table(tmp_path: Path) -> None:
    """By the command itself: refused with the flag that raises it, then taken; a reader of a benchmark too."""
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "t.csv").write_text(f"video,caption\na.mp4,{'x' * (cells.LONGEST + 1)}\n")
    refused = vtr("shard", "table", tmp_path / "t.csv", tmp_path / "s")
    assert refused.returncode == 2
    assert "field larger than field limit (131072)" in refused.stderr
    assert "vtr --limits 10 VERB" in refused.stderr
    taken = vtr("--limits", 2, "shard", "table", tmp_path / "t.csv", tmp_path / "s")
    assert "1 of 1 samples were skipped" in taken.stderr, "the table is read"
    wrong = vtr("shard", "table", tmp_path / "t.csv", tmp_path / "s", **{bounds.NAME: "many"})
    assert "error: VTR_LIMITS is 'many', wanted a number" in wrong.stderr
    told = vtr("inspect", "--help", **{bounds.NAME: "many"})
    assert (told.returncode, told.stderr) == (0, "")
    assert "Examples" in told.stdout
    assert "Traceback" not in wrong.stderr


def test_a_cell_of_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = f"21,u,PT00H00M11S,006_60,{'x' * (cells.LONGEST + 1)}\n"
    (tmp_path / "results_2M_train.csv").write_text("videoid,contentUrl,duration,page_dir,name\n" + row)
    with pytest.raises(DataError, match=RAISE):
        read("webvid", str(tmp_path))
    monkeypatch.setenv(bounds.NAME, "2")
    try:
        assert len(read("webvid", str(tmp_path))[0].captions[0]) > cells.LONGEST
    except DataError as error:
        assert "field limit" not in str(error)


def test_parquet_that_unfolds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolding, "LEAST", 1_000_000)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"video": ["a.mp4"] * 40, "caption": ["x" * 100_000] * 40}), path, compression="zstd")
    for act in (lambda: read("table", str(path), ReaderOptions()), lambda: read_table(path)):
        monkeypatch.delenv(bounds.NAME, raising=False)
        with pytest.raises(DataError, match=rf"would unfold to more than 0\.001 GB\n.*{RAISE}"):
            act()
        monkeypatch.setenv(bounds.NAME, "10")
        act()


def test_values_in_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    (tmp_path / "a.mp4").touch()
    path.write_text(json.dumps({"video": "a.mp4", "caption": "x"})[:-1] + ', "more": ' + "[" * 80 + "]" * 80 + "}")
    with pytest.raises(DataError, match=rf"nested more than 50 deep \(.*{RAISE}"):
        read("table", str(path))
    monkeypatch.setenv(bounds.NAME, "2")
    assert read("table", str(path))[0].captions == ("x",)
    path.write_text(json.dumps({"video": "a.mp4", "caption": "x"})[:-1] + ', "more": ' + "[" * 300 + "]" * 300 + "}")
    monkeypatch.setenv(bounds.NAME, "1000")
    with pytest.raises(DataError, match="nested more than 200 deep") as caught:
        read("table", str(path))
    assert "--limits" not in str(caught.value), "no limit is let through there"


def test_captions_in_a_tar(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"txt": b"x" * (captions.MAX_BYTES + 1)}
    with pytest.raises(VideoError, match=rf"its txt has 1048577 bytes, over 1048576 \(.*{RAISE}"):
        captions.read(members)
    monkeypatch.setenv(bounds.NAME, "2")
    assert len(captions.read(members)[0]) == captions.MAX_BYTES + 1


def test_members_and_headers_of_a_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.mp4")
        info.size, info.pax_headers = 1000, {"comment": "x" * (tarheaders.MAX_EXTENDED + 1)}
        tar.addfile(info, io.BytesIO(bytes(1000)))
    [entry], [problem] = tarheaders.read_entries(tmp_path / "a.tar")
    assert (entry.name, problem.kind) == ("a.mp4", "too-large")
    assert "vtr --limits 10 VERB" in problem.message
    monkeypatch.setenv(bounds.NAME, "2")
    assert tarheaders.read_entries(tmp_path / "a.tar")[1] == []
    [member] = tarheaders.read_entries(tmp_path / "a.tar", 100)[1]
    assert member.message == "a.mp4 is refused: too-large, 1000 bytes, over 100: raise --max-bytes"


def test_spans_tars_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    short = spans.Segments(0.1, 0.1)
    with pytest.raises(VideoError, match=rf"would be 150000 spans, over 100000\n.*{RAISE}"):
        spans.spans_of(15_000, short)
    with pytest.raises(DataError, match=rf"names more than 1000000 tars\n.*{RAISE}"):
        find("{0000000..2000000}.tar")
    monkeypatch.setenv(bounds.NAME, "4")
    assert len(spans.spans_of(15_000, short)) == 150_000
    with pytest.raises(DataError, match=r"0000000\.tar does not exist"):
        find("{0000000..2000000}.tar")
    code = "import resource as r; from vtr.data.memory import *; bound_memory(); print(r.getrlimit(r.RLIMIT_DATA)[0])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sys.platform != "linux" or int(told) >= 4 * memory.ROOM


@pytest.mark.usefixtures("raised")
def test_decoding_has_longer_where_no_option_says_how_long() -> None:
    from vtr.data.loader import TIME_LIMIT_S

    assert bounds.at_most(TIME_LIMIT_S) == 600.0
