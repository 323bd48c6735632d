"""Evaluating: ranks against sorting the whole matrix, memory at scale, and the cost of all but the encoders."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.bench.harness import Bench, Measured
from vtr.errors import WorkError

GOALS = {"eval.argsort_over_ours": "at least 12", "eval.peak_mb": "below 200", "eval.overhead": "below 10"}
DIM = 256
SORTED, LARGE, CLIPS = 10_000, 50_000, 1000
MODEL = {
    "data.frames": 4, "data.size": 112, "data.resize": 112, "data.words": 32, "data.decoder": "auto",
    "model.width": 384, "model.depth": 12, "model.heads": 6, "model.patch": 16, "model.text_width": 256,
    "model.text_depth": 4, "model.text_heads": 4, "model.vocabulary": 2000,
}  # fmt: skip

# Each runs in a process of its own, so that its memory and its start are its own too.
PEAK = """
import json, resource, sys
from pathlib import Path
import numpy as np
from vtr.retrieval import stats
from vtr.retrieval.metrics import both_directions, summarize
text, video = np.load(sys.argv[1]), np.load(sys.argv[2])
owner = np.arange(len(text))
for rows in (text, video):
    rows.sum()
def peak_kb():
    status = Path("/proc/self/status")  # getrusage would tell the peak of the parent too, where that was higher
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
before = peak_kb()
for ranks in both_directions(text, video, owner).values():
    summarize(ranks), stats.intervals(ranks, owner)
print(json.dumps((peak_kb() - before) / 1000))
"""
# What `vtr eval RUN --shards DIR --out FILE` does.
WHOLE = """
import json, sys
from io import StringIO
from rich.console import Console
from vtr import api
from vtr.retrieval.table import results_table
result = api.evaluate(sys.argv[1], sys.argv[2], workers=1)
Console(file=StringIO()).print(results_table(result))
from pathlib import Path
result.write(Path(sys.argv[3]))
print(json.dumps(result.seconds["encoders"]))
"""


def measure(bench: Bench) -> Measured:
    """All three ratios; the one of sorting on as many threads as there are, which sorting cannot use."""
    sorting, sorted_figures = _sorting(bench)
    peak, large = _peak(bench)
    overhead, spent = _overhead(bench)
    return {
        "ratios": {"eval.argsort_over_ours": sorting, "eval.peak_mb": peak, "eval.overhead": overhead},
        "figures": {**sorted_figures, "peak_videos": large, **spent},
    }


def _sorting(bench: Bench) -> tuple[float, dict[str, Any]]:
    """Theirs is given the matrix for nothing; ours begins with the embeddings. Both find the same ranks."""
    from vtr.retrieval.metrics import both_directions, summarize

    count = SORTED // 20 if bench.small else SORTED
    text, video = _pairs(count)
    owner = np.arange(count)
    found: dict[str, NDArray[Any]] = {}
    matrix = text @ video.T

    def argsorts() -> None:
        for way, scores in (("t2v", matrix), ("v2t", matrix.T)):
            order = np.argsort(-scores, axis=1)
            found[way] = 1 + np.nonzero(order == owner[:, None])[1]

    def ours() -> None:
        for way, ranks in both_directions(text, video, owner).items():
            found[f"our {way}"] = ranks.expected()
            summarize(ranks)

    # Sorting takes half a minute, so it is done once, between two turns of ours.
    ours()
    taken = [_seconds(bench, name, work) for name, work in (("ours", ours), ("argsort", argsorts), ("ours", ours))]
    seconds = {"argsort": taken[1], "ours": (taken[0] + taken[2]) / 2}
    for way in ("t2v", "v2t"):  # but for scores that a float32 product cannot tell apart
        assert np.mean(found[way] != found[f"our {way}"]) < 0.01, "both must find the same ranks"  # noqa: S101
    return seconds["argsort"] / seconds["ours"], {
        "sorted_videos": count, "argsort_s": seconds["argsort"], "ours_s": seconds["ours"]
    }  # fmt: skip


def _peak(bench: Bench) -> tuple[float, int]:
    """Megabytes beyond the embeddings while ranks both ways, all numbers and all intervals are made."""
    count = LARGE // 20 if bench.small else LARGE
    bench.tell(f"ranking {count} by {count}")
    files = [bench.folder / "text.npy", bench.folder / "video.npy"]
    for file, rows in zip(files, _pairs(count), strict=True):
        np.save(file, rows)
    return float(json.loads(_run(PEAK, *files))), count


def _overhead(bench: Bench) -> tuple[float, dict[str, Any]]:
    """Percent of the wall clock of a whole `vtr eval`, from starting Python to its end, outside the encoders."""
    from vtr import api, checkpoint, recipe
    from vtr.build import make_model, make_tokenizer
    from vtr.data.index import ShardIndex
    from vtr.retrieval.embed import captions_of
    from vtr.runfiles import write_run

    clips = 24 if bench.small else CLIPS
    bench.tell(f"making {clips} clips")
    shards, run = bench.folder / "shards", bench.folder / "run"
    api.shard("synthetic", "seed:0", shards, split="test", limit=clips)
    tiny = {**MODEL, "model.width": 64, "model.depth": 1, "model.heads": 1, "data.size": 32, "data.resize": 32}
    config = recipe.override(
        recipe.load("mac-base"), {**(tiny if bench.small else MODEL), "model.video": "", "model.text": ""}
    )
    words = make_tokenizer(config, captions_of(ShardIndex.open(shards)))
    checkpoint.save(run, 1, lambda folder: write_run(folder, config, make_model(config, words), words), keep=1)
    bench.tell(f"evaluating {clips} clips")
    begin = time.perf_counter()
    encoders = float(json.loads(_run(WHOLE, run, shards, bench.folder / "r.json")))
    wall = time.perf_counter() - begin
    return 100 * (wall - encoders) / wall, {"clips": clips, "eval_s": wall, "encoders_s": encoders}


def _seconds(bench: Bench, name: str, work: Callable[[], None]) -> float:
    bench.tell(name)
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _pairs(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, E) texts and videos, each text near its video."""
    rng = np.random.default_rng(0)
    video = rng.standard_normal((count, DIM), dtype=np.float32)
    text = video + rng.standard_normal((count, DIM), dtype=np.float32)
    return text / np.linalg.norm(text, axis=1, keepdims=True), video / np.linalg.norm(video, axis=1, keepdims=True)


def _run(code: str, *arguments: Path) -> str:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise WorkError(f"a measured process failed: {' '.join(done.stderr.split()[-40:])}")
    return done.stdout
