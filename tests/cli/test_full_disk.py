"""A full disk while writing: one red line, exit code 1, and what was made stays whole."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_helpers import Cli, refused

from vtr import api, build, checkpoint

CPU = ("--device", "cpu", "--precision", "fp32")
KB = 1024


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 20 KB: what a full disk is like for those who cannot mount one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * KB, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(KB))


def test_training_keeps_the_checkpoints_that_are_whole(cli: Cli, disk_of, nano: Path, shards: Path, run: Path) -> None:
    size = sum(path.stat().st_size for path in checkpoint.steps(run)[-1].rglob("*"))
    out = disk_of(round(1.5 * size / KB)) / "run"
    result = cli("pretrain", nano, "--shards", shards, "--out", out)
    assert (result.code, result.out) == (1, "")
    *_, error, hint = result.err.splitlines()
    assert error == f"error: no room left in {out} while writing step-00000004 (No space left on device)"
    assert hint.startswith("hint: make room and run the same command again")
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000002"]
    assert build.load_parts(out)[3].name == "step-00000002"


def test_training_where_there_is_no_room_at_all(cli: Cli, disk_of, nano: Path, shards: Path) -> None:
    disk = disk_of(64)
    fill(disk / "filler")
    result = cli("pretrain", nano, "--shards", shards, "--out", disk / "run")
    refused(result, 1, f"no room left in {disk / 'run'} while starting the run")


def test_every_verb_that_writes(cli: Cli, disk_of, run: Path, test_shards: Path) -> None:
    disk = disk_of(20)
    sharded = cli("shard", "synthetic", "seed:0", disk / "s", "--limit", 8, "--workers", 1)
    refused(sharded, 1, "no room left", "make room and run the same command again")
    assert not list((disk / "s").glob("*.tar"))
    shutil.rmtree(disk / "s")
    fill(disk / "filler")
    refused(cli("embed", run, "--shards", test_shards, "--out", disk / "e", *CPU), 1, "No space left on device")
    assert not list((disk / "e").glob("*"))
    scored = cli("eval", run, "--shards", test_shards, "--json", "--out", disk / "result.json", *CPU)
    assert scored.code == 1
    assert set(json.loads(scored.out)["t2v"]) == {"R@1", "R@5", "R@10", "MdR", "MnR"}, "printed, though not written"
    assert "No space left on device" in scored.err
    assert not (disk / "result.json").exists()


@pytest.mark.usefixtures("small_files")
def test_files_that_may_not_grow(cli: Cli, nano: Path, shards: Path, tmp_path: Path) -> None:
    trained = cli("pretrain", nano, "--shards", shards, "--out", tmp_path / "run")
    assert trained.code == 1
    assert trained.err.splitlines()[-2].startswith(f"error: no room left in {tmp_path / 'run'} while writing step-")
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    sharded = cli("shard", "synthetic", "seed:0", tmp_path / "s", "--limit", 8, "--workers", 1)
    refused(sharded, 1, "no room left")
    assert not list((tmp_path / "s").glob("*.tar"))


def test_an_export_that_is_to_be_replaced_stays(
    cli: Cli, run: Path, test_shards: Path, tmp_path: Path, embeddings: Path
) -> None:
    out = shutil.copytree(embeddings, tmp_path / "e")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KB, hard))
    try:
        refused(cli("embed", run, "--shards", test_shards, "--out", out, "--overwrite", *CPU), 1, str(out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert len(api.search(out, "a dog", device="cpu")) == 5
