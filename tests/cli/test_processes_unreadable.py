"""Bit rot under two processes: few bad videos are masked and named once, many stop both processes with one error."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_helpers import VTR

from vtr.data.index import ShardIndex


def rotten(shards: Path, out: Path, samples: range) -> ShardIndex:
    """A copy of `shards` in which a byte of each of `samples`' videos is another."""
    shutil.copytree(shards, out)
    index = ShardIndex.open(out)
    for sample in samples:
        member = next(m for m in index.members(sample) if m.ext == "mp4")
        with (out / index.shards[index.shard_of[sample]].name).open("r+b") as file:
            file.seek(member.offset + member.size // 2)
            old = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([old[0] ^ 16]))
    return index


def train(nano: Path, shards: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [VTR, "pretrain", nano, "--shards", shards, "--out", out, "--num-processes", 2, "--workers", 1]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_bad_sample_is_masked_on_every_process_and_named_once(nano: Path, shards: Path, tmp_path: Path) -> None:
    index = rotten(shards, tmp_path / "s", range(6, 7))
    done = train(nano, tmp_path / "s", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    named = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["key"], line["kind"]) for line in named] == [(index.key(6), "corrupt")]
    assert "CRC-32" in named[0]["message"]
    assert "2 samples could not be read: see" in done.stderr, "one in each of two epochs"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["unreadable"] == 2


def test_many_bad_samples_stop_both_processes(nano: Path, shards: Path, tmp_path: Path) -> None:
    rotten(shards, tmp_path / "s", range(18))
    done = train(nano, tmp_path / "s", tmp_path / "run")
    assert done.returncode == 1, done.stderr
    assert "samples could not be read (" in done.stderr
    assert "Traceback" not in done.stderr
    said = {line for line in done.stderr.splitlines() if line.startswith("error: ")}
    assert len(said) == 1, "each process stops of the same"
