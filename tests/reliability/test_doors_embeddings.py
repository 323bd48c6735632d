"""Nothing let in, of embeddings and results: indexes and copies beside them, ranks, and what is printed of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from door_helpers import CPU, HTML, Trap, array, changed, payloads, pickled, tried

from vtr import api, checkpoint
from vtr.errors import DataError, VtrError
from vtr.retrieval import mapped
from vtr.retrieval.plan import PLAN

STEERS = f"\x1b]0;owned\x07\x1b[2J\x9b31m{HTML}[bold]\u202e"


def test_the_array_does_leave_a_file(tmp_path: Path) -> None:
    """What follows could not fail otherwise."""
    (tmp_path / "a.npy").write_bytes(array(tmp_path / "mark"))
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "mark").exists()


@pytest.fixture
def export(embeddings: Path, tmp_path: Path) -> Path:
    return shutil.copytree(embeddings, tmp_path / "e")


@pytest.mark.parametrize("index", ["exact", "faiss", "lancedb"])
def test_a_link_for_the_folder_of_indexes(mark: Path, outside: Path, index: str, export: Path) -> None:
    """Indexes of other rows are removed from there, whole folders among them."""
    (export / ".index").symlink_to(outside)
    with pytest.raises(DataError, match=r"\.index is a link"):
        api.search(export, "a", index=index, device="cpu")


def test_the_copy_of_many_vectors(
    mark: Path, outside: Path, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays with pickles, an npz, links and pipes under its name: it is made anew, and what they lead to stays."""
    monkeypatch.setattr(mapped, "LARGE", 100)
    wanted = api.search(export, "a", device="cpu")
    [copy] = (export / ".index").glob("vectors-*.npy")
    np.savez(tmp_path / "z.npz", a=np.array([Trap(mark)], dtype=object))
    for payload in (*payloads(mark).values(), (tmp_path / "z.npz").read_bytes()):
        copy.write_bytes(payload)
        assert api.search(export, "a", device="cpu") == wanted
    for target in (outside / "notes.txt", outside / "not there yet", Path("/dev/zero"), None):
        copy.unlink()
        os.mkfifo(copy) if target is None else copy.symlink_to(target)
        (copy.parent / "vectors-other.npy").symlink_to(outside / "vectors-mine.npy")
        assert api.search(export, "a", device="cpu") == wanted
        assert copy.is_file()
        assert not copy.is_symlink()


def test_a_table_of_lancedb(mark: Path, outside: Path, export: Path) -> None:
    """Its files are pickles, lie outside, or it is a link to a folder that holds other things."""
    pytest.importorskip("lancedb")

    def search() -> object:
        return api.search(export, "a", index="lancedb", device="cpu")

    wanted = search()
    [table] = (export / ".index").glob("vtr-*.lance")
    whole = shutil.copytree(table, export.parent / "whole")
    files = [path.relative_to(table) for path in table.rglob("*") if path.is_file()]
    assert len(files) > 1

    def anew() -> None:
        shutil.rmtree(table, ignore_errors=True)
        shutil.copytree(whole, table)

    for name in files:
        (table / name).write_bytes(pickled(mark, "zip"))
        tried(search)
        anew()
    for path in (table / files[0], *(path for path in table.iterdir() if path.is_dir()), table):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(outside)
        with pytest.raises(DataError, match="is a link, a LanceDB table has none"):
            search()
        path.unlink()
        anew()
    (export / ".index" / "vtr-other.lance").symlink_to(outside)
    assert search() == wanted


@pytest.mark.parametrize("format", ["parquet", "npy"])
def test_pipes_and_folders_in_an_export(outside: Path, format: str, export: Path, run: Path, test_shards: Path) -> None:
    """None is waited for, none is read as what it leads to."""
    if format == "npy":
        api.embed(run, test_shards, export, format="npy", captions=True, overwrite=True, **CPU)
    files = [path for path in export.rglob("*") if path.is_file()]
    for path in files:
        for target in (outside / "notes.txt", Path("/dev/zero"), outside, None):
            kept = path.with_name(".kept")
            path.rename(kept)
            os.mkfifo(path) if target is None else path.symlink_to(target)
            with pytest.raises(VtrError):
                api.search(export, "a", device="cpu")
            tried(lambda: api.evaluate(embeddings=export, draws=0))
            path.unlink()
            kept.rename(path)
    assert {PLAN} < {path.name for path in files}


@pytest.fixture(scope="module")
def result(run: Path, test_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "a.json"
    api.evaluate(run, test_shards, draws=0, **CPU).write(path)
    return path


def test_ranks_of_a_result(mark: Path, outside: Path, result: Path, tmp_path: Path) -> None:
    """Whose digest stands in the result, as anybody can write it."""
    copy = tmp_path / "a.json"
    ranks = tmp_path / "a.ranks.parquet"
    record = json.loads(result.read_text())
    for payload in payloads(mark).values():
        ranks.write_bytes(payload)
        copy.write_text(json.dumps(record | {"ranks_sha256": checkpoint.sha256(ranks)}))
        with pytest.raises(DataError, match="cannot be read"):
            api.compare(copy, copy)
    for name in (outside / "notes.txt", Path("/dev/zero"), None):
        ranks.unlink()
        os.mkfifo(ranks) if name is None else ranks.symlink_to(name)
        with pytest.raises(DataError):
            api.compare(copy, copy)


def test_what_a_result_says_in_the_card_of_an_export(mark: Path, result: Path, run: Path, tmp_path: Path) -> None:
    """Its words do not get into the page of the model, only figures do."""
    record = json.loads(result.read_text())
    evil = {"R@1": HTML, "R@5": "../../x", "metrics": {"R@1": HTML}}
    (tmp_path / "r.json").write_text(json.dumps(record | {"t2v": evil, "videos": HTML, HTML: {"v2t": evil}}))
    api.export(run, tmp_path / "hf", result=tmp_path / "r.json")
    assert "<script" not in (tmp_path / "hf" / "README.md").read_text()
    for payload in payloads(mark).values():
        (tmp_path / "r.json").write_bytes(payload)
        with pytest.raises(VtrError, match="is no result"):
            api.export(run, tmp_path / "other", result=tmp_path / "r.json")


def test_nothing_that_is_printed_steers_a_terminal(
    mark: Path, export: Path, result: Path, test_shards: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Captions, names, what skipped.jsonl and manifest.json say, and results, as tables and as JSON."""
    from vtr.cli import main

    shards = shutil.copytree(test_shards, tmp_path / "s")
    changed(shards / "index.parquet", captions=[STEERS], key=STEERS, split=STEERS)
    whole = json.loads((shards / "manifest.json").read_text())
    (shards / "manifest.json").write_text(json.dumps(whole | {"census": {"warnings": [STEERS]}}))
    changed(export / "emb-00000.parquet", id=STEERS, source=STEERS, caption=STEERS)
    other = tmp_path / "b.json"
    record = json.loads(result.read_text())
    shutil.copy(result.with_name("a.ranks.parquet"), tmp_path / "b.ranks.parquet")
    other.write_text(json.dumps(record | {"ranks": "b.ranks.parquet", "model": STEERS, "command": STEERS}))
    for verb in (["inspect", shards], ["search", export, "a", "--device", "cpu"], ["eval", "compare", other, other]):
        for more in ([], ["--json"]):
            monkeypatch.setattr(sys, "argv", ["vtr", *map(str, verb), *more])
            with pytest.raises(SystemExit):
                main()
            told = capsys.readouterr()
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(told.out + told.err), (verb, more)
            assert "script" in told.out + told.err or verb[0] == "eval", (verb, told)
