"""Where the members of each sample are: four columns of the index, held in as few bytes as they need.

# sample 0 has members 0 1 2, sample 1 has 3 4:   starts [0 3 5]   exts [json mp4 txt | json mp4]   ...
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from vtr.data.tarwriter import Member

CHECKED = 1 << 16  # samples at a time


class Places:
    """The members of N samples, by their numbers."""

    def __init__(self, column: Callable[[str], Any]) -> None:
        """`column(name)` is the arrow list array of N rows of a column; all four share their offsets."""
        exts = column("member_ext")
        self._starts: npt.NDArray[np.int32] = exts.offsets.to_numpy()
        self._exts: list[str] = exts.values.dictionary.to_pylist()
        self._ext_of = narrow(exts.values.indices.to_numpy())
        self._offset = narrow(column("member_offset").values.to_numpy())
        self._size = narrow(column("member_size").values.to_numpy())
        self._crc32: npt.NDArray[np.uint32] = column("member_crc32").values.to_numpy()

    def members(self, i: int, exts: Collection[str] | None = None) -> list[Member]:
        """The members of sample `i`, in the order of the tar; only those of `exts` when given."""
        first, end = int(self._starts[i]), int(self._starts[i + 1])
        names = [self._exts[number] for number in self._ext_of[first:end].tolist()]
        return [
            Member(name, int(self._offset[j]), int(self._size[j]), int(self._crc32[j]))
            for j, name in enumerate(names, start=first)
            if exts is None or name in exts  # before the rest, for of many stored frames few are wanted
        ]

    def counts(self) -> npt.NDArray[np.int32]:
        """(N,) how many members each sample has."""
        return np.diff(self._starts)

    def sums(self, first: int, end: int) -> npt.NDArray[np.uint32]:
        """The CRC-32 of all members of the samples `first` to `end` - 1, in their order."""
        return self._crc32[self._starts[first] : self._starts[end]]

    def inside(self, ends: npt.NDArray[np.int64], shard_of: npt.NDArray[np.int32]) -> bool:
        """Whether every member is a part of its tar: `ends` are the sizes of all, `shard_of` (N,) says which it is."""
        count = int(self._starts[-1]) if len(shard_of) else 0
        if not bool((shard_of >= 0).all()) or any(
            len(column) != count for column in (self._ext_of, self._offset, self._size, self._crc32)
        ):
            return False
        for first in range(0, len(shard_of), CHECKED):  # of stored frames there are many
            starts = self._starts[first : first + CHECKED + 1]
            offset, size = (column[starts[0] : starts[-1]] for column in (self._offset, self._size))
            end = np.repeat(ends[shard_of[first : first + CHECKED]], np.diff(starts))
            if not bool(((offset >= 0) & (size >= 0) & (size <= end - offset)).all()):
                return False
        return True


def narrow(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same whole numbers in as few bytes as the largest needs, of which a frame store has dozens a sample.

    What is below 0 or beyond 32 bits stays signed as it is: a damaged index must not look sound.
    """
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    return values.astype(np.min_scalar_type(most)) if least >= 0 and most < 2**32 else values
