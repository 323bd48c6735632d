"""The order of training as a pure function of the index, the seed and the place in the stream.

Epochs follow each other in one endless list of slots: `epoch 0 | epoch 1 | ...`; global batch g takes the slots from
g * B, and rank r its contiguous part. Nothing is dropped at the end of an epoch: a batch may straddle two. So the state
of the loader is one number, whatever the processes and workers, and each epoch shows each sample once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vtr.errors import ConfigError
from vtr.rng import generator

# Samples mix across so many shards at a time: wide enough to mix, near enough to read almost in sequence.
WINDOW = 8


def epoch_order(shard_of: npt.NDArray[np.int32], seed: int, epoch: int, window: int = WINDOW) -> npt.NDArray[np.int64]:
    """(N,) shard numbers -> (N,) sample numbers: shards shuffled, then samples within each `window` of shards."""
    rng = generator(seed, epoch)
    shards = rng.permutation(int(shard_of.max()) + 1)
    place = np.empty_like(shards)
    place[shards] = np.arange(len(shards))
    # Sort by window, then by noise: one pass, no Python loop over shards.
    noise = rng.random(len(shard_of))
    return np.lexsort((noise, place[shard_of] // window)).astype(np.int64)


def training_slots(
    shard_of: npt.NDArray[np.int32], seed: int, batch: int, start: int, rank: int = 0, world: int = 1
) -> Iterator[list[tuple[int, int]]]:
    """Endless local batches of (epoch, sample), from global batch `start` on, for one `rank` of `world`.

    Raises ConfigError when the global `batch` does not divide among the processes.
    """
    if batch % world:
        raise ConfigError(
            f"a global batch of {batch} does not divide among {world} processes", "choose a multiple with --batch-size"
        )
    local, count = batch // world, len(shard_of)
    known: dict[int, npt.NDArray[np.int64]] = {}
    position = start * batch + rank * local
    while True:
        slots = []
        for slot in range(position, position + local):
            epoch, place = divmod(slot, count)
            if epoch not in known:
                known = {e: order for e, order in known.items() if e >= epoch - 1}
                known[epoch] = epoch_order(shard_of, seed, epoch)
            slots.append((epoch, int(known[epoch][place])))
        yield slots
        position += batch


def evaluation_slots(count: int, batch: int) -> list[list[tuple[int, int]]]:
    """Every sample once, in order; the last batch is as short as it is."""
    return [[(0, i) for i in range(at, min(at + batch, count))] for at in range(0, count, batch)]
