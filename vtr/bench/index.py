"""Opening an index of a million samples: how long, and how much memory it holds beside the mapped file."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from vtr.bench.harness import Bench, Measured

if TYPE_CHECKING:
    import pyarrow as pa

GOALS = {"index.open_s": "below 2", "index.open_mb": "below 300"}
SAMPLES, PER_SHARD = 1_000_000, 1000


def measure(bench: Bench) -> Measured:
    """Opens the index in fresh processes, each of which has imported what it needs before the clock starts."""
    samples = SAMPLES // 100 if bench.small else SAMPLES
    bench.tell(f"writing an index of {samples} samples")
    size = write_large_index(bench.folder, samples)
    found = []
    for turn in range(bench.repeats):
        bench.tell(f"opening it {turn + 1}/{bench.repeats}")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found.append(pool.submit(_open, bench.folder).result())
    median = {name: statistics.median(one[name] for one in found) for name in found[0]}
    return {
        "ratios": {"index.open_s": median.pop("open_s"), "index.open_mb": median.pop("open_mb")},
        "figures": {"samples": samples, "file_mb": size / 1e6, **median},
    }


def write_large_index(folder: Path, samples: int) -> int:
    """Writes an index of `samples` ordinary samples into `folder`, over tars that take no room; its size in bytes."""
    import pyarrow as pa

    from vtr.data import index_file

    tables, shards = [], []
    for number, begin in enumerate(range(0, samples, PER_SHARD)):
        count = min(PER_SHARD, samples - begin)
        name = f"{number:06d}.tar"
        tables.append(_rows(name, begin, count))
        shards.append(index_file.Shard(name, count << 20, count))
        with (folder / name).open("wb") as tar:
            tar.truncate(count << 20)
    index_file.write_index(folder / index_file.NAME, pa.concat_tables(tables), shards)
    return (folder / index_file.NAME).stat().st_size


def _rows(shard: str, begin: int, count: int) -> pa.Table:
    """Rows of `count` samples, each a json and an mp4 of a megabyte together."""
    import hashlib

    import numpy as np

    from vtr.data.index_file import DEFAULTS, make_row, rows_to_table
    from vtr.data.tarwriter import Member

    rng = np.random.default_rng(begin)
    size, frames = rng.integers(400_000, 1_000_000, count).tolist(), rng.integers(100, 900, count).tolist()
    sums = rng.integers(0, 2**32, (count, 2)).tolist()
    rows = []
    for i in range(count):
        start, number = i << 20, begin + i
        members = [Member("json", start + 512, 700, sums[i][0]), Member("mp4", start + 1536, size[i], sums[i][1])]
        captions = [f"somebody does thing number {number} while others look on"]
        facts = {
            "frames": frames[i], "fps": 30.0, "duration_s": frames[i] / 30, "width": 640, "height": 360,
            "decoder": "decord",
        }  # fmt: skip
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        row = make_row(f"clip_{number:08d}", shard, members, captions, "train", sha256, "video", facts)
        rows.append({**DEFAULTS, **row})  # nothing is measured of what is made up: a column to come has its default
    return rows_to_table(rows)


def _open(folder: Path) -> dict[str, float]:
    """In a process of its own: opening, then all that training asks of an index before its first clip."""
    from vtr.data.index import ShardIndex
    from vtr.data.order import epoch_order

    before, begin = resident_mb(), time.perf_counter()
    index = ShardIndex.open(folder)
    opened, memory = time.perf_counter(), resident_mb()
    i = int(epoch_order(index.shard_of, 0, 0)[0])
    for what in (index.key, index.captions, index.members):
        what(i)
    for name in ("frames", "decoder", "store"):
        index.fact(i, name)
    return {
        "open_s": opened - begin,
        "open_mb": memory - before,
        "first_sample_s": time.perf_counter() - opened,
        "first_sample_mb": resident_mb() - before,
    }


def resident_mb() -> float:
    """Megabytes of this process in memory that are of no file; where the system does not tell, its peak of all."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1e6 if os.uname().sysname == "Darwin" else 1e3)
    found = dict(line.split(":", 1) for line in lines)
    return sum(int(found[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in found) * 1024 / 1e6
