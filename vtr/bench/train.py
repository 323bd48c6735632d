"""Training from a frame store: what is left of the speed on batches in memory when they are read and decoded."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Generator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from vtr.bench.harness import Bench, Measured

if TYPE_CHECKING:
    from vtr.data.dataset import ClipDataset
    from vtr.data.tokenizer import CaptionTokenizer
    from vtr.types import Batch

GOALS = {"train.fed": "at least 0.9"}
CLIPS, STEPS = 480, 24


def measure(bench: Bench) -> Measured:
    """Steps of `mac-tiny` on what its loader hands over, and on one such batch again and again, in turns.

    `fed` reads a frame store whose pictures have twice the recipe's short side, as one would shard for it; `fed_large`
    one of the videos' own, which is 25 times the pixels that the model sees.

    Each turn begins with steps that are not timed, as many as batches are read ahead: those were read while others
    were timed, and reading others must not fall into the turn that reads nothing.
    """
    import torch

    from vtr import api, build, compute, makers, recipe
    from vtr.data.dataset import ClipDataset
    from vtr.data.index import ShardIndex
    from vtr.data.loader import AHEAD
    from vtr.data.store import FrameStore
    from vtr.retrieval.embed import captions_of
    from vtr.run import make_optimizer

    clips, steps, ahead = (96, 2, 0) if bench.small else (CLIPS, STEPS, AHEAD)
    bench.tell(f"making {clips} clips")
    stores = {"store": bench.folder / "shards", "large": bench.folder / "large"}
    # Without its cache, which after an epoch would be memory again.
    config = recipe.override(recipe.load("mac-tiny"), {"data.cache_gb": 0.0})
    for name, out in stores.items():
        side = 2 * config.data.resize if name == "store" else 256
        api.shard("synthetic", "seed:0", out, limit=clips, store=FrameStore(short_side=side), per_shard=96)
    index, where = ShardIndex.open(stores["store"]), compute.device("auto")
    words = build.make_tokenizer(config, captions_of(index))
    torch.manual_seed(0)
    objective = makers.make_objective(config, build.make_model(config, words), words).to(where).train()
    size, workers = min(config.train.batch_size, clips), min(config.data.workers, os.cpu_count() or 1)
    optimizer = make_optimizer(config, objective, size)
    dtype = compute.DTYPES[compute.precision("auto", where)]

    def train(rows: Iterator[Batch], untimed: int) -> float:
        begin = 0.0
        for number, batch in enumerate(islice(rows, untimed + steps)):
            if number == untimed:
                if where.type == "cuda":
                    torch.cuda.synchronize()
                begin = time.perf_counter()
            with torch.autocast(where.type, dtype, enabled=dtype != torch.float32):
                loss = sum(objective(batch.to(where), 0).values())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if where.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    streams = {
        name: _stream(ClipDataset(ShardIndex.open(out), build.clip_shape(config), training=True), words, size, workers)
        for name, out in stores.items()
    }
    held = next(streams["store"])
    taken: dict[str, list[float]] = {"store": [], "large": [], "memory": []}
    for turn in range(bench.repeats + 1):
        bench.tell(f"training {turn}/{bench.repeats}")
        for name, rows in {**streams, "memory": _again(held)}.items():
            seconds = train(rows, ahead * max(1, workers))
            if turn:
                taken[name].append(seconds)
        if turn:
            now = "  ".join(f"{name} {size * steps / seconds[-1]:.4g} samples/s" for name, seconds in taken.items())
            bench.note(f"{turn}/{bench.repeats}  {now}")
    for stream in streams.values():
        stream.close()
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    figures: dict[str, Any] = {
        **{f"samples_per_s_{name}": round(size * steps / seconds, 1) for name, seconds in median.items()},
        "batch_size": size, "workers": workers, "device": str(where), "threads": torch.get_num_threads(),
    }  # fmt: skip
    figures["fed_large"] = median["memory"] / median["large"]
    return {"ratios": {"train.fed": median["memory"] / median["store"]}, "figures": figures}


def _stream(dataset: ClipDataset, words: CaptionTokenizer, size: int, workers: int) -> Generator[Batch]:
    import torch

    from vtr.data.loader import batches
    from vtr.data.order import mixed_slots

    slots = mixed_slots(dataset.index.subsets(), 0, size, 0)
    for batch, _ in batches(dataset, slots, words, workers, torch.cuda.is_available()):
        yield batch
        del batch


def _again(batch: Batch) -> Iterator[Batch]:
    while True:
        yield batch
