"""Whether the rows of an index fit its tars and one another: looked at on opening, for it may come from anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vtr.data.index_file import ANEW, Shard
from vtr.data.places import Places
from vtr.errors import DataError

PICTURES = {"store": "frames", "decoder": "image"}  # what a sample says, by column, whose frames are members each


def check(
    path: Path, shards: Sequence[Shard], shard_of: npt.NDArray[np.int32], places: Places, column: Callable[[str], Any]
) -> None:
    """Raises DataError when the index at `path` cannot be true of any tars.

    `shard_of` (N,) says which of `shards` each sample is in, -1 for none of them; `column(name)` is a column of N rows.
    """
    # Nothing but a part of a tar that the index names is ever read.
    if not places.inside(np.array([shard.bytes for shard in shards], np.int64), shard_of):
        raise _damaged(path, "it has members outside of its tars")
    counts = np.bincount(shard_of, minlength=len(shards)).tolist()
    for shard, count in zip(shards, counts, strict=True):
        if shard.samples != count:
            raise _damaged(path, f"it counts {shard.samples} samples in {shard.name} and has {count} of them")
    frames = column("frames").to_numpy()
    few = np.flatnonzero(frames < 1)
    # Of what was stored without being looked at nothing is known: no frames, and no width.
    if len(few) and len(few := few[(frames[few] < 0) | (column("width").to_numpy()[few] != 0)]):
        raise _damaged(path, f"sample {few[0]} has {frames[few[0]]} frames, at least 1 was wanted")
    # Of pictures that are members each there are no more than members; what reads them counts on it.
    pictures = np.zeros(len(frames), bool)
    for name, value in PICTURES.items():
        found = column(name)
        pictures |= np.array([one == value for one in found.dictionary.to_pylist()])[found.indices.to_numpy()]
    too_many = np.flatnonzero(pictures & (frames > places.counts()))
    if len(too_many):
        row = int(too_many[0])
        raise _damaged(path, f"sample {row} has {frames[row]} frames in {places.counts()[row]} members")


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} is damaged: {what}", ANEW)
