"""Exact top-k search: every vector is looked at, blocks of them at a time, so that they may outgrow memory."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError, InputError
from vtr.retrieval.exact import Floats, check_rows, pair_scores, tile_scores, tolerance, widen

Hits = tuple[NDArray[np.float32], NDArray[np.int64]]

_QUERIES = 512
# Few queries against float16 rows: each entry is used once, so that widening it first would cost more than the product.
# Nothing is copied then, so that a block may be as large as suits the threads: they meet at the end of each.
_FEW = 8
_HALF_BLOCK = 2**20
# A query rounded to 11 bits is off by less than 2**-11 in length, and a score below 2 rounded likewise by 2**-11.
_HALF_MARGIN = 2.0**-10
_STRETCH = 64
_LOWEST = np.finfo(np.float32).min  # any finite score reaches it, so no -inf that stands for "never" does
_DENSE = 1 / 32
_TILE = 65_536  # rows whose scores are worth computing all, at 8 bytes an entry


class ExactIndex:
    """Search (N, E) unit rows, float32 or float16; a memory-mapped array stays on disk and is read once a search.

    Rows that are not finite are never returned: `searchable` counts the others. Scores are those of exact.py: the same
    at any `block`, and equal vectors tie. Raises DataError: no rows, rows that are not of unit length.
    """

    def __init__(self, vectors: Floats, *, block: int = 8192) -> None:
        if block < 1:
            raise InputError(f"block is {block}, wanted at least 1 row", "leave it out: 8192 suits most machines")
        self._vectors = vectors
        self._finite = check_rows("index", vectors)
        self._block = block
        self.searchable = int(self._finite.sum())

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Floats, k: int) -> Hits:
        """The best k rows of each query (Q, E), best first, then lower row first: scores (Q, k) float32, rows (Q, k).

        k is at most `searchable`; a larger k gives that many.
        Raises InputError: k below 1. DataError: queries of another dimension, not finite or not of unit length.
        """
        if k < 1:
            raise InputError(f"k is {k}, wanted at least 1 hit")
        if not bool(np.all(check_rows("query", queries))):
            raise DataError("a query embedding is not finite", "its text or its video could not be embedded")
        if queries.shape[1] != self._vectors.shape[1]:
            raise DataError(
                f"queries have {queries.shape[1]} dimensions, the index {self._vectors.shape[1]}",
                "embed the query with the model that made the index",
            )
        k = min(k, self.searchable)
        parts = [self._search(widen(queries[i : i + _QUERIES]), k) for i in range(0, len(queries), _QUERIES)]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([rows for _, rows in parts])

    def _search(self, queries: NDArray[np.float32], k: int) -> Hits:
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), len(self), dtype=np.int64)
        if k == 0:
            return scores, rows
        few = len(queries) <= _FEW and self._vectors.dtype == np.dtype(np.float16)
        block = max(self._block, _HALF_BLOCK) if few else self._block
        for start in range(0, len(self), block):
            finite = self._finite[start : start + block]
            part = self._vectors[start : start + block]
            whole = bool(finite.all())
            if few:
                vectors, approx, margin = part, _half_products(queries, part), _HALF_MARGIN
            else:
                vectors = widen(part if whole else np.where(finite[:, None], part, part.dtype.type(0)))
                approx, margin = queries @ vectors.T, 0.0
            margin += tolerance(queries.shape[1])
            found = _candidates(queries, vectors, approx, margin, None if whole else finite, scores[:, -1], k)
            _merge(scores, rows, found[0], found[1] + start, found[2])
        return scores, rows


def _half_products(queries: NDArray[np.float32], vectors: Floats) -> NDArray[np.float32]:
    """(Q,B): products with float16 rows as they are stored, added up in float32, to within `_HALF_MARGIN`."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # a mapped file; nobody writes to it
        rows = torch.from_numpy(np.ascontiguousarray(vectors))
    halves = torch.from_numpy(queries).half()
    return np.stack([torch.mv(rows, query).float().numpy() for query in halves])


def _candidates(
    queries: NDArray[np.float32],
    vectors: Floats,
    approx: NDArray[np.float32],
    margin: float,
    finite: NDArray[np.bool_] | None,
    worst: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pairs (query, row, score) that may enter the best k, of which each query's `worst` (Q,) is the last so far.

    The products `approx` (Q,B) choose them, with a `margin` for their rounding; their scores are exact.
    """
    if finite is not None:
        approx[:, ~finite] = -np.inf
    floor = np.maximum(worst - margin, _LOWEST)
    chosen = approx >= floor[:, None]
    if k < len(vectors) and np.count_nonzero(chosen) > 4 * k * len(queries):
        # Many are left, as in the first block: none below the block's own k-th best can enter either.
        chosen = approx >= np.maximum(floor, _kth_best(approx, k) - 2 * margin)[:, None]
    query, row = np.divmod(np.flatnonzero(chosen), len(vectors))
    if len(query) > _DENSE * chosen.size and len(vectors) <= _TILE:
        return query, row, tile_scores(queries, vectors)[query, row]
    return query, row, pair_scores(queries, vectors, query, row)


def _kth_best(values: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """(Q,N) -> (Q,): what k of each row's values reach: the k-th best, or where N is large a little less.

    The k-th best of the peaks of many stretches is reached by k values, and far fewer need to be put in order.
    """
    count = values.shape[1] // _STRETCH
    if count >= 8 * k:
        values = values[:, : count * _STRETCH].reshape(len(values), count, _STRETCH).max(axis=2)
    return np.partition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k]


def _merge(
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    query: NDArray[np.int64],
    row: NDArray[np.int64],
    score: NDArray[np.float32],
) -> None:
    """Put the found pairs into the best (Q, k) so far, in place: by score, downwards, then by row, upwards."""
    if not len(query):
        return
    k = scores.shape[1]
    changed = np.unique(query)
    all_query = np.concatenate([np.repeat(changed, k), query])
    all_row = np.concatenate([rows[changed].reshape(-1), row])
    all_score = np.concatenate([scores[changed].reshape(-1), score])
    order = np.lexsort((all_row, -all_score, all_query))
    # Each changed query's entries now stand together, k or more of them: [a a a a a | b b b | c c c c], k = 3
    first = np.searchsorted(all_query[order], changed)
    best = order[first[:, None] + np.arange(k)]
    scores[changed], rows[changed] = all_score[best], all_row[best]
