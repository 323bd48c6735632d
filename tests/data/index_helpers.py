"""Shard directories of words in place of videos, made in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtr.data import index_file
from vtr.data.index import ShardIndex
from vtr.data.index_file import Shard
from vtr.data.tarwriter import Member, TarWriter


def content(i: int) -> bytes:
    return f"video {i} ".encode() * (50 + i)


def row(i: int, shard: str, members: list[Member]) -> dict[str, Any]:
    captions, decoder = [f"caption {i}", "Fuß"][: 1 + i % 2], "pyav" if i % 3 else "decord"
    facts = {"frames": i + 1, "fps": 25.0, "duration_s": 0.5 * i, "width": 320, "height": 240, "decoder": decoder}
    made = index_file.make_row(f"k{i}", shard, members, captions, "train", f"{i:064x}", "video", facts)
    return {**index_file.DEFAULTS, **made}  # nothing is measured of words: a column to come has its default


def build(root: Path, samples: int = 7, per_shard: int = 3) -> ShardIndex:
    """A shard directory whose videos are just words, written with the parts that sharding uses."""
    root.mkdir(parents=True, exist_ok=True)
    rows, shards = [], []
    for first in range(0, samples, per_shard):
        name = f"{first // per_shard:06d}.tar"
        with (root / name).open("wb") as file:
            writer, numbers = TarWriter(file), range(first, min(first + per_shard, samples))
            for i in numbers:
                members = [writer.add(f"k{i}", "json", b"{}"), writer.add(f"k{i}", "mp4", content(i))]
                rows.append(row(i, name, members))
            shards.append(Shard(name, writer.close(), len(numbers)))
    index_file.write_index(root / index_file.NAME, index_file.rows_to_table(rows), shards)
    return ShardIndex.open(root)
