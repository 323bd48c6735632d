"""A plan done by tasks, by one process, by three, or on a cluster: the same bytes, whoever ends last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from shard_helpers import Fails, Hangs, Slow, make_samples, tree

from vtr.atomic import locked
from vtr.data import workdir
from vtr.data.annotations import Sample
from vtr.data.shards import write_shards
from vtr.data.tasks import TaskSummary, note, write_task
from vtr.errors import BusyError, DataError, InputError, WorkError

HERE = Path(__file__).resolve().parent
WHAT: dict[str, Any] = {"reader": "table", "source": "t.csv", "per_shard": 3}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Samples for seven shards, one of which cannot be decoded."""
    folder = tmp_path_factory.mktemp("videos")
    made = make_samples(folder, 20)
    (folder / "bad.mp4").write_bytes(b"no video")
    made[7] = replace(made[7], video=folder / "bad.mp4")
    return made


@pytest.fixture(scope="module")
def whole(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an undisturbed run by one worker."""
    out = tmp_path_factory.mktemp("whole") / "out"
    write_shards(samples, out, workers=1, census={"splits": []}, **WHAT)
    return tree(out)


def run(samples: list[Sample], out: Path, task: int, num_tasks: int, **options: Any) -> TaskSummary:
    return write_task(lambda: (samples, {"splits": []}), out, task, num_tasks, **{"workers": 1, **WHAT, **options})


def never() -> Any:
    raise AssertionError("the annotations were read again")


def test_shards_whose_rows_have_other_columns_are_made_again(
    samples: list[Sample], whole: dict[str, bytes], tmp_path: Path
) -> None:
    """As those that another version of vtr left half done."""
    out = tmp_path / "out"
    run(samples, out, 0, 2)
    part = min((out / ".parts").glob("0*.parquet"))
    pq.write_table(pq.read_table(part).drop_columns(["width"]), part)
    write_shards(samples, out, workers=1, census={"splits": []}, **WHAT)
    assert tree(out) == whole


def test_tasks_in_any_order_make_the_same(samples: list[Sample], whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = []
    for task in (2, 0, 1):
        done = run(samples, out, task, 3)
        left.append((done.shards, done.left, done.whole is not None))
    assert left == [(2, 5, False), (3, 2, False), (2, 0, True)]
    assert tree(out) == whole
    again = run(samples, out, 1, 3)
    assert again.whole is not None
    assert again.whole.nothing_to_do
    assert tree(out).keys() - {".lock"} == whole.keys()


def test_a_plan_is_a_file_that_tasks_read(samples: list[Sample], whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = note(lambda: (samples, {"splits": []}), out, **WHAT)
    assert (plan.samples, plan.shards) == (20, 7)
    assert plan.file is not None
    assert plan.file.is_file()
    assert not list(out.glob("*.tar"))
    for task in range(4):
        done = write_task(never, out, task, 4, workers=1, **WHAT)
        assert (done.whole is not None) == (task == 3)
    assert tree(out) == whole
    assert note(lambda: (samples, {}), out, **WHAT).file is None, "all is done"


def test_the_number_of_samples_a_shard_is_taken_from_the_plan(samples: list[Sample], tmp_path: Path) -> None:
    note(lambda: (samples, {}), tmp_path, **WHAT)
    done = write_task(never, tmp_path, 0, 7, workers=1, reader="table", source="t.csv")
    assert (done.shards, done.samples, done.left) == (1, 3, 6)


def test_a_task_that_is_given_again_at_the_end_has_nothing_to_do(samples: list[Sample], tmp_path: Path) -> None:
    few, (plain, made) = samples[:6], (tmp_path / "plain", tmp_path / "made")
    note(lambda: (few, {}), plain, **WHAT)
    write_task(lambda: (few, {}), made, 0, 2, workers=1, **WHAT)  # a plan without a file of samples
    for out in (plain, made):
        for task in (0, 1, 1):
            again = write_task(
                lambda: (few, {}), out, task, 2, workers=1, reader="table", source="t.csv", max_skipped=1.0
            )
            assert not (out / ".lock").exists()
        assert again.whole is not None
        assert again.whole.nothing_to_do
    with pytest.raises(DataError, match="per_shard was 3 and is 4"):
        run(few, plain, 1, 2, per_shard=4)
    assert not (plain / ".lock").exists(), "nor after an error"


def test_another_plan_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    note(lambda: (samples, {}), tmp_path, **WHAT)
    for other, message in (
        ({"per_shard": 4}, "per_shard was 3 and is 4"),
        ({"store": "frames"}, "store was video and is frames"),
        ({"reader": "folder"}, "reader was table and is folder"),
        ({"source": "u.csv"}, "was planned from t.csv, not from u.csv"),
    ):
        with pytest.raises(DataError, match=message):
            run(samples, tmp_path, 0, 2, **other)
    with pytest.raises(DataError, match="per_shard was 3 and is 5"):
        note(lambda: (samples, {}), tmp_path, **{**WHAT, "per_shard": 5})


def test_a_plain_run_completes_what_tasks_began(samples: list[Sample], whole: dict[str, bytes], tmp_path: Path) -> None:
    run(samples, tmp_path, 1, 3)
    summary = write_shards(samples, tmp_path, workers=1, census={"splits": []}, **WHAT)
    assert summary.continued == 2
    assert tree(tmp_path) == whole
    other = tmp_path / "other"
    write_shards(samples, other, workers=3, census={"splits": []}, **WHAT)
    assert tree(other) == whole


def test_tasks_that_are_killed_and_started_again(
    samples: list[Sample], whole: dict[str, bytes], tmp_path: Path
) -> None:
    """Three at a time, each killed at some moment and started anew until it ends by itself."""
    out = tmp_path / "out"
    note(lambda: (slowed(samples), {"splits": []}), out, **WHAT)

    def until_done(task: int) -> int:
        kills = 0
        for patience in (0.6 + 0.3 * task, 1.5, None):
            process = start(samples, out, task, 3)
            try:
                assert process.communicate(timeout=patience)[1] == ""
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                kills += 1
        return kills

    with ThreadPoolExecutor(3) as pool:
        kills = sum(pool.map(until_done, range(3)))
    assert kills >= 3
    assert not list(out.glob(".parts"))
    write_shards(slowed(samples), tmp_path / "whole", workers=2, census={"splits": []}, **WHAT)
    undisturbed = tree(tmp_path / "whole")
    assert {name: data for name, data in tree(out).items() if name != ".lock"} == undisturbed
    assert {name for name in whole if undisturbed[name] != whole[name]} == {"manifest.json"}, "its digests of sources"


def slowed(samples: list[Sample]) -> list[Sample]:
    return [replace(s, video=Slow(str(s.video), 0.1)) for s in samples]


def start(samples: list[Sample], out: Path, task: int, num_tasks: int) -> subprocess.Popen[str]:
    """The task as a process of its own."""
    folder = str(Path(str(samples[0].video)).parent)
    program = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        from dataclasses import replace
        from pathlib import Path
        from shard_helpers import make_samples
        from test_tasks import run, slowed
        samples = make_samples(Path({folder!r}), 20)
        samples[7] = replace(samples[7], video=Path({folder!r}) / "bad.mp4")
        run(slowed(samples), Path({str(out)!r}), {task}, {num_tasks})
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_the_same_task_twice_at_once_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(samples, out, 0, 2)
    end = time.monotonic() + 60
    while not list(out.glob(".parts/task-0-of-2.lock")):
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(BusyError, match=r"task 0 of 2 of .* is being written by another process"):
        run(slowed(samples), out, 0, 2)
    with pytest.raises(BusyError, match="is being written by another process"):
        write_shards(slowed(samples), out, workers=1, census={"splits": []}, **WHAT)
    run(slowed(samples), out, 1, 2)
    assert process.communicate(timeout=60)[1] == ""
    last = run(slowed(samples), out, 0, 2)
    assert last.whole is not None


def test_a_task_waits_for_one_that_finishes(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with ThreadPoolExecutor(1) as pool, ExitStack() as finishing:
        finishing.enter_context(locked(out / ".lock", "x"))
        task = pool.submit(run, samples[:6], out, 0, 2)
        with pytest.raises(TimeoutError):
            task.result(0.5)
        finishing.close()
        assert task.result(60).samples == 3
    monkeypatch.setattr(workdir, "PATIENCE_S", 0.3)
    with locked(out / ".lock", "x"), pytest.raises(BusyError, match="out is being written by another process"):
        run(samples[:6], out, 1, 2)


def test_tasks_of_another_number_are_refused_while_one_is_at_work(samples: list[Sample], tmp_path: Path) -> None:
    run(samples, tmp_path, 1, 7)
    begun = tmp_path / ".parts" / "000000.tar.tmp-1"  # of shard 0, which both have
    with locked(tmp_path / ".parts" / "task-0-of-3.lock", "x"):
        begun.touch()
        with pytest.raises(BusyError, match=r"task 0 of 3 of .* is being written by another process"):
            run(samples, tmp_path, 0, 2)
        assert begun.exists()
    (tmp_path / ".parts" / "task-0-of-3.lock").touch()  # of one that was killed
    assert run(samples, tmp_path, 0, 2).samples == 10
    assert not begun.exists()


def test_names_that_are_no_utf8_stand_in_a_plan(samples: list[Sample], tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(Path(str(samples[0].video)).read_bytes())
    odd = [replace(samples[0], video=tmp_path / name, source=name)]
    note(lambda: (odd, {"splits": []}), tmp_path / "planned", **WHAT)
    write_task(never, tmp_path / "planned", 0, 1, workers=1, **WHAT)
    write_shards(odd, tmp_path / "plain", workers=1, census={"splits": []}, **WHAT)
    assert tree(tmp_path / "planned") == tree(tmp_path / "plain")
    half = [replace(samples[0], captions=("half \ud83d",))]
    for work in (note, write_task):
        more = () if work is note else (0, 1)
        with pytest.raises(DataError, match=r"'clip-000\.mp4' has half a surrogate pair in a caption or its split"):
            work(lambda: (half, {}), tmp_path / "half", *more, **WHAT)


def test_bad_tasks(samples: list[Sample], tmp_path: Path) -> None:
    for task, num_tasks in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(InputError, match=f"there is no task {task} of {num_tasks}"):
            run(samples, tmp_path, task, num_tasks)
    with pytest.raises(InputError, match="0 workers"):
        run(samples, tmp_path, 0, 3, workers=0)
    broken = [*samples[:3], *(replace(s, video=tmp_path / "gone.mp4") for s in samples[3:])]
    run(broken, tmp_path / "out", 0, 2)
    with pytest.raises(WorkError, match="17 of 20 samples were skipped"):
        run(broken, tmp_path / "out", 1, 2)


def test_a_damaged_plan(samples: list[Sample], tmp_path: Path) -> None:
    plan = note(lambda: (samples, {}), tmp_path, **WHAT)
    assert plan.file is not None
    plan.file.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"plan.parquet is damaged"):
        write_task(never, tmp_path, 0, 2, workers=1, **WHAT)


class TestOnRay:
    """A local cluster of two workers."""

    @pytest.fixture(scope="class")
    def ray(self) -> Any:
        import warnings

        with warnings.catch_warnings():  # importing and starting it warns of itself
            warnings.simplefilter("ignore")
            ray = pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
            import vtr

            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={
                    "env_vars": {"PYTHONPATH": os.pathsep.join([str(Path(vtr.__file__).parents[1]), str(HERE)])}
                },
            )
        yield ray
        ray.shutdown()

    @pytest.mark.filterwarnings("ignore")
    def test_the_same_bytes(self, ray: Any, samples: list[Sample], whole: dict[str, bytes], tmp_path: Path) -> None:
        seen = []
        summary = write_shards(
            samples, tmp_path / "out", census={"splits": []}, ray="auto", progress=seen.append, **WHAT
        )
        assert summary.samples == 19
        assert tree(tmp_path / "out") == whole
        assert seen[-1].done == 20

    @pytest.mark.filterwarnings("ignore")
    def test_a_hang_costs_a_sample_and_a_bug_is_told(self, ray: Any, samples: list[Sample], tmp_path: Path) -> None:
        some = [samples[0], replace(samples[1], video=Hangs()), samples[2]]
        summary = write_shards(some, tmp_path / "a", ray="auto", time_limit_s=1.0, max_skipped=0.5, **WHAT)
        assert summary.skipped == {"timeout": 1}
        with pytest.raises(WorkError, match=r"made KeyError: 'no such thing'"):
            write_shards([replace(samples[0], video=Fails())], tmp_path / "b", ray="auto", **WHAT)
        again = write_shards([samples[0]], tmp_path / "c", ray="auto", **WHAT)
        assert again.samples == 1


def test_no_cluster(samples: list[Sample], tmp_path: Path) -> None:
    """In another process, for ray sets up this one; without ray it says what to install."""
    program = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        from pathlib import Path
        from shard_helpers import make_samples
        from vtr.data.shards import write_shards
        if __name__ == "__main__":
            if sys.argv[1] == "without":
                sys.modules["ray"] = None
            folder = Path({str(tmp_path)!r})
            samples = make_samples(folder / "videos", 2)
            write_shards(samples, folder / "out", reader="table", source="t", ray="127.0.0.1:1")
    """
    for which, words in (("without", "needs ray"), ("with", "there is no Ray cluster at 127.0.0.1:1")):
        if which == "with":
            pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), which],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "3"},
            timeout=120,
        )
        assert words in done.stderr, done.stderr
