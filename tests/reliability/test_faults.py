"""Nothing lost: shards that change or go while they are trained on, reads that fail, workers that are killed, clocks.

Real processes on real files. After each fault the run is whole as far as it had come, and goes on from there.
"""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from door_helpers import forged

import vtr
from vtr import api, build, checkpoint
from vtr.data.dataset import ClipDataset, ClipShape
from vtr.data.index import ShardIndex
from vtr.errors import DataError, RunError, VideoError, VtrError

CPU = {"device": "cpu", "precision": "fp32"}
SHAPE = ClipShape(4, 32, 36, decoder="pyav")
EIO = Path("/proc/self/mem")  # a plain file whose first bytes cannot be read: Input/output error


def training(nano: Path, shards: Path, out: Path, steps: int, workers: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vtr", "pretrain", nano, "--shards", shards, "--out", out, "--steps", steps,
               "--workers", workers, "--set", "train.save_every=5"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def after_steps(process: subprocess.Popen[str], out: Path, steps: int) -> None:
    """Waits until so many steps are in the log of a run."""
    log, end = out / "metrics.jsonl", time.monotonic() + 120
    while not log.is_file() or log.read_bytes().count(b"\n") < steps:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> list[str]:
    """The lines of stderr of a process that ends by itself, in an error of ours."""
    err = process.communicate(timeout=120)[1]
    assert "Traceback" not in err, err
    assert process.returncode in (1, 2), err
    return err.splitlines()


def overwrite(path: Path) -> None:
    """Other bytes in the same file, in place, as by a copy over it."""
    with path.open("r+b") as file:
        file.seek(512)
        file.write(os.urandom(path.stat().st_size - 1024))


def remove_all(shards: Path) -> None:
    for path in shards.glob("*.tar"):
        path.unlink()


def cut_all(shards: Path) -> None:
    for path in shards.glob("*.tar"):
        os.truncate(path, 1000)


def change_all(shards: Path) -> None:
    for path in shards.glob("*.tar"):
        overwrite(path)


def goes_on(nano: Path, shards: Path, out: Path, begun: Path) -> None:
    """The run makes steps after the checkpoint it goes on from, and stops when it is asked to."""
    seen = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"]  # of the run before
    again = training(nano, shards, out, 1_000_000)
    after_steps(again, out, max(seen, int(begun.name[-8:])) + 3)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 130
    assert again.stderr is not None
    again.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [cut_all, change_all])
def test_shards_that_change_under_a_run(
    fault: Callable[[Path], None], nano: Path, shards: Path, tmp_path: Path
) -> None:
    """Bytes that are not those of the index are never trained on: they are named, and many stop the run."""
    copy, out = shutil.copytree(shards, tmp_path / "s"), tmp_path / "run"
    process = training(nano, copy, out, 1_000_000)
    after_steps(process, out, 12)
    fault(copy)
    *_, error, hint = ended(process)
    assert error.startswith("error: ")
    assert "quarantine.jsonl" in error + hint
    assert (out / "quarantine.jsonl").is_file()
    whole = checkpoint.newest(out)
    assert whole is not None
    build.load_parts(out)
    shutil.rmtree(copy)
    shutil.copytree(shards, copy)
    goes_on(nano, copy, out, whole)


def test_shards_that_are_deleted_under_a_run(nano: Path, shards: Path, tmp_path: Path) -> None:
    """What is open stays readable; who opens a file anew is told which has gone, and the run is whole."""
    copy, out = shutil.copytree(shards, tmp_path / "s"), tmp_path / "run"
    process = training(nano, copy, out, 40)
    after_steps(process, out, 12)
    remove_all(copy)
    err = process.communicate(timeout=120)[1]
    assert "Traceback" not in err
    assert process.returncode == 0, err
    with pytest.raises(DataError, match=r"000000\.tar is missing, the index names it"):
        api.embed(out, copy, tmp_path / "e", **CPU)
    index = ShardIndex(copy)
    with pytest.raises(DataError, match=r"000000\.tar cannot be opened: No such file"):
        index.read(0)


def test_shards_that_are_made_anew_under_a_reader(shards: Path, test_shards: Path, tmp_path: Path) -> None:
    """Columns of one index are never mixed with those of another."""
    copy = shutil.copytree(shards, tmp_path / "s")
    index = ShardIndex.open(copy)
    shutil.copy(test_shards / "index.parquet", copy / "index.parquet")
    with pytest.raises(DataError, match="was sharded anew while it was in use"):
        index.key(0)


@pytest.mark.skipif(not EIO.exists(), reason="there is no /proc/self/mem to fail a read")
def test_a_disk_that_cannot_be_read(shards: Path, run: Path, tmp_path: Path) -> None:
    """The error of the disk is told as it is; in training the sample is out and the next is read."""
    copy = shutil.copytree(shards, tmp_path / "s")
    index = ShardIndex.open(copy)
    (copy / "000000.tar").unlink()
    (copy / "000000.tar").symlink_to(EIO)
    found = ClipDataset(index, SHAPE)[0, 0]
    assert found.error is not None
    assert found.error[0] == "corrupt"
    assert "cannot be read: Input/output error" in found.error[1]
    assert ClipDataset(index, SHAPE)[0, 20].error is None
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").symlink_to(EIO)
    (tmp_path / "v" / "a.txt").write_text("a dog")
    with pytest.raises(VtrError, match="Input/output error"):
        api.shard("folder", str(tmp_path / "v"), tmp_path / "t", workers=1)
    for name, act in (
        ("t.csv", lambda path: api.shard("table", str(path), tmp_path / "u")),
        ("r.toml", lambda path: api.pretrain(str(path), shards, tmp_path / "r")),
        ("a.txt", lambda path: api.embed(run, None, tmp_path / "e", text=path, **CPU)),
        ("r.json", lambda path: api.compare(path, path)),
    ):
        (tmp_path / name).symlink_to(EIO)
        with pytest.raises(VtrError, match=r"Input/output error|Errno 5"):
            act(tmp_path / name)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_pipe_or_a_folder_in_place_of_a_file(kind: str, run: Path, shards: Path, tmp_path: Path) -> None:
    """None is waited for."""

    def put(path: Path) -> Path:
        path.unlink(missing_ok=True)
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
        return path

    (tmp_path / "v").mkdir()
    put(tmp_path / "v" / "a.mp4")
    (tmp_path / "v" / "a.txt").write_text("a dog")
    copy = shutil.copytree(shards, tmp_path / "s")
    put(copy / "000000.tar")
    step = checkpoint.steps(shutil.copytree(run, tmp_path / "run"))[-1]
    put(step / "model.safetensors")
    for act in (
        lambda: api.shard("folder", str(tmp_path / "v"), tmp_path / "t", workers=1),
        lambda: api.inspect_shards(copy),
        lambda: api.index_tars(put(tmp_path / "x.tar"), workers=1),
        lambda: build.load_parts(step),
        lambda: api.shard("table", str(put(tmp_path / "t.csv")), tmp_path / "t"),
        lambda: api.pretrain(str(put(tmp_path / "r.toml")), shards, tmp_path / "r"),
        lambda: api.embed(run, None, tmp_path / "e", videos=put(tmp_path / "b.mp4"), **CPU),
        lambda: api.embed(run, None, tmp_path / "e", text=put(tmp_path / "b.txt"), **CPU),
        lambda: api.search(put(tmp_path / "e.parquet"), "a dog"),
    ):
        with pytest.raises(VtrError):
            act()


def test_pipes_where_files_are_read_again(
    run: Path, nano: Path, shards: Path, test_shards: Path, embeddings: Path, tmp_path: Path
) -> None:
    """In a run, beside shards, in an export, a result: none is waited for."""
    for name in ("metrics.jsonl", "quarantine.jsonl", "nonfinite.jsonl", "best.json"):
        out = shutil.copytree(run, tmp_path / name, symlinks=True)
        (out / name).unlink(missing_ok=True)
        os.mkfifo(out / name)
        with pytest.raises(VtrError, match=f"{name} is no regular file"):
            api.pretrain(str(nano), shards, out)
    for name in ("manifest.json", "skipped.jsonl"):
        copy = shutil.copytree(shards, tmp_path / f"of-{name}")
        (copy / name).unlink(missing_ok=True)
        os.mkfifo(copy / name)
        assert api.inspect_shards(copy)["samples"] == 24
    copy = shutil.copytree(embeddings, tmp_path / "e")
    (copy / "plan.json").unlink()
    os.mkfifo(copy / "plan.json")
    with pytest.raises(VtrError, match=r"plan\.json is damaged"):
        api.embed(run, test_shards, copy, **CPU)
    api.evaluate(run, test_shards, draws=0, **CPU).write(tmp_path / "r.json")
    for name in ("r.json", "r.ranks.parquet"):
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        for part in tmp_path.glob("r.*"):
            shutil.copy(part, folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(VtrError, match="Not a regular file"):
            api.compare(folder / "r.json", tmp_path / "r.json")
    path = tmp_path / "x.pth"
    os.mkfifo(path)
    with pytest.raises(VtrError, match="Not a regular file"):
        build.load_source(f"frozen:{path}")


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"step": -5}, "counts steps that cannot be"), ({"step": 10**30}, "is of another step"),
     ({"step": 3}, "is of another step"), ({"skipped": -1}, "counts steps that cannot be"),
     ({"skipped": 10**30}, "counts steps that cannot be")],
)  # fmt: skip
def test_forged_counts_of_steps(
    changes: dict[str, int], why: str, run: Path, nano: Path, shards: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(run, tmp_path / "run", symlinks=True)
    last = checkpoint.steps(out)[-1]
    trainer = json.loads((last / "state/trainer.json").read_text())
    forged(last, "state/trainer.json", json.dumps(trainer | changes).encode())
    with pytest.raises(RunError, match=why):
        api.pretrain(str(nano), shards, out)


def test_an_optimizer_s_state_that_is_forged(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    """Compressed without end, of other shapes, of other things than tensors; its settings are those of the config."""
    import torch

    def go_on(state: object, kind: int = zipfile.ZIP_STORED) -> None:
        out = shutil.copytree(run, tmp_path / "run", symlinks=True, dirs_exist_ok=True)
        for step in checkpoint.steps(out)[-1:]:
            shutil.rmtree(step)
        last = checkpoint.steps(out)[-1]
        torch.save(state, tmp_path / "o.pt")
        buffer = io.BytesIO()
        with zipfile.ZipFile(tmp_path / "o.pt") as old, zipfile.ZipFile(buffer, "w", kind) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        forged(last, "state/optimizer.pt", buffer.getvalue())
        api.pretrain(str(nano), shards, out)

    whole = torch.load(checkpoint.steps(run)[-2] / "state/optimizer.pt", weights_only=True)
    for state, kind, why in (
        (whole | {"bomb": torch.zeros(10**7)}, zipfile.ZIP_DEFLATED, "are together larger than the file"),
        (whole | {"state": {n: kept | {"exp_avg": torch.zeros(7)} for n, kept in whole["state"].items()}},
         zipfile.ZIP_STORED, r"optimizer\.pt is of another model"),
        (whole | {"state": {n: kept | {"exp_avg": "x"} for n, kept in whole["state"].items()}},
         zipfile.ZIP_STORED, r"optimizer\.pt is of another model"),
    ):  # fmt: skip
        with pytest.raises(RunError, match=f"cannot be gone on from: (?s:.*){why}"):
            go_on(state, kind)
    go_on(whole | {"param_groups": [group | {"betas": "x", "lr": "y"} for group in whole["param_groups"]]})


def test_a_tokenizer_that_panics(run: Path, test_shards: Path, tmp_path: Path) -> None:
    last = checkpoint.steps(shutil.copytree(run, tmp_path / "run", symlinks=True))[-1]
    words = json.loads((last / "tokenizer/tokenizer.json").read_text())
    words["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(x+x+)+y"},
        "behavior": "Isolated",
        "invert": False,
    }
    forged(last, "tokenizer/tokenizer.json", json.dumps(words).encode())
    (tmp_path / "t.txt").write_text("x" * 60)
    with pytest.raises(DataError, match="the tokenizer cannot take a caption"):
        api.embed(last, None, tmp_path / "e", text=tmp_path / "t.txt", **CPU)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_decoding_worker_that_is_killed(nano: Path, shards: Path, tmp_path: Path) -> None:
    """As the kernel does it when memory runs out; the same command goes on."""
    out = tmp_path / "run"
    process = training(nano, shards, out, 1_000_000)
    after_steps(process, out, 12)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    *_, error, hint = ended(process)
    assert error.startswith("error: a decoding process ended")
    assert "if memory ran out" in hint
    last = checkpoint.newest(out)
    assert last is not None
    goes_on(nano, shards, out, last)


JUMPING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
/* The time of day is forty years back for a hundred calls, then forty years ahead for a hundred, and so on. */
static time_t jump(void) { static long n; return (__sync_add_and_fetch(&n, 1) / 100 % 2 ? 40L : -40L) * 31556952L; }
int clock_gettime(clockid_t id, struct timespec *t) {
    typedef int (*clock_of)(clockid_t, struct timespec *);
    clock_of real = (clock_of)dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += jump();
    return rc;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    out->tv_sec = t.tv_sec;
    out->tv_usec = t.tv_nsec / 1000;
    return 0;
}
"""


@pytest.mark.slow
def test_a_clock_that_jumps(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    """By forty years, back and ahead, all the while: the same bytes are made, in no more time."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("the clock is set by a library that a C compiler makes")
    (tmp_path / "c.c").write_text(JUMPING)
    made = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / "c.so"), str(tmp_path / "c.c"), "-ldl"]
    subprocess.run(made, check=True, capture_output=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": str(tmp_path / "c.so")}
    ask = "import time; print(len({time.gmtime(time.time()).tm_year for _ in range(300)}))"
    years = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert years.stdout == "2\n", "the clock does jump"
    for command in (
        ("shard", "synthetic", "seed:3", tmp_path / "s", "--split", "train", "--limit", 24, "--per-shard", 8,
         "--workers", 1),
        ("pretrain", nano, "--shards", shards, "--out", tmp_path / "run", "--workers", 1),
        ("embed", tmp_path / "run", "--shards", shards, "--out", tmp_path / "e", "--device", "cpu", "--workers", 1),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "vtr", *map(str, command)], env=environment, capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for path in tmp_path.glob("s/*.tar"):
        assert path.read_bytes() == (shards / path.name).read_bytes()
    ours, theirs = (
        [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
        for out in (tmp_path / "run", run)
    )
    assert ours == pytest.approx(theirs, rel=1e-3)


WALL = {"time", "time_ns", "ctime", "localtime", "gmtime", "strftime", "now", "today", "utcnow"}


def test_no_decision_asks_for_the_time_of_day() -> None:
    """Limits and rates are counted by clocks that only go on, so one that is set cannot stop or hang anything."""
    found = []
    for path in Path(vtr.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if named and node.attr in WALL and node.value.id in ("time", "datetime", "date"):
                found.append(f"{path.name}: {node.value.id}.{node.attr}")
            if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                found.append(f"{path.name}: from {node.module}")
    assert found == []


@pytest.mark.parametrize("years", [-40, 40])
def test_files_from_another_time(years: int, test_shards: Path, run: Path, tmp_path: Path) -> None:
    """A clock that was wrong when a file was written changes nothing that is read from it."""
    folder = tmp_path / "s"
    folder.mkdir()
    shutil.copy(next(test_shards.glob("*.tar")), folder)
    when = time.clock_gettime(time.CLOCK_REALTIME) + years * 31_556_952
    for path in folder.iterdir():
        os.utime(path, (when, when))
    first = api.index_tars(folder, workers=1)
    assert first.samples == 12
    os.utime(folder / "index.parquet", (when, when))
    assert api.index_tars(folder, workers=1).samples == 12
    api.embed(run, folder, tmp_path / "e", **CPU)
    assert api.embed(run, folder, tmp_path / "e", **CPU).added == 0


def test_a_full_disk_while_spans_are_decoded(disk_of, run: Path, shards: Path) -> None:
    """Pictures go into a mapped file: without room it is an error, not the end of a worker and a video left out."""
    out = disk_of(64) / "e"
    with pytest.raises(VtrError, match="No space left on device"):
        api.embed(run, shards, out, segments="0.4s/0.2s", **CPU)
    assert not list(out.glob("emb-*"))
    assert not (out / "skipped.jsonl").exists()


def test_errors_cross_processes_whole() -> None:
    """What a worker raises is raised by its parent, with its hint."""
    import pickle

    for error in (VideoError("corrupt", "a", "b"), DataError("a", "b")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.message, again.hint) == (type(error), "a", "b")
