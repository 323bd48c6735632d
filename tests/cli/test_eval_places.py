"""Where `vtr eval` may write: seen before any work, and nothing that is read, or another result, is lost to it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Cli, refused

from vtr import api


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The arguments of an evaluation of a few vectors in a new folder, where the test then is."""
    rng = np.random.default_rng(0)
    (tmp_path / "e").mkdir()
    for name in ("video", "text"):
        np.save(tmp_path / "e" / f"{name}.npy", rng.standard_normal((6, 4)))
    np.save(tmp_path / "e" / "caption_video.npy", np.arange(6))
    (tmp_path / "e" / "videos.txt").write_text("".join(f"v{i}\n" for i in range(6)))
    (tmp_path / "e" / "captions.txt").write_text("".join(f"c{i}\n" for i in range(6)))
    (tmp_path / "e.link").symlink_to("e")
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return "eval", "--embeddings", "e"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--out", "s.json", "--report", "s.json"), "--report s.json would take the place of --out s.json"),
        (("--out", "s.json", "--report", "x/../s.json"), "would take the place of --out s.json"),
        (("--out", "s.json", "--report", "s.ranks.parquet"), "the place of s.ranks.parquet, the ranks of --out"),
        (("--out", "e/video.npy"), "--out e/video.npy lies in"),
        (("--out", "e/r.json"), "--out e/r.json lies in"),
        (("--out", "e.link/r.json"), "--out e.link/r.json lies in"),
        (("--report", "e/text.npy"), "--report e/text.npy lies in"),
        (("--report", "pipe"), "pipe is no plain file"),
        (("--report", "/dev/null"), "/dev/null is no plain file"),
        (("--out", "file/y.json"), "file/y.json cannot be written: Not a directory"),
        (("--out", "/proc/x/y.json"), "/proc/x/y.json cannot be written"),
        (("--report", "new/r.html", "--out", "/proc/x/y.json"), "/proc/x/y.json cannot be written"),
    ],
)
def test_a_place_that_will_not_do_is_refused_before_the_work(
    cli: Cli, given: tuple[object, ...], tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    (tmp_path / "x").mkdir()
    before = content(tmp_path)
    refused(cli(*given, *more), 2, words)
    assert content(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_what_a_link_points_to_is_written(cli: Cli, given: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "r.json").symlink_to("kept/first.json")
    (tmp_path / "r.html").symlink_to("kept/page.html")
    assert cli(*given, "--out", "r.json", "--report", "r.html").code == 0
    assert (tmp_path / "r.json").is_symlink()
    assert (tmp_path / "kept" / "page.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "kept" / "first.json").read_text())["ranks"] == "first.ranks.parquet"
    assert api.compare("r.json", "kept/first.json")["verdict"] == "no evidence of a difference"


def test_what_is_printed_is_what_is_written(cli: Cli, given: tuple[object, ...], tmp_path: Path) -> None:
    printed = json.loads(cli(*given, "--json", "--out", "new/folder/res-0.5").out)
    assert printed == json.loads((tmp_path / "new" / "folder" / "res-0.5").read_text())
    assert (printed["ranks"], len(printed["ranks_sha256"])) == ("res-0.5.ranks.parquet", 64)


def test_two_results_do_not_share_their_ranks(cli: Cli, given: tuple[object, ...], tmp_path: Path) -> None:
    assert cli(*given, "--out", "a.json").code == 0
    assert cli(*given, "--out", "a.json", "--seed", 1).code == 0
    refused(cli(*given, "--out", "a"), 2, "a.json would share the ranks a.ranks.parquet", "another name")


def test_a_result_may_lie_beside_its_run_and_takes_no_file_of_it(
    cli: Cli, run: Path, test_shards: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    one = ("eval", copy, "--shards", test_shards, "--device", "cpu")
    for name in ("run.json", "config.toml", "checkpoints/x.json"):
        refused(cli(*one, "--out", copy / name), 2, "which is read", "somewhere else")
    refused(cli(*one, "--out", test_shards / "index.parquet"), 2, "index.parquet lies in")
    assert cli(*one, "--out", copy / "result.json").code == 0


def test_a_result_may_lie_beside_the_tars_of_a_pattern(
    cli: Cli, run: Path, shards: Path, test_shards: Path, tmp_path: Path
) -> None:
    """Only what the pattern names, would name, or what is read with it may not be written."""
    copy = shutil.copytree(test_shards, tmp_path / "s")
    before = content(copy)
    for pattern in ("*.tar", "{000000..000000}.tar", "00000?.tar"):
        one = ("eval", run, "--shards", copy / pattern, "--device", "cpu")
        refused(cli(*one, "--out", copy / "000000.tar"), 2, "000000.tar, which is read")
        refused(cli(*one, "--out", copy / "index.parquet"), 2, "index.parquet, which is read")
    refused(cli("eval", run, "--shards", copy / "*.tar", "--out", copy / "r.tar"), 2, "r.tar would be one of the files")
    assert content(copy) == before
    for pattern in ("*.tar", "{000000..000000}.tar"):
        done = cli("eval", run, "--shards", copy / pattern, "--device", "cpu", "--out", copy / "r.json")
        assert done.code == 0, done.err
    assert {name: content(copy)[name] for name in before} == before
