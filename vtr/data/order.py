"""The order of training as a pure function of the index, the seed and the place in the stream.

Epochs follow each other in one endless list of slots: `epoch 0 | epoch 1 | ...`; global batch g takes the slots from
g * B, and rank r its contiguous part. Nothing is dropped at the end of an epoch: a batch may straddle two. So the state
of the loader is one number, whatever the processes and workers, and each epoch shows each sample once. Several
directories, and the images and videos of one, are subsets with such a list each, which take turns by their weights; how
many steps an epoch is then, `steps_of` says.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, pairwise

import numpy as np
import numpy.typing as npt

from vtr.data.shares import check_batch
from vtr.rng import fold_in, generator

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


@dataclass(frozen=True)
class Subset:
    """Samples with an order of their own: the images, or the videos, of one shard directory.

    `numbers` (n,) are theirs in the whole, `shard_of` (n,) their tars; `weight` is the subset's share against others.
    """

    numbers: npt.NDArray[np.int64]
    shard_of: npt.NDArray[np.int32]
    weight: Fraction
    still: bool = False


def mixed_slots(
    subsets: Sequence[Subset], seed: int, batch: int, start: int, rank: int = 0, world: int = 1
) -> Iterator[list[tuple[int, int]]]:
    """Endless local batches of (epoch, sample), from global batch `start` on, for one `rank` of `world`.

    A batch is of images or of videos, never of both. Which one, and of which subset each of its slots is, follows from
    their numbers alone (`turns`); each subset goes through epochs of its own, and `epoch` is that of the sample's.
    Raises ConfigError when the global `batch` does not divide among the processes.
    """
    check_batch(batch, world)
    kinds = [[n for n, subset in enumerate(subsets) if subset.still is still] for still in (False, True)]
    kinds = [kind for kind in kinds if kind]
    shares = [sum((subsets[n].weight for n in kind), Fraction()) for kind in kinds]
    local = batch // world
    known: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
    for step in count(start):
        which, before = turn(step, shares)  # `before` steps of this kind have been
        kind = kinds[which]
        weights = [subsets[n].weight for n in kind]
        slots = []
        for slot in range(before * batch + rank * local, before * batch + rank * local + local):
            chosen, place = turn(slot, weights) if len(kind) > 1 else (0, slot)
            number = kind[chosen]
            epoch, place = divmod(place, len(subsets[number].numbers))
            if (number, epoch) not in known:
                known = {(n, e): order for (n, e), order in known.items() if n != number or e >= epoch - 1}
                # The first subset's order is that of its directory alone.
                own = fold_in(seed, number) if number else seed
                known[number, epoch] = subsets[number].numbers[epoch_order(subsets[number].shard_of, own, epoch)]
            slots.append((epoch, int(known[number, epoch][place])))
        yield slots


def turn(number: int, weights: Sequence[Fraction]) -> tuple[int, int]:
    """Whose turn `number` (from 0) is when turns go by `weights`, and how many turns it has had before.

    Of any first n turns each has its share of n, as evenly as whole turns allow; nothing is drawn or remembered.
    # weights 2 1 -> 1 0 0 1 0 0 ... turned to 0 1 0 0 1 0: n = 6 -> four of 0, two of 1
    """
    rest = sum(weights, Fraction())
    for which, weight in enumerate(weights[:-1]):
        # Turns of this one among the first n are floor(n * share): it has turn n where that number grows.
        before, after = (n * weight.numerator * rest.denominator // (weight.denominator * rest.numerator)
                         for n in (number, number + 1))  # fmt: skip
        if after > before:
            return which, before
        number -= before  # the rest share the turns that are left
        rest -= weight
    return len(weights) - 1, number


def turns(number: int, weights: Sequence[Fraction]) -> list[int]:
    """How many of the first `number` turns each has had, by the rule of `turn`."""
    rest, had = sum(weights, Fraction()), []
    for weight in weights[:-1]:
        had.append(number * weight.numerator * rest.denominator // (weight.denominator * rest.numerator))
        number -= had[-1]
        rest -= weight
    return [*had, number]


def steps_of(subsets: Sequence[Subset], batch: int, epochs: float) -> int:
    """The steps that `epochs` take: with one subset, or with weights of one's own, as many slots as there are samples.

    The images and videos of one directory, or directories that weigh what they hold, take the steps until each sample
    has been shown so often: batches are of one kind, so what comes round sooner is shown again.
    """
    samples = sum(len(subset.numbers) for subset in subsets)
    least = max(1, math.ceil(epochs * samples / batch))
    if len(subsets) == 1 or len({subset.weight / len(subset.numbers) for subset in subsets}) > 1:
        return least
    kinds = [kind for still in (False, True) if (kind := [subset for subset in subsets if subset.still is still])]
    shares = [sum((subset.weight for subset in kind), Fraction()) for kind in kinds]

    def shown(steps: int) -> bool:
        return all(
            slots >= epochs * len(subset.numbers)
            for kind, had in zip(kinds, turns(steps, shares), strict=True)
            for subset, slots in zip(kind, turns(had * batch, [subset.weight for subset in kind]), strict=True)
        )

    most = least
    while not shown(most):
        most *= 2
    return bisect_left(range(most + 1), True, lo=least, key=shown)


def evaluation_slots(count: int, batch: int, still: npt.NDArray[np.bool_] | None = None) -> list[list[tuple[int, int]]]:
    """Every sample once, in order; the last batch is as short as it is.

    With `still` (N,), which samples are images, a batch ends too where images and videos meet.
    """
    edges = [0, count] if still is None else [0, *(np.flatnonzero(np.diff(still)) + 1).tolist(), count]
    return [
        [(0, i) for i in range(at, min(at + batch, end))]
        for begin, end in pairwise(edges)
        for at in range(begin, end, batch)
    ]
