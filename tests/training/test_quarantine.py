"""A few bad videos are named and counted; a broken data set stops the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vtr.errors import WorkError
from vtr.training.quarantine import Quarantine


def bad(*numbers: int, kind: str = "corrupt") -> list[tuple[str, str, str]]:
    return [(f"clip-{n}", kind, f"clip-{n} is torn") for n in numbers]


def test_each_bad_video_is_named_once_over_all_runs(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    first = Quarantine(path)
    assert not path.exists()
    first.add(100, bad(1, 2))
    first.add(100, bad(1))
    with path.open("a") as file:
        file.write('{"key": "cl')  # a killed run's last line
    again = Quarantine(path)
    again.add(100, bad(2, 3, kind="truncated"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["key"] for line in lines] == ["clip-1", "clip-2", "clip-3"]
    assert lines[0] == {"key": "clip-1", "kind": "corrupt", "message": "clip-1 is torn"}
    assert again.kinds == {"truncated": 2}


def test_one_bad_video_of_a_small_set_never_stops_the_run(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q")
    for _ in range(500):
        quarantine.add(24, bad(7))
    assert quarantine.kinds.total() == 500


def test_one_in_a_hundred_of_many_stops_it(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q")
    with pytest.raises(
        WorkError, match=r"21 of 525 samples could not be read \(21 corrupt\), the last: clip-20: "
    ) as e:
        for n in range(1000):
            quarantine.add(25, bad(n))
    assert "q names them" in e.value.hint
    fewer = Quarantine(tmp_path / "p")
    for n in range(1000):
        fewer.add(101, bad(n))


def test_most_of_few_stop_it(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q")
    quarantine.add(8, bad(*range(5)))
    with pytest.raises(WorkError, match=r"10 of 16 samples could not be read"):
        quarantine.add(8, bad(*range(5)))
