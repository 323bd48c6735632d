"""`vtr eval` and `vtr eval compare` from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_helpers import Cli, refused

CPU = ("--device", "cpu", "--precision", "fp32")


def test_every_format(cli: Cli, run: Path, test_shards: Path) -> None:
    given = ("eval", run, "--shards", test_shards, *CPU)
    assert cli(*given, "--format", "markdown").out.startswith("**own data: 12 videos, 12 captions**\n\n| | direction |")
    assert cli(*given, "--format", "latex").out.startswith("\\begin{table}\n")
    rows = list(csv.DictReader(io.StringIO(cli(*given, "--format", "csv").out)))
    assert [row["metric"] for row in rows] == ["R@1", "R@5", "R@10", "MdR", "MnR"] * 2
    rich = cli(*given)
    assert "own data: 12 videos, 12 captions" in rich.out
    assert max(map(len, rich.out.splitlines())) <= 80
    assert "…" not in rich.out


def test_a_result_with_its_ranks_and_command(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "r.json"
    result = cli("eval", run, "--shards", test_shards, "--out", out, "--probe", "--dsl", *CPU)
    assert (result.code, result.err) == (0, "")
    record = json.loads(out.read_text())
    assert record["ranks"] == "r.ranks.parquet"
    assert record["command"].startswith(f"vtr eval {run} --shards {test_shards}")
    ranks = pq.read_table(tmp_path / "r.ranks.parquet").to_pylist()
    assert len(ranks) == 2 * 2 * 12
    raw = [row for row in ranks if row["column"] == "raw" and row["direction"] == "t2v"]
    assert sum(row["rank"] for row in raw) / 12 == pytest.approx(record["t2v"]["MnR"], abs=1e-4)
    assert all(row["text"] and row["id"].startswith("test-") for row in raw)


def test_compare(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    for name in "ab":
        cli("eval", run, "--shards", test_shards, "--out", tmp_path / f"{name}.json", *CPU)
    result = cli("eval", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "no evidence of a difference"
    assert json.loads(cli("eval", "compare", tmp_path / "a.json", tmp_path / "b.json", "--json").out)["column"] == "raw"
    refused(cli("eval", "compare", tmp_path / "a.json", tmp_path / "b.json", "--column", "+DSL"), 2, "no column '+DSL'")
    helped = cli("eval", "compare", "--help")
    assert helped.code == 0
    assert "Usage: vtr eval compare " in helped.out
    assert [line.strip() for line in helped.out.splitlines() if line.strip()][-3] == "Examples:"
    assert "vtr eval compare A B" in cli("eval", "--help").out


def test_a_run_may_be_called_compare(
    cli: Cli, run: Path, test_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compare").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    assert cli("eval", "./compare", "--shards", test_shards, *CPU).code == 0


def test_embeddings_alone(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    cli("embed", run, "--shards", test_shards, "--out", tmp_path / "e", "--captions", *CPU)
    found = json.loads(cli("eval", "--embeddings", tmp_path / "e", "--json").out)
    plain = json.loads(cli("eval", run, "--shards", test_shards, "--json", *CPU).out)
    assert found["t2v"] == plain["t2v"]


def test_a_part_says_so(cli: Cli, run: Path, test_shards: Path) -> None:
    given = ("eval", run, "--shards", test_shards, "--protocol", "msrvtt-1ka", *CPU)
    refused(cli(*given), 2, "this is not MSR-VTT 1k-A: 12 of 1000 videos, 12 of 1000 captions", "--allow-partial")
    for form in ("rich", "markdown", "latex", "csv"):
        text = " ".join(cli(*given, "--allow-partial", "--format", form).out.split())
        assert "PARTIAL: 12 of 1000 videos" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("RUN", "--shards", "TEST", "--format", "html"), "the format 'html' is unknown"),
        (("RUN", "--shards", "TEST", "--protocol", "x"), "the protocol 'x' is unknown"),
        (("RUN", "--shards", "TEST", "--out", "."), "--out . is a directory"),
        (("--embeddings", "nowhere"), "nowhere does not exist"),
    ],
)
def test_what_is_wrong_is_refused(
    cli: Cli, run: Path, test_shards: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = [{"RUN": run, "TEST": test_shards}.get(word, word) for word in arguments]
    refused(cli("eval", *given), 2, words)


@pytest.mark.parametrize("arguments", [(), ("--embeddings", "e", "run"), ("run",), ("compare", "a.json")])
def test_what_is_missing_is_told(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli("eval", *arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: vtr eval" in result.err
