"""A process of its own for what may hang or crash: it answers, is watched, and is replaced."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vtr.data.apart import Decoder, processor_seconds
from vtr.errors import InputError, VideoError, WorkError


def pid_of(_: object) -> int:
    return os.getpid()


def die(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), number)


def refuse(path: Path) -> None:
    raise VideoError("corrupt", f"{path} is no good", "leave it out")


def test_one_process_answers_until_it_is_closed() -> None:
    with Decoder() as decode:
        pids = {decode(pid_of, n) for n in range(3)}
        assert len(pids) == 1
        assert pids != {os.getpid()}
        assert decode(np.square, np.arange(3)).tolist() == [0, 1, 4]
        assert decode(processor_seconds, pid_of, 1) < 1
        with pytest.raises(VideoError, match=r"a\.mp4 is no good\n  hint: leave it out") as caught:
            decode(refuse, Path("a.mp4"))
        assert caught.value.kind == "corrupt"
        assert decode(pid_of, 0) in pids, "an error of the video costs no process"
        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(lambda n: decode(pid_of, n), range(8))) == pids
    assert not Path(f"/proc/{pids.pop()}").exists()


SCRIPT = """
import os, sys
print("run", flush=True)
from vtr.data.apart import Decoder
print(Decoder()(os.getpid) != os.getpid())
"""


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path, way: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-" if way == "stdin" else "script.py"]
    given = SCRIPT if way == "stdin" else None
    done = subprocess.run(command, check=False, cwd=tmp_path, input=given, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("run\nTrue\n", 0), done.stderr


def in_a_pool(_: int) -> bool:
    return Decoder()(pid_of, 0) == os.getpid()


def test_a_process_that_may_start_none_decodes_itself() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(in_a_pool, [0]) == [True]


def test_a_hang_or_a_crash_costs_the_process_alone() -> None:
    with Decoder(time_limit_s=0.3) as decode:
        first = decode(pid_of, 0)
        with pytest.raises(VideoError, match=r"it was not decoded within 0\.3 s") as caught:
            decode(time.sleep, 1000)
        assert caught.value.kind == "timeout"
        assert not Path(f"/proc/{first}").exists()
        assert decode(pid_of, 0) != first
        with pytest.raises(VideoError, match=r"the decoder died of it \(SIGABRT\)") as caught:
            decode(die, signal.SIGABRT)
        assert caught.value.kind == "crashed"
        with pytest.raises(WorkError, match=r"a worker process was killed \(SIGKILL\)"):
            decode(die, signal.SIGKILL)
        assert decode(os.path.basename, "a/b") == "b"


def test_what_is_no_error_of_ours_is_raised_too() -> None:
    with Decoder() as decode:
        with pytest.raises(ValueError, match="invalid literal"):
            decode(int, "x")
        with pytest.raises(InputError, match="no such thing"):
            decode(wrong, 0)


def test_a_process_that_is_killed_while_idle_costs_nothing() -> None:
    with Decoder() as decode:
        first = decode(pid_of, 0)
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 30
        while state(first) not in ("Z", ""):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert decode(pid_of, 0) != first


def test_one_that_is_killed_at_work_says_so() -> None:
    with Decoder() as decode, pytest.raises(WorkError, match=r"was killed \(SIGKILL\) while at a video"):
        decode(die, signal.SIGKILL)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def test_after_a_few_losses_nothing_more_is_tried() -> None:
    with Decoder(time_limit_s=0.3, patience=2) as decode:
        for _ in range(2):
            with pytest.raises(VideoError, match=r"within 0\.3 s\n  hint: .*--time-limit, or VTR_LIMITS=10"):
                decode(time.sleep, 1000)
        for _ in range(3):
            with pytest.raises(VideoError, match="not tried: 2 others hung or crashed the decoder before it") as caught:
                decode(pid_of, 0)
            assert caught.value.kind == "left-out"
        assert decode.left_out == 3


def test_a_call_under_way_ends_when_it_is_closed() -> None:
    decode = Decoder()
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(decode, time.sleep, 1000) for _ in range(3)]
        time.sleep(1)
        begin = time.monotonic()
        decode.close()
        for call in calls:
            with pytest.raises(WorkError, match="its decoder was ended"):
                call.result(30)
    assert time.monotonic() - begin < 10
    with pytest.raises(WorkError, match="its decoder was ended"):
        decode(pid_of, 0)


def wrong(_: object) -> None:
    raise InputError("no such thing", "give another")
