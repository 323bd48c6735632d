"""Processes that do not meet, or lose each other before they have begun: an error in words, no traceback, no hang."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import Cli, refused
from process_helpers import command, spawn

LEAVES = """
import os, torch.distributed as dist
dist.init_process_group("gloo")
os._exit(0)
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def place(rank: int, port: int) -> dict[str, str]:
    """The environment of one of two, as a launcher gives it."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    return {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in own.items()}}


@pytest.mark.slow
def test_one_that_leaves_before_the_first_step(nano: Path, shards: Path, tmp_path: Path, port: int) -> None:
    process = spawn(command(nano, shards, tmp_path / "run"), env=place(0, port))
    subprocess.run([sys.executable, "-c", LEAVES], env=place(1, port), timeout=120, check=True)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: another of the 2 processes is gone: " in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_an_address_that_is_taken(nano: Path, shards: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = spawn(command(nano, shards, tmp_path / "run"), env=place(0, port))
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    error, hint = stderr.splitlines()[-2:]
    assert error.startswith(f"error: the 2 processes of this run do not meet at 127.0.0.1:{port}: "), stderr
    assert hint.startswith("hint: see what the others said, and that no other program listens there; then")
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    "told",
    [
        {"RANK": "0", "WORLD_SIZE": "two"},
        {"WORLD_SIZE": "two"},
        {"WORLD_SIZE": "2", "RANK": "first"},
        {"RANK": "0", "LOCAL_RANK": "-1"},
        {"LOCAL_RANK": "q"},
        {"LOCAL_RANK": "9" * 5000},
    ],
)
def test_a_place_that_is_no_number(
    cli: Cli, nano: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    result = cli("pretrain", nano, "--shards", shards, "--out", tmp_path / "run")
    name, value = list(told.items())[-1]
    refused(result, 2, f"the environment says {name}={value}, where a launcher", "give --num-processes N")


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0"),
        ({"RANK": "5", "WORLD_SIZE": "2"}, "RANK=5, WORLD_SIZE=2"),
        ({"RANK": "1"}, "RANK=1"),
    ],
)
def test_a_place_that_cannot_be(
    cli: Cli, run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], named: str
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    words = f"the environment says {named}: a RANK counts from 0, to one less than WORLD_SIZE"
    for verb in (("finetune", run, "--out", tmp_path / "run"), ("embed", run, "--out", tmp_path / "vectors")):
        refused(cli(*verb, "--shards", shards, "--device", "cpu"), 2, words, "unset RANK and WORLD_SIZE and give")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", ["abc", "-7", "9" * 30, "1000000"])
def test_a_line_to_no_launcher(
    cli: Cli, nano: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("VTR_LINE", line)
    result = cli("pretrain", nano, "--shards", shards, "--out", tmp_path / "run")
    refused(result, 2, f"the environment says VTR_LINE={line}, by which vtr's own launcher", "unset VTR_LINE")


@pytest.mark.parametrize("told", [{"RANK": "0", "WORLD_SIZE": "2"}, {"LOCAL_RANK": "0"}, {"PMI_SIZE": "2"}])
def test_a_place_without_an_address(nano: Path, shards: Path, tmp_path: Path, told: dict[str, str]) -> None:
    process = spawn(command(nano, shards, tmp_path / "run"), env={**os.environ, **told})
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2, stderr
    assert stdout == ""
    error, hint = stderr.splitlines()[-2:]
    assert error.startswith("error: what RANK, WORLD_SIZE and MASTER_ADDR say does not connect the processes: "), stderr
    assert hint.startswith("hint: give --num-processes N, or start with")
    assert "Traceback" not in stderr
