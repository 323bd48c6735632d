"""kill -9 at any moment, and torn checkpoint files: a run that goes on ends with the same weights, byte for byte."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from vtr import checkpoint
from vtr.atomic import locked
from vtr.errors import InputError

STEPS = 60
FILES = ("model.safetensors", "trained.safetensors", "state/optimizer.pt", "state/trainer.json")


def train(recipe_file: str, shards: str, out: str, keep: int = 3) -> None:
    """In a process of its own: with a checkpoint at every third step, and an average of the weights."""
    import torch

    from vtr import api, recipe

    torch.set_num_threads(1)
    given = {"train.steps": STEPS, "train.save_every": 3, "train.keep": keep, "train.ema": 0.9}
    api.pretrain(recipe.override(recipe.load(recipe_file), given), shards, out)


@pytest.fixture(scope="module")
def server():
    """Processes that start at once: they are forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vtr.run", "vtr.api", "accelerate", "torch.optim.swa_utils", "transformers"])
    return context


@pytest.fixture(scope="module")
def undisturbed(server, nano: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that never stopped."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run(server, nano, shards, out)
    return last(out)


def run(server, nano: Path, shards: Path, out: Path, kill_at: float | None = None, keep: int = 3) -> None:
    """Trains to the end, or is killed at a place in the run: -0.5 is half a second after its start, 7.3 in step 8."""
    process = server.Process(target=train, args=(str(nano), str(shards), str(out), keep))
    process.start()
    if kill_at is None:
        process.join()
        assert process.exitcode == 0
        return
    log, begin = out / "metrics.jsonl", time.monotonic()
    while kill_at >= 0 and (log.read_bytes().count(b"\n") if log.is_file() else 0) < int(kill_at):
        assert process.is_alive()
        time.sleep(0.002)
    time.sleep(-kill_at if kill_at < 0 else (kill_at % 1) * (time.monotonic() - begin) / (kill_at + 20))
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def last(out: Path) -> dict[str, bytes]:
    path = checkpoint.newest(out)
    assert path is not None
    assert path.name == f"step-{STEPS:08d}"
    return {name: (path / name).read_bytes() for name in FILES}


def tear(out: Path, rng: random.Random) -> bool:
    """Damages a file of the newest checkpoint, where there is an older one to fall back on."""
    found = checkpoint.steps(out)
    if len(found) < 2:
        return False
    files = sorted(path for path in found[-1].rglob("*") if path.is_file())
    victim = rng.choice(files)
    data = victim.read_bytes()
    match rng.randrange(3):
        case 0:
            victim.unlink()
        case 1:
            victim.write_bytes(data[: rng.randrange(len(data))])
        case _:
            place = rng.randrange(len(data))
            victim.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    return True


def kill_and_go_on(server, nano, shards, folder: Path, undisturbed, moments: int, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    seen = {"killed": 0, "torn": 0, "before the first checkpoint": 0, "while a checkpoint was written": 0}
    for moment in range(moments):
        out = folder / f"{moment}"
        # One in each of `moments` equal parts of the run, at a random place in it; the first is in its first second.
        place = (STEPS - 1) * (moment + rng.random()) / moments if moment else -rng.random()
        run(server, nano, shards, out, place)
        seen["killed"] += 1
        seen["before the first checkpoint"] += not checkpoint.steps(out)
        seen["while a checkpoint was written"] += any(out.glob("checkpoints/.step-*.tmp-*"))
        if moment % 2:
            seen["torn"] += tear(out, rng)
        run(server, nano, shards, out)
        assert last(out) == undisturbed, f"killed in step {place + 1:.2f}"
        assert not list(out.rglob("*.tmp-*"))
    return seen


def test_a_killed_run_ends_as_if_it_had_not_been(server, nano, shards, tmp_path, undisturbed) -> None:
    assert kill_and_go_on(server, nano, shards, tmp_path, undisturbed, 4, 1)["torn"] >= 1


@pytest.mark.slow
def test_thirty_moments(server, nano, shards, tmp_path, undisturbed) -> None:
    seen = kill_and_go_on(server, nano, shards, tmp_path, undisturbed, 30, 2)
    print(seen)
    assert seen["torn"] >= 10


def test_a_run_with_torn_checkpoints_that_is_stopped(server, nano, shards, tmp_path, undisturbed) -> None:
    """It goes on from before them, is asked to stop before it has come as far again, and keeps what it saved then."""
    out, log = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    run(server, nano, shards, out, keep=STEPS)
    for path in checkpoint.steps(out)[1:]:
        (path / checkpoint.WEIGHTS).write_bytes(b"torn")
    process = server.Process(target=train, args=(str(nano), str(shards), str(out), 1))
    process.start()
    while not 5 < log.read_bytes().count(b"\n") < STEPS:  # it begins anew after step 3
        assert process.is_alive()
        time.sleep(0.001)
    process.terminate()
    process.join()
    assert process.exitcode == 1, "stopped"
    (left,) = checkpoint.steps(out)
    assert left.name < f"step-{STEPS:08d}"
    assert checkpoint.check(left) is None
    run(server, nano, shards, out)
    assert last(out) == undisturbed


def test_a_run_that_is_begun_anew_is_never_half_there(nano: Path, shards: Path, tmp_path: Path) -> None:
    """Whatever a kill in the first moments left is not in the way."""
    from vtr import api

    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json.tmp-1").write_text("{")
    checkpoint_of_it = api.pretrain(str(nano), shards, out)
    shutil.copy(out / "run.json", tmp_path)
    shutil.rmtree(out)
    out.mkdir()
    shutil.move(tmp_path / "run.json", out)  # killed before the config was there
    assert api.pretrain(str(nano), shards, out) == checkpoint_of_it
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with locked(tmp_path / ".run.lock", "run"), pytest.raises(InputError, match="is being written"):
        api.pretrain(str(nano), shards, tmp_path / "run")
