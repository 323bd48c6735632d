"""Sharding videos as they are, beside copying the same files with `tar`: what keys, sums and an index cost.

Both read from the page cache. Nothing is decoded, for `tar` decodes nothing; sharding still hashes every byte twice
(sha256 and CRC-32), starts its processes, syncs every tar to the disk and writes the index.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from operator import truediv
from pathlib import Path

from vtr.bench.harness import Bench, Measured
from vtr.errors import InputError

GOALS = {"shard.over_tar": "at least 0.7"}
FILES, BYTES = 2000, 1 << 20
WORKERS = 2


def measure(bench: Bench) -> Measured:
    """Megabytes a second of both, over two thousand files of a megabyte."""
    from vtr.data.annotations import Sample
    from vtr.data.shards import write_shards
    from vtr.data.store import VideoStore

    tar = shutil.which("tar")
    if tar is None:
        raise InputError("there is no tar to compare with", "install it")
    files, size = (20, BYTES // 16) if bench.small else (FILES, BYTES)
    bench.tell(f"writing {files} files")
    folder = bench.folder / "files"
    samples = [
        Sample(path.stem, path, ("a caption of eight words or so here",), source=path.name)
        for path in _write(folder, files, size)
    ]
    out, copy = bench.folder / "shards", bench.folder / "copy.tar"

    def shard() -> None:
        write_shards(samples, out, reader="table", source="bench", store=VideoStore(check=False), workers=WORKERS)

    def copied() -> None:
        # Synced like the shards, so that both have put their bytes where they outlast a power cut.
        subprocess.run([tar, "-cf", copy, "-C", folder, "."], check=True)  # noqa: S603
        with copy.open("rb") as file:
            os.fsync(file.fileno())

    def removed() -> None:
        shutil.rmtree(out, ignore_errors=True)
        copy.unlink(missing_ok=True)

    taken = bench.turns({"shard": shard, "tar": copied}, after=removed)
    mb = files * size / 1e6
    rates = {name: mb / statistics.median(seconds) for name, seconds in taken.items()}
    return {
        # Each turn has a ratio of its own: what else the machine does then falls on both sides.
        "ratios": {"shard.over_tar": statistics.median(map(truediv, taken["tar"], taken["shard"]))},
        "figures": {
            "files": files,
            "mb": mb,
            "workers": WORKERS,
            "shard_mb_per_s": rates["shard"],
            "tar_mb_per_s": rates["tar"],
        },
    }


def _write(folder: Path, files: int, size: int) -> list[Path]:
    """Files of bytes that do not compress, as videos do not."""
    import numpy as np

    folder.mkdir()
    block = np.random.default_rng(0).bytes(size)
    paths = []
    for number in range(files):
        path = folder / f"clip{number:05d}.mp4"
        path.write_bytes(number.to_bytes(4, "big") + block[4:])
        paths.append(path)
    return paths
