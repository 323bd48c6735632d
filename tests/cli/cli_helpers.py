"""The command line, called in this process or as a real one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

VTR = str(Path(sys.executable).with_name("vtr"))


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and its two streams, file descriptors included."""

    code: int
    out: str
    err: str


class Cli:
    """`cli("eval", run, "--shards", shards) -> Result`, by way of the entry point itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, *arguments: object) -> Result:
        from vtr.cli import main

        self.monkeypatch.setattr(sys, "argv", ["vtr", *map(str, arguments)])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = self.capfd.readouterr()
        return Result(int(stop.value.code or 0), out, err)


def rows(run: Path) -> list[dict]:
    """The lines of a run's metrics that are whole."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def refused(result: Result, code: int, *words: str) -> None:
    """One red line and a hint on stderr, nothing on stdout, no traceback."""
    assert result.code == code, result
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == 2, result.err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    for word in words:
        assert word in result.err
