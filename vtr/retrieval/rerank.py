"""Ranks whose first places are ordered again by what sees a caption and a clip together, such as SimVTP's matching.

A query's candidates are the items of its raw ranking that stand among the first `top` with certainty: of a group of
ties that reaches beyond `top` none is taken, for which of them would be chance. Behind them the raw order stays.
Letters: Q queries, G gallery, E dimensions, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtr.retrieval.exact import Floats, check_rows, tile_scores
from vtr.retrieval.metrics import Ranks

TOP = 32
# Equal pairs may differ in the last bits by where in a batch they stood: ties would be decided by chance.
DECIMALS = 4
_TILE = 1 << 22  # similarities held at once


@dataclass(frozen=True)
class Candidates:
    """(P,) queries and (P,) items of the gallery, sorted by query."""

    query: NDArray[np.int64]
    item: NDArray[np.int64]


def candidates(queries: Floats, gallery: Floats, top: int = TOP) -> Candidates:
    """(Q,E), (G,E) unit rows -> at most `top` items a query; rows that are not finite neither ask nor are found.

    Raises DataError as the metrics do.
    """
    asks, there = np.flatnonzero(check_rows("query", queries)), np.flatnonzero(check_rows("gallery", gallery))
    good, found = gallery[there], []
    step = max(1, _TILE // max(1, len(there)))
    for start in range(0, len(asks), step):
        rows = asks[start : start + step]
        scores = tile_scores(queries[rows], good)
        if len(there) > top:
            after = np.partition(scores, len(there) - 1 - top, axis=1)[:, len(there) - 1 - top]  # number top + 1
            row, column = np.nonzero(scores > after[:, None])
        else:
            row, column = np.nonzero(np.ones(scores.shape, np.bool_))
        found.append((rows[row], there[column]))
    query, item = (np.concatenate([pair[side] for pair in found] or [np.empty(0, np.int64)]) for side in (0, 1))
    return Candidates(query, item)


def reranked(raw: Ranks, among: Candidates, scores: NDArray[np.floating], own: NDArray[np.bool_]) -> Ranks:
    """The ranks when `among` (P) is ordered by `scores` (P,), compared to DECIMALS; `own` (P,): the right answers.

    A query without a right answer among its candidates keeps its raw rank, one whose right answers all score NaN ranks
    last.
    """
    score = np.round(scores.astype(np.float64), DECIMALS)
    known = ~np.isnan(score)
    best = np.full(len(raw.better), -np.inf)
    np.maximum.at(best, among.query[own & known], score[own & known])
    against = best[among.query]

    def count(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(among.query[chosen], minlength=len(best))

    asked = count(own) > 0
    scored = count(own & known) > 0
    lost = asked & ~scored

    def chosen(last: int, new: NDArray[np.int64], old: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(lost, last, np.where(scored, new, old))

    return Ranks(
        better=chosen(raw.gallery - 1, count(known & (score > against)), raw.better),
        equal=chosen(1, count(known & (score == against)), raw.equal),
        own=chosen(1, count(own & known & (score == against)), raw.own),
        gallery=raw.gallery,
        nan=int((~known).sum()),
    )
