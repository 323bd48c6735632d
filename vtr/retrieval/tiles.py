"""Count what beats and what ties each query's own item, tile by tile of a similarity matrix that never exists whole.

A tile is looked at from both sides, so one pass serves both directions:

                 videos (columns)                 per caption: how many videos score above its own video
    captions   [ tile ][ tile ][ . ]   --rows-->
    (rows)     [ tile ][ tile ][ . ]
                    |
                  columns: per video, how many captions score above its best own caption
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vtr.errors import InputError
from vtr.retrieval.exact import Floats, pair_scores, tile_scores, tolerance, widen

# Above this share of undecided pairs, all of a tile's exact scores at once are cheaper than the pairs one by one.
_DENSE = 1 / 32


@dataclass(frozen=True)
class Side:
    """One direction's queries: the score (Q,) that each has to beat, and what has been counted so far.

    A score of +inf asks for no count: nothing lies above it and nothing ties with it.
    """

    score: Floats
    better: NDArray[np.int64]
    equal: NDArray[np.int64]

    @classmethod
    def of(cls, score: Floats) -> Side:
        """A side with nothing counted yet."""
        return cls(score, np.zeros(len(score), np.int64), np.zeros(len(score), np.int64))


@dataclass(frozen=True)
class _Tile:
    left: NDArray[np.float32]  # (A, E) captions
    right: NDArray[np.float32]  # (B, E) videos
    approx: NDArray[np.float32]  # (A, B) their float32 products

    @cached_property
    def exact(self) -> NDArray[np.float32]:
        return tile_scores(self.left, self.right)

    def add_to(self, side: Side, queries: slice, *, rows: bool) -> None:
        """Count this tile for the queries that are its rows, or its columns."""
        score, better, equal = side.score[queries], side.better[queries], side.equal[queries]
        counted = 1 if rows else 0
        margin = tolerance(self.left.shape[1])
        high = np.nextafter((score + margin).astype(np.float32), np.float32(np.inf))
        low = np.nextafter((score - margin).astype(np.float32), np.float32(-np.inf))
        above = self.approx > np.expand_dims(high, counted)
        undecided = np.logical_xor(above, self.approx >= np.expand_dims(low, counted))
        pairs = np.flatnonzero(undecided)
        if len(pairs) > _DENSE * undecided.size:
            better += _count(self.exact > np.expand_dims(score, counted), counted)
            equal += _count(self.exact == np.expand_dims(score, counted), counted)
            return
        better += _count(above, counted)
        row, column = np.divmod(pairs, undecided.shape[1])
        exact = pair_scores(self.left, self.right, row, column)
        query = row if rows else column
        better += np.bincount(query[exact > score[query]], minlength=len(score))
        equal += np.bincount(query[exact == score[query]], minlength=len(score))


def count_tiles(text: Floats, video: Floats, rows: Side | None, columns: Side | None, block: int) -> None:
    """Count over all tiles of (C, E) captions with (N, E) videos, for the captions (`rows`), the videos (`columns`).

    Both embeddings are finite unit rows. The result depends on no `block`; memory grows with its square.
    Raises InputError: `block` is not positive.
    """
    if block < 1:
        raise InputError(f"block is {block}, wanted at least 1 row", "leave it out: 1024 suits most machines")
    buffer = np.empty(min(block, len(text)) * min(block, len(video)), dtype=np.float32)
    for top in range(0, len(text), block):
        left = widen(text[top : top + block])
        for start in range(0, len(video), block):
            right = widen(video[start : start + block])
            approx = buffer[: len(left) * len(right)].reshape(len(left), len(right))
            np.matmul(left, right.T, out=approx)
            tile = _Tile(left, right, approx)
            if rows is not None:
                tile.add_to(rows, slice(top, top + len(left)), rows=True)
            if columns is not None:
                tile.add_to(columns, slice(start, start + len(right)), rows=False)


def _count(flags: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    # Into 16 bits, where they suffice, sums take a quarter of the time that they take into 64.
    total = np.uint16 if flags.shape[axis] < 2**16 else np.int64
    return np.asarray(np.add.reduce(flags.view(np.uint8), axis=axis, dtype=total), dtype=np.int64)
