"""`vtr embed` over a frame store against the bare model on ready batches: what reading, decoding and writing cost."""

from __future__ import annotations

import statistics
from pathlib import Path

import torch

from vtr.bench.harness import Bench, Measured

GOALS = {"embed.over_forward": "at least 0.9"}
# A core embeds a clip of base size in one to three seconds, so on processors few clips are enough to measure by.
CLIPS, BATCH, SMALL = 16, 4, "mac-tiny"
GPU_CLIPS, GPU_BATCH, GPU_WORKERS = 2048, 128, 14


def measure(bench: Bench) -> Measured:
    """Clips a second of both, with a model of base size and new weights (how good they are costs no time)."""
    from vtr import recipe
    from vtr.api import embed, shard
    from vtr.build import clip_shape, load_model, make_model, make_tokenizer
    from vtr.checkpoint import save
    from vtr.data.index import ShardIndex
    from vtr.data.loader import ClipDataset, batches
    from vtr.retrieval.embed import captions_of
    from vtr.runfiles import write_run

    gpu = torch.cuda.is_available()
    clips, batch, workers = (GPU_CLIPS, GPU_BATCH, GPU_WORKERS) if gpu else (CLIPS, BATCH, 0)
    if bench.small:
        clips, batch, workers = 8, 4, 0
    bench.tell("sharding")
    shard("synthetic", "seed:0", bench.folder / "s", limit=clips, workers=2, store="frames")
    index = ShardIndex.open(bench.folder / "s")
    given = {"model.video": "", "model.text": "", "data.workers": workers}
    config = recipe.override(recipe.load(SMALL if bench.small else "mac-base"), given)
    words = make_tokenizer(config, captions_of(index))
    model = make_model(config, words)
    run = bench.folder / "run"
    save(run, 0, lambda folder: write_run(folder, config, model, words), 1)
    loaded = load_model(run)
    slots = [[(0, i) for i in range(at, min(at + batch, clips))] for at in range(0, clips, batch)]
    ready = [found.clips.to(loaded.embedder.device) for found, _ in batches(
        ClipDataset(index, clip_shape(config)), slots, words, 0)]  # fmt: skip

    def forward() -> None:
        for part in ready:
            loaded.embedder.embed_video(part).cpu()

    told: list[float] = []

    def whole() -> None:
        out = _fresh(bench.folder / "e")
        told.append(embed(run, bench.folder / "s", out, batch_size=batch, workers=workers).seconds)

    seconds = bench.medians({"embed_s": whole, "forward_s": forward})
    work = statistics.median(told[1:])  # as `vtr embed` tells it; the first warmed up
    seconds["start_s"] = seconds["embed_s"] - work  # opening run and index, which a run over many clips pays once
    return {
        "ratios": {"embed.over_forward": seconds["forward_s"] / work},
        "figures": {
            "clips": clips, "batch": batch, "workers": workers, "device": str(loaded.embedder.device),
            "embed_clips_per_s": clips / work, "forward_clips_per_s": clips / seconds["forward_s"], **seconds,
        },
    }  # fmt: skip


def _fresh(folder: Path) -> Path:
    from vtr.retrieval import store

    store.remove(folder)
    return folder
