"""An export of embeddings made, or added to: planned, then embedded part by part, by one process or several.

Every part is written whole by whoever has it; a run that was killed goes on with what is missing.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vtr.atomic import explain_os_error, locked, remove_leftovers
from vtr.build import Loaded, clip_shape, load_model
from vtr.data.spans import Segments
from vtr.errors import DataError, InputError, WorkError
from vtr.retrieval import parts, store
from vtr.retrieval.maker import Maker
from vtr.retrieval.parquet import NAMES
from vtr.retrieval.plan import PLAN, Options, Part, Plan, read, refuse_other

LAYOUTS = ("parquet", "npy")
LOCK = ".lock"
ASIDE = ".clips"
ANEW = ".anew"
POLL_S = 0.5


@dataclass(frozen=True)
class Exported:
    """What an export holds. `added`: parts that were embedded now; `skipped`: {id, kind, message} of each."""

    out: Path
    files: list[Path]
    rows: int
    added: int
    skipped: list[dict[str, str]]


@dataclass(frozen=True)
class Job:
    """How parts are embedded: what a process needs to know beside the plan."""

    run: Path | str
    out: Path
    device: str = "auto"
    precision: str = "auto"
    batch: int = 32
    workers: int = 0
    time_limit_s: float = 300.0

    def do(self, loaded: Loaded, plan: Plan, numbers: Sequence[int], progress: Callable[[int], None] | None) -> None:
        """Embeds and writes the parts `numbers`."""
        aside = self.out / f"{ASIDE}-{os.getpid()}"
        maker = Maker(
            loaded.embedder, loaded.tokenizer, clip_shape(loaded.config), aside,
            self.batch, self.workers, self.time_limit_s, progress,
        )  # fmt: skip
        for number, rows, skipped in maker.parts(plan, numbers):
            parts.write(self.out, plan, number, rows, skipped)


def export(
    job: Job,
    sources: Callable[[], list[Part]],
    options: Options,
    *,
    overwrite: bool = False,
    processes: int = 1,
    max_skipped: float = 0.05,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Embeds what of `sources()` is not in `job.out` yet; the same again does nothing.

    Under Accelerate's launcher its processes share the work; else `processes` of them are started here.
    Raises DataError: another model's or other options' embeddings are there. WorkError: more than the share
    `max_skipped` of the videos could not be decoded (the others are written).
    """
    _check(job.out, options, processes)
    rank, world, barrier = _launched()
    loaded = load_model(job.run, _own_device(job.device, rank, world), job.precision)
    out = job.out
    if overwrite:  # made beside the old one, which is there until the new one is whole
        job = replace(job, out=out / ANEW)
    with _held(out, main=rank == 0):
        if rank == 0:
            _planned(job.out, Plan(options, loaded.meta), sources(), anew=overwrite).write(job.out)
        barrier()
        plan = _read(job.out)
        left = [number for number in range(len(plan.parts)) if not parts.is_done(job.out, plan, number)]
        if world > 1 or processes == 1 or len(left) < 2:
            job.do(loaded, plan, left[rank::world], progress)
        else:
            del loaded
            _spread(job, left, min(processes, len(left)), progress)
        barrier()
        if rank > 0:
            return Exported(out, [], 0, 0, [])
        skipped = parts.finish(job.out, plan)
        if overwrite:
            store.move(job.out, out)
    return _summary(out, plan, len(left), skipped, max_skipped)


def _check(out: Path, options: Options, processes: int) -> None:
    if options.layout not in LAYOUTS:
        raise InputError(f"the format {options.layout!r} is unknown", f"choose one of: {', '.join(LAYOUTS)}")
    if options.dtype not in store.DTYPES:
        raise InputError(
            f"embeddings cannot be stored as {options.dtype!r}", f"choose one of {', '.join(store.DTYPES)}"
        )
    if options.segments:
        Segments.parse(options.segments)
    if processes < 1:
        raise InputError(f"{processes} processes, at least 1 is needed", "leave --num-processes out for one")
    if out.is_file():
        raise InputError(f"{out} is a file, an export is a directory", "give another --out")
    for name, what in (("index.parquet", "a shard directory"), ("run.json", "a run"), ("model.safetensors", "a run")):
        if (out / name).exists():
            raise InputError(f"{out} is {what}, no place for an export", "give another --out")


def _planned(out: Path, new: Plan, sources: list[Part], *, anew: bool) -> Plan:
    """The plan of `out` with `sources` in it. Raises DataError when what is there is of another kind."""
    out.mkdir(exist_ok=True)
    old, planned = read(out), new.with_parts(sources)
    if anew:  # what a run before had begun is of use if it was the same
        if old != planned:
            store.remove(out)
        return planned
    if old is not None:
        refuse_other(old, new, out)
        return old.with_parts(sources)
    foreign = [*sorted(out.glob(NAMES)), *sorted(out.glob("*_emb"))]
    if foreign:
        raise DataError(
            f"{out} holds an export already, without a {PLAN}: {foreign[0].name}",
            "choose an empty directory, or ask for it to be overwritten",
        )
    return planned


def _read(out: Path) -> Plan:
    plan = read(out)
    if plan is None:
        raise DataError(f"{out / PLAN} has gone", "run the same command again")
    return plan


def _summary(out: Path, plan: Plan, added: int, skipped: list[dict[str, str]], max_skipped: float) -> Exported:
    rows = store.count(out)
    if skipped and len(skipped) > max_skipped * (len(skipped) + rows):
        first = "; ".join("{id} ({kind}: {message})".format(**entry) for entry in skipped[:3])
        raise WorkError(
            f"{len(skipped)} videos could not be decoded, of {rows} rows that could; first: {first}",
            f"{out / parts.SKIPPED_FILE} names them all; the others are written, accept that with --max-skipped 1",
        )
    files = [file for number in range(len(plan.parts)) for file in parts.files_of(out, plan, number)]
    return Exported(out, files, rows, added, skipped)


@contextmanager
def _held(out: Path, *, main: bool) -> Iterator[None]:
    """`out`, made if need be, for this command alone; what a killed one had begun is cleared away."""
    if not main:
        yield
        return
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, str(out)):
            try:
                _clear(out)
                yield
            finally:
                _clear(out)
    except OSError as error:
        raise explain_os_error(error, "while embedding", out) from error
    finally:
        if new:  # nothing came of it: a wrong path, say
            with suppress(OSError):
                out.rmdir()


def _clear(out: Path) -> None:
    for folder in (out, out / ANEW):
        remove_leftovers(folder)
        for left in folder.glob(f"{ASIDE}-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in [
            *folder.glob(".*.partial"),
            *folder.glob("*_emb/.*.partial"),
            *folder.glob("*metadata/.*.partial"),
        ]:
            left.unlink(missing_ok=True)


def _launched() -> tuple[int, int, Callable[[], None]]:
    """(rank, processes, barrier) as Accelerate's or torch's launcher set them; one process without."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0, 1, lambda: None
    from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes, state.wait_for_everyone


def _own_device(name: str, rank: int, world: int) -> str:
    """`auto` is a GPU of its own for each of several processes."""
    import torch

    if name != "auto" or world == 1 or not torch.cuda.is_available():
        return name
    return f"cuda:{rank % torch.cuda.device_count()}"


def _spread(job: Job, left: list[int], processes: int, progress: Callable[[int], None] | None) -> None:
    """Has `processes` share the parts `left`. Raises what one of them raised, or WorkError when one is killed."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    seen = 0
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(counter,))
    try:
        waiting = {pool.submit(_work, job, left[rank::processes], rank, processes) for rank in range(processes)}
        while waiting:
            done, waiting = wait(waiting, POLL_S)
            now = counter.value
            if progress and now > seen:
                progress(now - seen)
            seen = now
            for future in done:
                future.result()
    except BrokenProcessPool as error:
        raise WorkError(
            "an embedding process was ended from outside",
            "run the same command again, it continues; if memory ran out, use fewer --num-processes",
        ) from error
    finally:
        for process in list(getattr(pool, "_processes", None) or {}):
            if waiting:  # an error: what the others are at is not worth waiting for
                os.kill(process, signal.SIGKILL)
        pool.shutdown(cancel_futures=True)


_counter: Any = None


def _begin(counter: Any) -> None:
    global _counter  # noqa: PLW0603  (a pool hands shared memory to its processes by way of this alone)
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Ends this process with its parent, which holds the lock of the export."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGKILL)


def _work(job: Job, numbers: list[int], rank: int, world: int) -> None:
    def count(more: int) -> None:
        with _counter.get_lock():
            _counter.value += more

    loaded = load_model(job.run, _own_device(job.device, rank, world), job.precision)
    job.do(loaded, _read(job.out), numbers, count)
