"""Two commands on one --out: the second is refused by a lock that dies with who holds it, whatever the verb."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import Cli, refused

HOLD = "import sys, time\nfrom pathlib import Path\nfrom vtr.atomic import locked\n"
HOLD += "with locked(Path(sys.argv[1]), 'x'):\n    print('held', flush=True)\n    time.sleep(600)\n"
CPU = ("--device", "cpu", "--precision", "fp32")


def holder(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds `lock`."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("verb", ["shard", "pretrain", "finetune", "embed", "export", "inspect --index"])
def test_a_second_command_is_refused_until_the_first_is_no_more(
    cli: Cli, verb: str, nano: Path, run: Path, shards: Path, test_shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    one = ("--steps", 1)
    commands: dict[str, tuple[Path, Callable[[], tuple[object, ...]]]] = {
        "shard": (out / ".lock", lambda: ("shard", "synthetic", "seed:3", out, "--limit", 3, "--workers", 1)),
        "pretrain": (tmp_path / ".out.lock", lambda: ("pretrain", nano, "--shards", shards, "--out", out, *one)),
        "finetune": (tmp_path / ".out.lock", lambda: ("finetune", run, "--shards", shards, "--out", out, *one)),
        "embed": (out / ".lock", lambda: ("embed", run, "--shards", test_shards, "--out", out, *CPU)),
        "export": (tmp_path / ".out.lock", lambda: ("export", run, "--out", out)),
        "inspect --index": (out / ".lock", lambda: ("inspect", out, "--index", "--workers", 1)),
    }
    lock, command = commands[verb]
    if verb == "inspect --index":
        out.mkdir()
        shutil.copy(next(test_shards.glob("*.tar")), out)
    process = holder(lock)
    try:
        before = sorted(tmp_path.rglob("*"))
        refused(cli(*command()), 2, "out is being written by another process", "wait until it ends")
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
    done = cli(*command())
    assert done.code == 0, done
    assert not lock.exists()
