"""Before a long run: which batch fits into memory, and whether data or arithmetic will be waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr.compute import memory_bytes
from vtr.footprint import footprint, noise

if TYPE_CHECKING:
    from vtr.bench.step import Measure
    from vtr.config import Config
    from vtr.data.index import ShardIndex

# A step that gains less by being four times as large, or takes so long, has nothing more to tell of speed.
GAIN, LONG_S = 1.2, 2.0


def plan(
    recipe: str, shards: Path | None = None, *, device: str = "auto", workers: int | None = None, small: bool = False
) -> dict[str, Any]:
    """Measures steps and, with `shards`, reading: {"batch_fits", "compute_samples_per_s", "waits_for", ...}.

    `batch_fits` follows from `vtr.footprint`; `batch_wanted` are the clips that one process encodes at once;
    `waits_for` is "data" or "compute".
    """
    from vtr import compute
    from vtr import recipe as recipes
    from vtr.bench.step import make
    from vtr.data.index import ShardIndex

    config = recipes.load(recipe)
    where = compute.device(device)
    precision = compute.precision(config.train.precision, where)
    index = None if shards is None else ShardIndex.open(shards)
    clips = config.train.batch_size if index is None else min(config.train.batch_size, len(index))
    wanted = -(-clips // config.train.accumulate)
    memory = memory_bytes(where)
    it = make(config, config.model.attention, 2, where, small=small)
    takes = footprint(it.config if small else config, where, precision)
    fits = takes.at_once(memory)
    step = it.run(it.objective(config.objective.mask_ratio), precision)
    step()  # the first pays for what is set up once
    rate, batch = steady_rate(it, step, min(fits, wanted))
    found: dict[str, Any] = {
        "recipe": recipe, "device": str(where), "precision": precision,
        "parameters_m": round(takes.parameters / 1e6, 1),
        "memory_gb": round(memory / 2**30, 2), "fixed_gb": round(takes.fixed / 2**30, 2),
        "mb_a_sample": round(takes.a_sample / 2**20, 1), "batch_fits": fits,
        "batch_wanted": wanted, "batch_measured": batch, "compute_samples_per_s": round(rate, 2),
    }  # fmt: skip
    if fits < wanted:
        found["advice"] = takes.advice(config, clips, memory)
    if index is not None:
        workers = min(config.data.workers, os.cpu_count() or 1) if workers is None else workers
        found["data_samples_per_s"] = round(reading_rate(config, index) * max(1, workers), 2)
        found["workers"] = workers
        found["waits_for"] = "data" if found["data_samples_per_s"] < rate else "compute"
    return found


def steady_rate(it: Measure, step: Callable[[], None], most: int) -> tuple[float, int]:
    """(samples a second, batch) of a step, at the size from which on a larger one of at most `most` gains little.

    Two clips alone would tell what starting a step costs, not what training does.
    """
    best, of, batch = 0.0, 2, 2
    while True:
        it.batch = noise(it.config, batch, it.device)
        step()  # as above
        begin = time.perf_counter()
        step()
        seconds = time.perf_counter() - begin
        gained = batch / seconds > GAIN * best
        if batch / seconds > best:
            best, of = batch / seconds, batch
        batch *= 4
        if not gained or seconds > LONG_S or batch > most:
            return best, of


def reading_rate(config: Config, index: ShardIndex, seconds: float = 3.0) -> float:
    """Training clips a second that one process reads, decodes and crops."""
    from vtr.build import clip_shape
    from vtr.data.loader import ClipDataset

    dataset = ClipDataset(index, clip_shape(config), training=True)
    dataset[0, 0]  # opens what is opened once
    begin, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        dataset[0, done % len(dataset)]
        done += 1
    return done / spent
