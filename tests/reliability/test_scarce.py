"""No room left: on the disk of what a command writes, and in the shared memory of its workers."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CPU = ("--device", "cpu", "--precision", "fp32")
FULL = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/filler && exec "$@"'
UNSHARED = ("unshare", "-m", "sh", "-c", FULL, "sh")


def vtr(*arguments: object, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "vtr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line and a hint on stderr, exit code 1."""
    print(done.returncode, done.stderr[-1500:])
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 1, done.stderr
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    for word in words:
        assert word in error + hint


@pytest.fixture
def full(disk_of: Callable[[int], Path]) -> Path:
    disk = disk_of(16)
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    return disk


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hf", "onnx"])
def test_an_export_of_a_run(kind: str, run: Path, disk_of: Callable[[int], Path]) -> None:
    if kind == "onnx":
        pytest.importorskip("onnx")
    out = disk_of(64) / "hub"
    refused(vtr("export", run, "--to", kind, "--out", out), "No space left on device")
    assert not out.exists()


@pytest.mark.slow
def test_pages_and_pictures(full: Path, embeddings: Path, test_shards: Path) -> None:
    before = {path.name for path in full.iterdir()}
    refused(vtr("search", embeddings, "a dog", "--html", full / "p.html", "--device", "cpu"), "No space left", "p.html")
    refused(vtr("inspect", test_shards, "--sheet", full / "s.png"), "No space left on device", "s.png")
    assert {path.name for path in full.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["shard", "pretrain", "embed", "spans", "eval", "verify", "page", "processes"])
def test_full_shared_memory(
    verb: str, nano: Path, shards: Path, test_shards: Path, run: Path, embeddings: Path, tmp_path: Path
) -> None:
    """Either it is done without, or it is said what has no room."""
    if shutil.which("unshare") is None or subprocess.run([*UNSHARED, "true"], check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    out = tmp_path / "out"
    command = {
        "shard": ("shard", "synthetic", "seed:0", out, "--limit", 8, "--workers", 2),
        "pretrain": ("pretrain", nano, "--shards", shards, "--out", out, "--workers", 1),
        "embed": ("embed", run, "--shards", test_shards, "--out", out, "--workers", 1, *CPU),
        "spans": ("embed", run, "--shards", test_shards, "--out", out, "--segments", "0.4s", "--workers", 1, *CPU),
        "eval": ("eval", run, "--shards", test_shards, "--out", out, "--workers", 1, *CPU),
        "verify": ("inspect", test_shards, "--verify", "--workers", 2),
        "page": ("search", embeddings, "a dog", "--html", out, "--device", "cpu"),
        "processes": ("pretrain", nano, "--shards", shards, "--out", out, "--num-processes", 2),
    }[verb]
    done = vtr(*command, before=UNSHARED)
    print(verb, done.returncode, done.stderr[-1500:])
    if done.returncode:
        refused(done, "/dev/shm")
    else:
        assert "Traceback" not in done.stderr
