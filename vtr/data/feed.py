"""How fast shards feed a training: what its decoding processes make of them, measured on a few samples."""

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
    num_processes: int,
    workers: int,
    *,
    batch_size: int | None = None,
    frames: int = 4,
    time_limit_s: float = LIMIT_S,
) -> dict[str, Any]:
    """What `num_processes` with `workers` decoding processes each get a second; `problems`: samples that do not decode.

    `batch_size` counts the clips of a step over all processes (no more than there are samples), `frames` those of a
    clip. Samples that are not decoded in `time_limit_s` are told as unreadable. Whether steps divide among the
    processes, `vtr.data.shares` says. Raises InputError for numbers below 1 (workers: below 0).
    """
    numbers = ("num-processes", num_processes, 1), ("workers", workers, 0), ("batch-size", batch_size, 1)
    for name, value, least in (*numbers, ("frames", frames, 1)):
        if value is not None and value < least:
            raise InputError(f"--{name} is {value}", f"give at least {least}")
    rate, tried, unreadable = _clips_per_s(index, frames, time_limit_s)
    problems = []
    if unreadable:
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        problems.append(
            f"of {tried} samples tried {len(unreadable)} cannot be read: {unreadable[0]}{more}; --verify finds them all"
        )
    decoding = num_processes * max(1, workers)
    result: dict[str, Any] = {
        "num_processes": num_processes,
        "workers": workers,
        "frames": frames,
        "shards_per_worker": round(len(index.shards) / decoding, 2),
        "streams_in_webdataset": len(index.shards) >= decoding,
        "clips_per_s_per_core": round(rate, 1),
        "clips_per_s": round(rate * decoding, 1),
        "cores_here": cores(),
    }
    if batch_size is not None:
        clips = min(batch_size, len(index))
        result["steps_per_epoch"] = len(index) // clips
        if rate:
            result["s_per_batch"] = round(clips / (rate * decoding), 4)
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
