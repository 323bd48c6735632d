"""What of sources that come again is new, changed, moved or gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vtr import api
from vtr.errors import DataError
from vtr.retrieval import plan as plans
from vtr.retrieval.merge import merged
from vtr.retrieval.plan import FILES, TEXT_LINES, EmbeddingPlan, Options, Part
from vtr.retrieval.sources import of_shards, of_text, of_videos, samples_of

EMPTY = EmbeddingPlan(Options(), {"model": "m", "weights_sha256": "w"})


def lines(plan: EmbeddingPlan) -> list[list[tuple[str, str]]]:
    return [list(part.items) for part in plan.parts]


def unchanged(old: EmbeddingPlan, new: EmbeddingPlan) -> list[int]:
    """The parts that are done once they were."""
    pairs = zip(old.parts, new.parts, strict=False)
    return [n for n, (before, after) in enumerate(pairs) if before.digest(old) == after.digest(new)]


def text(path: Path, *rows: str) -> list[Part]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return of_text(path)


def test_lines_added_to_a_file_are_the_only_ones_that_are_new(tmp_path: Path) -> None:
    one = merged(EMPTY, text(tmp_path / "q.txt", "a", "mine\tb"))
    two = merged(one, text(tmp_path / "q.txt", "a", "mine\tb", "c"))
    assert lines(two) == [[("q.txt:1", "a"), ("mine", "b")], [("q.txt:3", "c")]]
    assert unchanged(one, two) == [0]
    assert merged(two, of_text(tmp_path / "q.txt")) == two


def test_lines_that_a_file_has_no_more_go(tmp_path: Path) -> None:
    one = merged(EMPTY, text(tmp_path / "q.txt", "a", "b", "c", "d"))
    two = merged(one, text(tmp_path / "q.txt", "a", "new", "b"))
    assert lines(two) == [[("q.txt:1", "a"), ("q.txt:2", "new"), ("q.txt:3", "b")]]
    three = merged(two, text(tmp_path / "q.txt", "x\ta", "x\ta"))
    assert lines(three) == [[("x", "a"), ("x", "a")]], "what stands twice in a file stands twice here"


def test_a_file_of_text_that_was_moved(tmp_path: Path) -> None:
    one = merged(EMPTY, text(tmp_path / "q.txt", "a", "b"))
    (tmp_path / "d").mkdir()
    moved = (tmp_path / "q.txt").rename(tmp_path / "d/q.txt")
    two = merged(one, of_text(moved))
    assert (lines(two), unchanged(one, two)) == (lines(one), [0])
    three = merged(two, of_text(moved.rename(tmp_path / "r.txt")))
    assert lines(three) == [[("r.txt:1", "a"), ("r.txt:2", "b")]], "its lines are called after it"
    (tmp_path / "e").mkdir()
    four = merged(three, text(tmp_path / "e/r.txt", "a", "other"))
    assert lines(four) == [*lines(three), [("e/r.txt:1", "a"), ("e/r.txt:2", "other")]], "a second beside the first"


def test_a_file_of_text_that_shares_a_line_with_one_that_has_gone(tmp_path: Path) -> None:
    one = merged(EMPTY, text(tmp_path / "one.txt", "a", "b", "c"))
    (tmp_path / "one.txt").unlink()
    two = merged(one, text(tmp_path / "two.txt", "x", "b"))
    assert lines(two) == [*lines(one), [("two.txt:1", "x"), ("two.txt:2", "b")]]
    (tmp_path / "two.txt").unlink()
    three = merged(two, text(tmp_path / "three.txt", "a", "b", "c"))
    assert [Path(part.root).name for part in three.parts] == ["three.txt", "two.txt"], "b is not of both"


def test_files_of_text_of_one_name(tmp_path: Path) -> None:
    """Their lines have ids of their own, and each stays while its own file has it."""
    rows = ("a", "b", "mine\tc")
    plan = EMPTY
    for folder in ("x/d", "e", "y/d"):
        plan = merged(plan, text(tmp_path / folder / "c.txt", *rows))
    ids = [[name for name, _ in part] for part in lines(plan)]
    assert ids == [["c.txt:1", "c.txt:2", "mine"], ["e/c.txt:1", "e/c.txt:2", "mine"],
                   ["y/d/c.txt:1", "y/d/c.txt:2", "mine"]]  # fmt: skip
    for folder in ("e", "x/d", "y/d"):
        assert merged(plan, of_text(tmp_path / folder / "c.txt")) == plan
    less = merged(plan, text(tmp_path / "x/d/c.txt", "a"))
    assert lines(less) == [lines(plan)[0][:1], *lines(plan)[1:]]


def test_a_folder_that_was_moved_and_a_file_that_was_changed_in_it(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in "ab":
        (tmp_path / f"v/{name}.mp4").write_bytes(name.encode())
    one = merged(EMPTY, of_videos(tmp_path / "v"))
    new = (tmp_path / "v").rename(tmp_path / "w")
    two = merged(one, of_videos(new))
    assert (unchanged(one, two), [part.root for part in two.parts]) == ([0], [str(new)])
    (new / "a.txt").write_text("a caption beside")
    (new / "c.mp4").write_bytes(b"c")
    three = merged(two, of_videos(new))
    assert [[item[0] for item in part.items] for part in three.parts] == [["a.mp4", "b.mp4"], ["c.mp4"]]
    assert unchanged(two, three) == []
    (new / "a.txt").write_text("another one")
    assert unchanged(three, merged(three, of_videos(new))) == [1], "the part of c.mp4 alone"


def test_a_folder_that_shares_a_file_with_one_that_has_gone(tmp_path: Path) -> None:
    for name in ("a/intro", "a/bolt", "b/intro", "b/snow"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.mp4").write_bytes(b"the same")
    one = merged(EMPTY, of_videos(tmp_path / "a"))
    shutil.rmtree(tmp_path / "a")
    two = merged(one, of_videos(tmp_path / "b"))
    assert (two.parts[0], unchanged(one, two)) == (one.parts[0], [0])
    assert [(part.root, [item[0] for item in part.items]) for part in two.parts[1:]] == [
        (str(tmp_path / "b"), ["intro.mp4", "snow.mp4"])
    ]
    assert merged(two, of_videos(tmp_path / "b")) == two


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    return shard(tmp_path / "s", 6)


def shard(out: Path, limit: int, seed: int = 3, per_shard: int = 2) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    api.shard("synthetic", f"seed:{seed}", out, limit=limit, workers=1, per_shard=per_shard)
    return out


def test_a_tar_that_has_changed_takes_its_old_place(tars: Path) -> None:
    one = merged(EMPTY, of_shards(tars))
    assert merged(one, of_shards(tars)) == one
    two = merged(one, of_shards(shard(tars, 8, seed=4)))
    assert len(two.parts) == 4
    assert {part.root for part in two.parts} == {str(tars)}
    assert unchanged(one, two) == []


def test_tars_that_are_no_more_go(tars: Path) -> None:
    one = merged(EMPTY, of_shards(tars))
    two = merged(one, of_shards(shard(tars, 6, per_shard=4)))
    assert [sum(item[1] for item in part.items) for part in two.parts] == [4, 0, 2], "the last two are as before"
    assert merged(two, of_shards(tars)) == two
    some = merged(one, of_shards(f"{tars}/000000.tar"))
    assert [len(part.items) for part in some.parts] == [1, 1, 0], "what a pattern leaves out but is there stays"


def test_tars_that_were_moved_are_the_same(tars: Path) -> None:
    one = merged(EMPTY, of_shards(tars))
    moved = tars.rename(tars.with_name("t"))
    two = merged(one, of_shards(moved))
    assert (unchanged(one, two), {part.root for part in two.parts}) == ([0, 1, 2], {str(moved)})
    changed = merged(one, of_shards(shard(moved, 8)))
    assert (len(changed.parts), unchanged(one, changed)) == (4, [0, 1, 2])


def test_one_tar_of_shards_that_have_gone_leaves_the_others(tars: Path, tmp_path: Path) -> None:
    one = merged(EMPTY, of_shards(tars))
    shutil.rmtree(tars)
    two = merged(one, of_shards(shard(tmp_path / "b", 2)))
    assert [len(part.items) for part in two.parts] == [1, 1, 1]
    assert unchanged(one, two) == [0, 1, 2]
    assert merged(two, of_shards(tmp_path / "b")) == two


def test_what_was_planned_is_not_what_is_there_now(tars: Path) -> None:
    from vtr.data.index import ShardIndex

    part = of_shards(tars)[1]
    assert samples_of(ShardIndex(tars), part) == range(2, 4)
    with pytest.raises(DataError, match=r"000001.tar in .* made anew since\n.*give --shards .*/s once more"):
        samples_of(ShardIndex(shard(tars, 8, seed=4)), part)
    shard(tars, 3, per_shard=1)  # another place in the index
    with pytest.raises(DataError, match="not what was to be embedded"):
        samples_of(ShardIndex(tars), part)
    with pytest.raises(DataError, match="not what was to be embedded"):
        samples_of(ShardIndex(tars), replace(part, items=(("000099.tar", *part.items[0][1:]),)))


def test_names_that_are_not_utf8_are_noted(tmp_path: Path) -> None:
    odd = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    plan = replace(EMPTY, parts=(Part(FILES, "/v", ((odd, 1, 2, ""),)), Part(TEXT_LINES, f"/{odd}", ())))
    plan.write(tmp_path)
    assert plans.read(tmp_path) == plan
    assert plans.printable(odd) == "caf\\xe9.mp4"
