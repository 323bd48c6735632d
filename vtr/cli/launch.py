"""One command as several processes of this machine, which train together.

Why not torch's own launcher: it hands a Ctrl-C on that its children have had from the terminal already, and two of them
mean "at once" to a run. For several machines, and for FSDP or DeepSpeed, there is `accelerate launch -m vtr ...`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from vtr.cli.app import print_json, print_text
from vtr.errors import ConfigError, InputError, Interrupted, VtrError, WorkError
from vtr.launched import is_launched, is_main_process, launched_processes

# How long the others may save after one has ended, before they are killed: they may wait for it for ever.
GRACE_S = 30.0
LINE = "VTR_LINE"
# What torch's and Accelerate's launchers tell their children, and nobody else has a reason to set.
LAUNCHED = ("TORCHELASTIC_RUN_ID", "ACCELERATE_DYNAMO_USE_FULLGRAPH")
LOOK_EVERY_S = 1.0


def print_checkpoint(out: Path, checkpoint: Path, *, as_json: bool) -> None:
    """What a training left, on stdout; of several processes one says it."""
    if not is_main_process():
        return
    if as_json:
        print_json({"run": str(out), "checkpoint": str(checkpoint)})
    else:
        print_text(str(checkpoint))


def run_together(processes: int | None, check: Callable[[int], None]) -> bool:
    """Runs this very command `processes` times over to their end; False in a process that is to do the work itself.

    Before any is started `check(processes)` raises what would end them all. Raises ConfigError when another launcher
    has started another number or says none, Interrupted when a signal ended them before they trained, WorkError when
    one of them is killed, and a VtrError without words, for the words have been said, when one of them fails.
    """
    _follow_launcher()
    world = launched_processes()
    if is_launched():
        if processes not in (None, world):
            raise ConfigError(
                f"--num-processes {processes}, but {world} were launched already", "leave --num-processes out"
            )
        return False
    if processes in (None, 1):
        return False
    check(processes)
    _launch([sys.executable, "-m", "vtr", *sys.argv[1:]], processes)
    return True


def _launch(command: list[str], processes: int) -> None:
    threads = max(1, (os.cpu_count() or 1) // processes)
    # The children hold the other end of this line, and read its end when this process is no more.
    heard, held = os.pipe()
    shared = {
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": _free_port(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
        LINE: heard,
    }
    children: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        said: list[IO[bytes] | None] = [None]
        # Only the main process speaks; what the others say last is told when they are the ones that failed.
        said += [stack.enter_context(tempfile.TemporaryFile()) for _ in range(processes - 1)]
        handed = stack.enter_context(_handed_on(children))
        for rank in range(processes):
            own = {key: str(value) for key, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
            quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": said[rank]} if rank else {}
            children.append(subprocess.Popen(command, env={**os.environ, **own}, pass_fds=(heard,), **quiet))  # noqa: S603
        for number in tuple(handed):  # those that came before the last child
            _send(number, children)
        os.close(heard)
        stack.callback(os.close, held)
        failed, early = _first_failure(children)
        _end(children)
        if failed is None:
            return
        code = int(children[failed].returncode)
        if -code in handed:  # where a child trains it saves; elsewhere it ends of it
            name = signal.Signals(-code).name
            raise Interrupted(f"stopped by {name} while it was being set up", "run the same command to go on")
        if code < 0:
            raise WorkError(
                f"process {failed} of {processes} was ended by {signal.Signals(-code).name}",
                "run the same command to go on from the last checkpoint; if memory ran out, take a smaller batch",
            )
        log = said[failed]
        # Where the main process ended for what was given, or stopped as all were asked to, it has told the same.
        alike = code == children[0].returncode and code in (InputError.exit_code, Interrupted.exit_code)
        if log is not None and early and not alike:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
        told = VtrError("")
        told.exit_code = code
        raise told


def _first_failure(children: list[subprocess.Popen[bytes]]) -> tuple[int | None, bool]:
    """Waits until all have ended well (None) or one has not: its rank, and whether it failed before the main one did.

    A process that is killed tears the others' connections: it is the cause, whoever is seen first.
    """
    while True:
        codes = [child.poll() for child in children]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed:
            deadline = time.monotonic() + 2.0
            while children[0].poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            killed = [rank for rank, child in enumerate(children) if (child.poll() or 0) < 0]
            return (killed or failed)[0], failed[0] != 0
        if all(code == 0 for code in codes):
            return None, False
        time.sleep(0.1)


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Asks all that still run to save and end, and kills them when they do not."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    end = time.monotonic() + GRACE_S
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.1, end - time.monotonic()))
        if child.poll() is None:
            child.kill()
            child.wait()


@contextlib.contextmanager
def _handed_on(children: list[subprocess.Popen[bytes]]) -> Iterator[set[int]]:
    """Signals of a scheduler go to the children; a terminal's Ctrl-C has reached them already. Gives what came."""
    handed: set[int] = set()

    def hand_on(number: int, frame: Any) -> None:  # noqa: ARG001
        handed.add(number)
        _send(number, children)

    numbers = dict.fromkeys((signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP), hand_on) | {signal.SIGINT: _leave}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup has it
        del numbers[signal.SIGHUP]
    old = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    try:
        yield handed
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _send(number: int, children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _leave(number: int, frame: Any) -> None:
    """The children save and end; this process waits for them."""


def _follow_launcher() -> None:
    """Asks this process to save and end when its launcher is no more: nobody would know of it.

    Of another launcher than ours that is seen by a new parent: torch's ends at once of a signal that it does not know
    (SIGUSR1, say), and so does Accelerate's for one process, of any.
    """
    import threading

    line = os.environ.pop(LINE, None)
    if line is not None:
        try:
            os.set_inheritable(int(line), False)
        except (ValueError, OverflowError, OSError) as error:
            raise ConfigError(
                f"the environment says {LINE}={line}, by which vtr's own launcher reaches its processes",
                f"unset {LINE}",
            ) from error
    elif not any(name in os.environ for name in LAUNCHED):
        return
    parent = os.getppid()
    orphaned = parent == 1 and not _starts_pythons()

    def follow() -> None:
        if line is not None:
            os.read(int(line), 1)
        while line is None and os.getppid() == parent and not orphaned:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


def _starts_pythons() -> bool:
    """Whether process 1 may be a launcher, as in a container: those are Python. Else it takes in orphans alone."""
    with contextlib.suppress(OSError):
        return Path(os.fsdecode(Path("/proc/1/cmdline").read_bytes().split(b"\0")[0])).name.startswith("python")
    return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
