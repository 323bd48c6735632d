"""The order of one part alone."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from vtr.data.order import Subset, mixed_slots


def training_slots(
    shard_of: npt.NDArray[np.int32], seed: int, batch: int, start: int, rank: int = 0, world: int = 1
) -> Iterator[list[tuple[int, int]]]:
    """`mixed_slots` of one part: endless local batches of (epoch, sample), for one `rank` of `world`."""
    parts = [Subset(np.arange(len(shard_of)), shard_of, Fraction(1))]
    return mixed_slots(parts, seed, batch, start, rank, world)
