"""An output that may not be written, and inputs that may not be read: one red line each, and what was there stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import VTR, Cli, refused

CPU = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture
def read_only(disk_of: Callable[[int], Path], embeddings: Path, run: Path, shards: Path) -> Path:
    """A file system that nobody may write to, with embeddings, a run and shards on it."""
    disk = disk_of(64 << 10)
    shutil.copytree(embeddings, disk / "embeddings")
    shutil.copytree(run, disk / "run")
    shutil.copytree(shards, disk / "shards")
    (disk / "tars").mkdir()
    shutil.copy(next(shards.glob("*.tar")), disk / "tars")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=True)
    return disk


@pytest.mark.parametrize("place", ["new", "there"])
def test_a_read_only_output(
    cli: Cli, read_only: Path, place: str, nano: Path, run: Path, shards: Path, test_shards: Path
) -> None:
    new = place == "new"
    out = read_only / ("new" if new else "run")
    export = read_only / ("new" if new else "embeddings")
    more = ("--overwrite",) if not new else ()
    for given in (
        ("shard", "synthetic", "seed:3", read_only / ("new" if new else "shards"), "--limit", 25, "--workers", 1),
        ("pretrain", nano, "--shards", shards, "--out", out, "--fresh"),
        ("finetune", run, "--shards", shards, "--out", out, "--fresh"),
        ("embed", run, "--shards", test_shards, "--out", export, *more, *CPU),
        ("export", run, "--out", read_only / "new"),
        ("inspect", read_only / "tars", "--index", "--workers", 1),
    ):
        refused(cli(*given), 1, "Read-only file system")
    # The place of a lone file is looked at before any work: that is bad input, and no work has failed.
    for given in (
        ("inspect", shards, "--sheet", read_only / "sheet.png"),
        ("inspect", run, "--reconstruct", read_only / "new" / "sheet.png"),
        ("eval", run, "--shards", test_shards, "--json", "--out", read_only / "r.json", *CPU),
        ("eval", run, "--shards", test_shards, "--report", read_only / "new" / "r.html", *CPU),
        ("search", read_only / "embeddings", "a dog", "--html", read_only / "page.html", "--device", "cpu"),
    ):
        refused(cli(*given), 2, "Read-only file system")


def test_what_is_read_only_can_be_read(cli: Cli, read_only: Path, tmp_path: Path) -> None:
    for given in (
        ("inspect", read_only / "shards", "--verify", "--workers", 1),
        ("eval", read_only / "run", "--shards", read_only / "shards", *CPU),
        ("embed", read_only / "run", "--shards", read_only / "shards", "--out", tmp_path / "e", *CPU),
        ("search", read_only / "embeddings", "a dog", "--run", read_only / "run", "--device", "cpu"),
        ("finetune", read_only / "run", "--shards", read_only / "shards", "--out", tmp_path / "ft", "--steps", 1),
    ):
        done = cli(*given)
        assert done.code == 0, (given, done.err)


@pytest.fixture
def common(tmp_path: Path, run: Path, shards: Path, embeddings: Path, nano: Path) -> Path:
    """A folder with a run, shards, embeddings, a recipe and a table."""
    folder = tmp_path / "common"
    folder.mkdir()
    for source, name in ((run, "run"), (shards, "shards"), (embeddings, "embeddings")):
        shutil.copytree(source, folder / name)
    shutil.copy(nano, folder / "nano.toml")
    (folder / "t.csv").write_text("video,caption\na.mp4,a dog\n")
    return folder


def as_somebody(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line as a user who may do what modes allow; root is one once it has given up its override."""
    plain = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.getuid() == 0 else ()
    return subprocess.run(
        [*plain, VTR, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=folder, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "given", "code", "words"),
    [
        ("t.csv", ["shard", "table", "t.csv", "s"], 2, "cannot be read"),
        ("nano.toml", ["pretrain", "nano.toml", "--shards", "shards", "--out", "o"], 2, "cannot be read"),
        ("shards/000001.tar", ["pretrain", "nano.toml", "--shards", "shards", "--out", "o", "--workers", "0"], 2,
         "000001.tar cannot be opened: Permission denied"),
        ("shards/index.parquet", ["inspect", "shards"], 2, "Permission denied"),
        ("run/checkpoints", ["eval", "run", "--shards", "shards"], 2, "Permission denied"),
        ("embeddings/emb-00000.parquet", ["search", "embeddings", "a dog"], 2, "Permission denied"),
        ("", ["shard", "synthetic", "seed:3", "closed/s", "--limit", "2"], 1, "Permission denied"),
        ("", ["pretrain", "nano.toml", "--shards", "shards", "--out", "closed/o"], 1, "Permission denied"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)  # fmt: skip
def test_permission_denied(common: Path, closed: str, given: list[str], code: int, words: str) -> None:
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may do everything")
    place = common / (closed or "closed")
    if not closed:
        place.mkdir()
    mode = place.stat().st_mode
    place.chmod(0o000 if closed else 0o555)
    done = as_somebody(common, *given)
    place.chmod(mode)  # for whoever cleans up
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert lines[-2].startswith("error: "), done.stderr
    assert words in lines[-2]
    assert "Traceback" not in done.stderr
