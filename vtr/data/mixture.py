"""Several shard directories as one: samples numbered through, each directory with its share of what training sees."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vtr.data.index import SampleInfo, ShardIndex
from vtr.data.limits import loosest
from vtr.data.order import Subset
from vtr.data.tarwriter import Member
from vtr.errors import InputError


class Mixture:
    """`indices` as one index: sample i of the second comes after all of the first. `weights`: None is by their sizes.

    By their sizes, an epoch shows every sample of all of them once.
    """

    def __init__(self, indices: Sequence[ShardIndex], weights: Sequence[Fraction] | None = None) -> None:
        self.indices = tuple(indices)
        self.weights = tuple(weights) if weights is not None else tuple(Fraction(len(index)) for index in indices)
        self._ends = np.cumsum([len(index) for index in indices])
        text = " ".join(f"{index.digest}={weight}" for index, weight in zip(indices, self.weights, strict=True))
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.where = " + ".join(index.where for index in indices)
        self.limits = loosest(index.limits for index in indices)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, i: int) -> tuple[ShardIndex, int]:
        """The index that sample `i` is in, and its number there."""
        number = int(np.searchsorted(self._ends, i, side="right"))
        return self.indices[number], i - (int(self._ends[number - 1]) if number else 0)

    def subsets(self) -> list[Subset]:
        """The images and the videos of each directory, with their shares: see `ShardIndex.subsets`."""
        found, start = [], 0
        for index, weight in zip(self.indices, self.weights, strict=True):
            for subset in index.subsets():
                share = weight * subset.weight / len(index)
                found.append(Subset(subset.numbers + start, subset.shard_of, share, subset.still))
            start += len(index)
        return found

    def key(self, i: int) -> str:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.key(own)

    def captions(self, i: int) -> list[str]:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.captions(own)

    def info(self, i: int) -> SampleInfo:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.info(own)

    def fact(self, i: int, name: str) -> Any:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.fact(own, name)

    def facts(self, name: str) -> npt.NDArray[Any]:
        """As of `ShardIndex`."""
        return np.concatenate([index.facts(name) for index in self.indices])

    def members(self, i: int) -> list[Member]:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.members(own)

    def read(self, i: int, exts: Iterable[str] | None = None) -> dict[str, bytes]:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.read(own, exts)

    def read_video(self, i: int) -> bytes:
        """As of `ShardIndex`."""
        index, own = self.place(i)
        return index.read_video(own)


Samples: TypeAlias = ShardIndex | Mixture


def open_shards(shards: Path | str | Sequence[Path | str]) -> Samples:
    """One shard directory, or several with weights: `["a=0.7", "b=0.3"]`; without weights they count by their sizes.

    Raises InputError: weights for some of them only, or none above 0; what `ShardIndex.open` raises.
    """
    several = [shards] if isinstance(shards, (str, Path)) else list(shards)
    if not several:
        raise InputError("there are no shards to train on", "give --shards DIR")
    named = [_weighted(one) for one in several]
    weights = [weight for _, weight in named]
    if any(weights) != all(weights):
        missing = next(where for where, weight in named if weight is None)
        raise InputError(
            f"{missing} has no weight, others have one", "give --shards DIR=WEIGHT for all of them, or none"
        )
    indices = [ShardIndex.open(where) for where, _ in named]
    if len(indices) == 1:
        return indices[0]
    return Mixture(indices, [weight for weight in weights if weight is not None] or None)


def _weighted(shards: Path | str) -> tuple[str, Fraction | None]:
    """`DIR=0.7` as (DIR, 7/10); a path that is there as it stands has no weight."""
    match = re.fullmatch(r"(.+)=(.*)", str(shards))
    if match is None or Path(shards).exists():
        return str(shards), None
    if not re.fullmatch(r"-?\d+(?:\.\d+)?", match[2]):
        if Path(match[1]).exists():
            raise InputError(f"{shards} gives {match[1]} the weight {match[2]!r}", "give a number above 0, such as 0.7")
        return str(shards), None  # an address may have such a name
    if (weight := Fraction(match[2])) <= 0:
        raise InputError(f"{shards} gives {match[1]} no share", "give a weight above 0, or leave it out")
    return match[1], weight
