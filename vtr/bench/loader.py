"""Feeding a training step: a frame store beside the same clips in a video store, and the loader beside a bare loop."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from vtr.bench.clips import make_clips
from vtr.bench.harness import Bench, Measured

if TYPE_CHECKING:
    from vtr.data.dataset import ClipDataset
    from vtr.data.index import ShardIndex
    from vtr.data.tokenizer import CaptionTokenizer

GOALS = {"loader.frames_over_video": "at least 30", "loader.efficiency": "at least 0.9"}


@dataclass(frozen=True)
class Work:
    """What is measured: so many files of so many seconds, each under `names` keys, over and over, in batches.

    `from_frames` and `from_video` are how many batches of each store are timed. A batch of a frame store is as large as
    one that is trained on; of a video store, which is slow, `slow_batch`.
    """

    clips: int = 8
    names: int = 8
    seconds: float = 10.0
    size: tuple[int, int] = (854, 480)
    batch: int = 32
    slow_batch: int = 8
    from_frames: int = 15
    from_video: int = 6
    workers: int = 2


SMALL = Work(
    clips=4, names=2, seconds=1.0, size=(176, 144), batch=4, slow_batch=2, from_frames=6, from_video=2, workers=1
)


def measure(bench: Bench) -> Measured:
    """4 frames of 224 pixels a clip, as training takes them: random frames, crops and flips.

    `frames_over_video`: clips a second of the loader, over the two stores. `efficiency`: clips a second of the loader
    with one worker, over a loop that has the bytes in memory and does nothing but decode and resize the same frames;
    both are held to one core. Each turn has ratios of its own, of which the median counts: what else the machine does
    then falls on both sides.
    """
    from vtr.data.parcels import PLACES

    work = SMALL if bench.small else Work()
    indices, words = write_stores(bench, work)
    frames, video = (_dataset(indices[name]) for name in ("frames", "video"))
    first = 1 if bench.small else PLACES  # from then on the memory of batches is used again, as in a long run
    speeds: dict[str, list[float]] = {name: [] for name in ("frames", "video", "one_worker", "bare")}
    for turn in range(bench.repeats):
        bench.tell(f"turn {turn + 1}/{bench.repeats}")
        speeds["frames"].append(loader_speed(frames, words, work.batch, work.workers, work.from_frames, first))
        speeds["video"].append(loader_speed(video, words, work.slow_batch, work.workers, work.from_video))
        with one_core():
            speeds["one_worker"].append(loader_speed(frames, words, work.batch, 1, work.from_frames, first))
            speeds["bare"].append(bare_speed(frames, work))
    median = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "ratios": {
            "loader.frames_over_video": _ratio(speeds["frames"], speeds["video"]),
            "loader.efficiency": _ratio(speeds["one_worker"], speeds["bare"]),
        },
        "figures": {
            "frames_clips_per_s": median["frames"],
            "video_clips_per_s": median["video"],
            "loader_clips_per_s_one_core": median["one_worker"],
            "bare_clips_per_s_one_core": median["bare"],
            "batch": work.batch,
            "workers": work.workers,
            "clip": f"{work.size[0]}x{work.size[1]}, {work.seconds:g} s, GOP 250, 4 frames of 224",
            "video_kib": _mean_kib(indices["video"]),
            "frames_kib": _mean_kib(indices["frames"]),
        },
    }


def write_stores(bench: Bench, work: Work) -> tuple[dict[str, ShardIndex], CaptionTokenizer]:
    """The same clips in a store of each kind, and a tokenizer of their captions."""
    from vtr.data import tokenizer
    from vtr.data.index import ShardIndex
    from vtr.data.shards import write_shards

    bench.tell("making clips")
    files = make_clips(bench.folder / "clips", work.clips, work.seconds, work.size)
    samples = [replace(file, key=f"{file.key}-{n}") for file in files for n in range(work.names)]
    found = {}
    for store in ("video", "frames"):
        bench.tell(f"sharding them: {store}")
        out = bench.folder / store
        write_shards(samples, out, reader="bench", source="clips", store=store, workers=1)
        found[store] = ShardIndex.open(out)
    return found, tokenizer.train([caption for sample in samples for caption in sample.captions], 32, 200)


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def loader_speed(
    dataset: ClipDataset, words: CaptionTokenizer, batch: int, workers: int, timed: int, first: int = 1
) -> float:
    """Clips a second in full flow, over `timed` batches after the `first` of each worker.

    More batches are asked for than are timed: as much is begun before the clock starts as is left over when it stops.
    """
    from vtr.data.loader import batches, workers_watched
    from vtr.data.order import mixed_slots

    slots = mixed_slots(dataset.index.subsets(), 0, batch, 0)
    with workers_watched():
        made = batches(dataset, slots, words, workers)
        for _ in range(first * workers):
            next(made)
        begin = time.perf_counter()
        count = sum(len(found) for found, _ in islice(made, timed))
        seconds = time.perf_counter() - begin
        made.close()
        return count / seconds


def bare_speed(dataset: ClipDataset, work: Work) -> float:
    """Clips a second of decoding and resizing the same frames in one loop, with their bytes in memory."""
    import torch

    from vtr.data import stored
    from vtr.data.clips import frame_numbers
    from vtr.data.order import mixed_slots
    from vtr.rng import generator

    held = []
    for slots in islice(mixed_slots(dataset.index.subsets(), 0, work.batch, 0), work.from_frames + 1):
        for epoch, i in slots:
            rng = generator(dataset.seed, epoch, i)
            numbers = frame_numbers("segments", dataset.index.fact(i, "frames"), dataset.shape.frames, 1, rng)
            held.append((stored.fetch(dataset.index, i, numbers.tolist()), rng))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for encoded, rng in held[: work.batch]:
            dataset.crop(stored.decode(encoded), rng)
        begin = time.perf_counter()
        for encoded, rng in held[work.batch :]:
            dataset.crop(stored.decode(encoded), rng)
        return (len(held) - work.batch) / (time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_core() -> Iterator[None]:
    """This process and the children it starts keep to one core, where the system can do that."""
    allowed: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    if allowed is None:
        yield
        return
    before = allowed(0)
    _keep_to({min(before)})
    try:
        yield
    finally:
        _keep_to(before)


def _keep_to(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208  (each thread has its own set)
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def _dataset(index: ShardIndex) -> ClipDataset:
    from vtr.data.dataset import ClipDataset, ClipShape

    return ClipDataset(index, ClipShape(frames=4, size=224, resize=256, crop_min=0.5, flip=True), training=True)


def _mean_kib(index: ShardIndex) -> Any:
    sizes = [sum(member.size for member in index.members(i)) for i in range(len(index))]
    return round(sum(sizes) / len(sizes) / 1024)
