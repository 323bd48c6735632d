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


def test_of_a_mixture_two_videos_may_have_one_key(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    errors = [(*bad(7)[0], shards) for shards in ("a", "b")]
    Quarantine(path).add(100, errors)
    Quarantine(path).add(100, errors)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["key"], line["shards"]) for line in lines] == [("clip-7", "a"), ("clip-7", "b")]
    many = Quarantine(tmp_path / "q")
    with pytest.raises(WorkError, match=r"22 of 100 samples"):
        many.add(100, [(key, kind, why, shards) for key, kind, why in bad(*range(11)) for shards in ("a", "b")])


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


def test_of_several_processes_one_writes_and_all_count_the_same(tmp_path: Path) -> None:
    """Two quarantines of two processes; `gather` is what the other one has too."""
    path = tmp_path / "q"
    waiting: list[list] = [[], []]
    ranks = [Quarantine(path, gather=lambda own: waiting[0] + waiting[1], write=rank == 0) for rank in range(2)]
    for turn in range(2):
        ranks[0].add(8, bad(1, 2))
        ranks[1].add(8, bad(3, kind="timeout"))
        assert ranks[0].kinds.total() == 3 * turn, "nothing is counted before they agree"
        waiting[:] = [list(ranks[0]._waiting), list(ranks[1]._waiting)]
        for rank in ranks:
            rank.agree()
        assert ranks[0].kinds == ranks[1].kinds
    assert ranks[0].kinds == {"corrupt": 4, "timeout": 2}
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["clip-1", "clip-2", "clip-3"]
    for number, rank in enumerate(ranks):
        rank.add(32, bad(*range(30 * number, 30 * number + 30)))
    waiting[:] = [list(rank._waiting) for rank in ranks]
    for rank in ranks:
        with pytest.raises(WorkError, match=r"66 of 96 samples could not be read \(64 corrupt, 2 timeout\)"):
            rank.agree()
