"""The parts of embeddings shared out: among the processes of a launcher, or among some that are started here."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtr.build import Loaded, clip_shape, load_model
from vtr.data.child import obey_parent
from vtr.data.memory import check_shared
from vtr.errors import WorkError
from vtr.retrieval import gone, parts
from vtr.retrieval.maker import Maker
from vtr.retrieval.plan import EmbeddingPlan, planned

ASIDE = ".clips"
POLL_S = 0.5
LOCKS = 20  # more than a pool of processes makes
LONGEST_WAIT = datetime.timedelta(days=7)


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

    def do(
        self, loaded: Loaded, plan: EmbeddingPlan, numbers: Sequence[int], progress: Callable[[int], None] | None
    ) -> None:
        """Embeds and writes the parts `numbers`."""
        aside = self.out / f"{ASIDE}-{os.getpid()}"
        maker = Maker(
            loaded.embedder, loaded.tokenizer, clip_shape(loaded.config), aside,
            self.batch, self.workers, self.time_limit_s, progress,
        )  # fmt: skip
        for number, rows, skipped in maker.parts(plan, numbers):
            parts.write(self.out, plan, number, *gone.kept(self.out, plan, number, rows, skipped))


def launched() -> tuple[int, int, Callable[[], None]]:
    """(rank, processes, barrier) as Accelerate's or torch's launcher set them; one process without.

    The barrier raises WorkError when another process is gone.
    """
    from vtr.launched import launched_processes

    if launched_processes() < 2:
        return 0, 1, lambda: None
    from accelerate import PartialState

    from vtr.training.processes import processes_watched

    # They only wait for each other, one for as long as another has more to embed: gloo does that with GPUs or without.
    state = PartialState(cpu=True, timeout=LONGEST_WAIT)

    def barrier() -> None:
        with processes_watched(state.num_processes):
            state.wait_for_everyone()

    return state.process_index, state.num_processes, barrier


def own_device(name: str, rank: int, world: int) -> str:
    """`auto` is a GPU of its own for each of several processes."""
    import torch

    if name != "auto" or world == 1 or not torch.cuda.is_available():
        return name
    return f"cuda:{rank % torch.cuda.device_count()}"


def spread(job: Job, left: list[int], processes: int, progress: Callable[[int], None] | None) -> None:
    """Has `processes` share the parts `left`. Raises what one of them raised, or WorkError when one is killed."""
    context = multiprocessing.get_context("spawn")
    check_shared(context, LOCKS)
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
    obey_parent()


def _work(job: Job, numbers: list[int], rank: int, world: int) -> None:
    def count(more: int) -> None:
        with _counter.get_lock():
            _counter.value += more

    loaded = load_model(job.run, own_device(job.device, rank, world), job.precision)
    job.do(loaded, planned(job.out), numbers, count)
