"""Whether shards can feed a training of so many processes: enough samples for every rank, and how fast they decode."""

from __future__ import annotations

import time
from typing import Any

from vtr.data import stored
from vtr.data.apart import LIMIT_S, LOST, Decoder, processor_seconds
from vtr.data.crew import cores
from vtr.data.index import ShardIndex
from vtr.errors import InputError, VideoError

TRIED = 16  # clips that are decoded to measure


def feed(
    index: ShardIndex,
    world_size: int,
    workers: int,
    *,
    batch_size: int | None = None,
    frames: int = 4,
    time_limit_s: float = LIMIT_S,
) -> dict[str, Any]:
    """What each of `world_size` processes with `workers` decoding processes gets; `ok` and `problems` say if it works.

    `batch_size` counts the clips of a step over all processes, `frames` those of a clip. Samples that are not
    decoded in `time_limit_s` are told as unreadable.
    Raises InputError for numbers below 1 (workers: below 0).
    """
    for name, value, least in (("world-size", world_size, 1), ("workers", workers, 0), ("batch-size", batch_size, 1)):
        if value is not None and value < least:
            raise InputError(f"--{name} is {value}", f"give at least {least}")
    problems = []
    if len(index) < world_size:
        problems.append(f"{len(index)} samples are fewer than {world_size} processes: some would get none")
    if batch_size is not None and batch_size % world_size:
        problems.append(f"a batch of {batch_size} cannot be shared equally by {world_size} processes")
    if batch_size is not None and batch_size > len(index):
        problems.append(f"a batch of {batch_size} is more than the {len(index)} samples there are")
    rate, tried, unreadable = _clips_per_s(index, frames, time_limit_s)
    if unreadable:
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        problems.append(
            f"of {tried} samples tried {len(unreadable)} cannot be read: {unreadable[0]}{more}; --verify finds them all"
        )
    decoding = world_size * max(1, workers)
    result: dict[str, Any] = {
        "world_size": world_size,
        "workers": workers,
        "samples_per_rank": len(index) // world_size,
        "shards_per_worker": round(len(index.shards) / decoding, 2),
        "streams_in_webdataset": len(index.shards) >= decoding,
        "clips_per_s_per_core": round(rate, 1),
        "clips_per_s": round(rate * decoding, 1),
        "cores_here": cores(),
    }
    if batch_size is not None:
        result["steps_per_epoch"] = len(index) // batch_size
        if rate:
            result["s_per_batch"] = round(batch_size / (rate * decoding), 4)
    return {**result, "ok": not problems, "problems": problems}


def _clips_per_s(index: ShardIndex, frames: int, time_limit_s: float) -> tuple[float, int, list[str]]:
    """Clips that one core reads and decodes in a second; of how many samples, from all over; which it cannot read.

    One that hangs or crashes is the last that is tried.
    """
    count = min(TRIED, len(index))
    seconds, read, tried, unreadable = 0.0, 0, 0, list[str]()
    with Decoder(time_limit_s) as decode:
        for k in range(-1, count):
            i = max(0, 2 * k + 1) * len(index) // (2 * count)
            there = int(index.fact(i, "frames"))
            numbers = [(2 * n + 1) * there // (2 * frames) for n in range(frames)]
            begin = time.process_time()
            try:
                encoded = stored.fetch(index, i, numbers)
                reading = time.process_time() - begin
                decoding = decode(processor_seconds, stored.decode, encoded)
            except VideoError as error:
                if k >= 0 or error.kind in LOST:
                    tried += 1
                    unreadable.append(f"{index.key(i)} ({error.kind}: {error.message})")
                if error.kind in LOST:
                    break
                continue
            if k >= 0:  # the first one also loads the decoder
                seconds += reading + decoding
                read, tried = read + 1, tried + 1
    return read / max(seconds, 1e-9), tried, unreadable
