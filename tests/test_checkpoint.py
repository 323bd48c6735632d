"""Checkpoints appear whole, are passed over when torn, and are found newest first."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from vtr import checkpoint
from vtr.checkpoint import CONFIG, FOLDER, HASHES, WEIGHTS
from vtr.errors import RunError, WorkError


def write(folder: Path, what: str = "a") -> None:
    (folder / CONFIG).write_text(what)
    (folder / WEIGHTS).write_bytes(what.encode() * 100)
    (folder / "state").mkdir()
    (folder / "state" / "trainer.json").write_text("{}")


def test_a_checkpoint_lists_its_files(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 7, write, keep=2)
    assert path == tmp_path / FOLDER / "step-00000007"
    hashes = json.loads((path / HASHES).read_text())
    assert set(hashes) == {CONFIG, WEIGHTS, "state/trainer.json"}
    assert checkpoint.check(path) is None
    assert checkpoint.newest(tmp_path) == path
    assert checkpoint.resolve(tmp_path) == checkpoint.resolve(path) == path


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        checkpoint.save(tmp_path, step, write, keep=2)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000009", "step-00000010"]


@pytest.mark.parametrize("keep", [1, 2])
def test_torn_later_ones_never_cost_the_one_that_is_whole(tmp_path: Path, keep: int) -> None:
    """A run that goes on from step 30 because 40 and 50 are torn, and is stopped at 35."""
    for step in (30, 40, 50):
        checkpoint.save(tmp_path, step, write, keep=3)
    for torn in checkpoint.steps(tmp_path)[1:]:
        (torn / WEIGHTS).write_bytes(b"torn")
    path = checkpoint.save(tmp_path, 35, write, keep=keep)
    assert checkpoint.newest(tmp_path) == path
    assert [path.name[-2:] for path in checkpoint.steps(tmp_path)] == ["30", "35"][-keep:]


def test_files_beside_those_of_a_checkpoint_do_not_tear_it(tmp_path: Path) -> None:
    """What other tools leave: embeddings, a notebook's copies, a hub's notes."""
    later = checkpoint.save(tmp_path, 40, write, keep=1)
    for name in ("onnx/model.onnx", ".git/config", ".cache/huggingface/a.metadata", "README.md"):
        (later / name).parent.mkdir(parents=True, exist_ok=True)
        (later / name).write_bytes(b"x")
    assert checkpoint.check(later) is None
    checkpoint.save(tmp_path, 35, write, keep=1)
    assert (later / "onnx" / "model.onnx").is_file()


def test_what_is_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    """A file, or a link to nothing, under the name of one: it is kept aside when that is written, else it goes."""
    checkpoint.save(tmp_path, 10, write, keep=1)
    (tmp_path / FOLDER / "step-00000012").write_text("mine")
    (tmp_path / FOLDER / "step-00000014").symlink_to("nowhere")
    assert checkpoint.newest(tmp_path) == tmp_path / FOLDER / "step-00000010"
    for step in (12, 14):
        assert checkpoint.save(tmp_path, step, write, keep=1) == checkpoint.newest(tmp_path)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000014"]
    assert (tmp_path / FOLDER / "torn-step-00000012").read_text() == "mine"
    (tmp_path / FOLDER / "step-00000013").write_text("older")
    checkpoint.save(tmp_path, 16, write, keep=1)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000016"]


def test_torn_later_ones_are_put_aside_not_deleted(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 40, write, keep=1)
    (tmp_path / "checkpoints" / "step-00000040" / WEIGHTS).write_bytes(b"torn")
    checkpoint.save(tmp_path, 35, write, keep=1)
    assert (tmp_path / "checkpoints" / "torn-step-00000040" / WEIGHTS).read_bytes() == b"torn"


def test_what_was_just_saved_stays_whatever_is_later(tmp_path: Path) -> None:
    later = checkpoint.save(tmp_path, 40, write, keep=1)
    path = checkpoint.save(tmp_path, 35, write, keep=1)
    assert checkpoint.steps(tmp_path) == [path, later]


def test_the_same_step_again_takes_the_place_of_the_old(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, write, keep=2)
    path = checkpoint.save(tmp_path, 3, lambda folder: write(folder, "b"), keep=2)
    assert (path / CONFIG).read_text() == "b"
    assert checkpoint.check(path) is None


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "no list", "a list that is none"])
def test_a_torn_newest_is_passed_over(tmp_path: Path, harm: str) -> None:
    good = checkpoint.save(tmp_path, 1, write, keep=5)
    bad = checkpoint.save(tmp_path, 2, write, keep=5)
    weights = bad / WEIGHTS
    match harm:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:50])
        case "changed":
            weights.write_bytes(b"b" + weights.read_bytes()[1:])
        case "missing":
            weights.unlink()
        case "no list":
            (bad / HASHES).unlink()
        case _:
            (bad / HASHES).write_text("[1, 2]")
    assert checkpoint.newest(tmp_path) == good
    assert checkpoint.resolve(tmp_path) == good
    assert checkpoint.check(bad)
    if harm != "no list":  # without its list it is not even taken for a checkpoint
        with pytest.raises(RunError, match=r"step-00000002(?s:.*)use another checkpoint of the run"):
            checkpoint.resolve(bad)


@pytest.mark.parametrize(
    "hashes", ["{}", '{"state/trainer.json": "0"}', "[]", "5", "null", '"config.toml model.safetensors"']
)
def test_a_list_that_leaves_out_what_counts(tmp_path: Path, hashes: str) -> None:
    path = checkpoint.save(tmp_path, 1, write, keep=5)
    (path / HASHES).write_text(hashes)
    with pytest.raises(RunError, match=r"sha256\.json(?s:.*)use another checkpoint"):
        checkpoint.resolve(path)


def test_what_was_added_later(tmp_path: Path) -> None:
    """In the folders that are read whole nothing may be; a pipe, which would be waited for, nowhere. Notes may."""
    path = checkpoint.save(tmp_path, 1, write, keep=5)
    (path / "notes.txt").touch()
    (path / "state" / ".nfs0001").touch()
    assert checkpoint.check(path) is None
    (path / "tokenizer").mkdir()
    for name in ("tokenizer/tokenizer.json", "state/more.pt"):
        (path / name).touch()
        assert "was not there when it was written" in str(checkpoint.check(path))
        (path / name).unlink()
    os.mkfifo(path / "trained.safetensors")
    assert "was not there when it was written" in str(checkpoint.check(path))


def test_a_run_without_a_whole_checkpoint(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, write, keep=5)
    (path / WEIGHTS).write_bytes(b"")
    with pytest.raises(RunError, match=r"no checkpoint that is whole: .*model\.safetensors is not what was written"):
        checkpoint.newest(tmp_path)


def test_what_is_no_run_is_called_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run .*nothing\n.*--out of a `vtr pretrain`"):
        checkpoint.resolve(tmp_path / "nothing")
    with pytest.raises(RunError, match="holds no checkpoint"):
        checkpoint.resolve(tmp_path)
    (tmp_path / "index.parquet").touch()
    with pytest.raises(RunError, match="is a shard directory, not a run"):
        checkpoint.resolve(tmp_path)


def test_a_failed_write_leaves_the_older_ones(tmp_path: Path) -> None:
    old = checkpoint.save(tmp_path, 1, write, keep=1)

    def full(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorkError, match=r"no room left in .* while writing step-00000002"):
        checkpoint.save(tmp_path, 2, full, keep=1)
    assert checkpoint.newest(tmp_path) == old
    assert list((tmp_path / FOLDER).iterdir()) == [old]


def test_what_a_killed_process_had_begun_is_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / FOLDER / ".step-00000001.tmp-12345"
    leftover.mkdir(parents=True)
    write(leftover)
    assert checkpoint.newest(tmp_path) is None
    path = checkpoint.save(tmp_path, 2, write, keep=1)
    assert list((tmp_path / FOLDER).iterdir()) == [path]
