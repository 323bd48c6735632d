"""Which queries a report shows: the best and the worst, and what each of them found first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtr.retrieval.exact import pair_scores
from vtr.retrieval.index import ExactIndex
from vtr.retrieval.metrics import Ranks
from vtr.retrieval.paired import Paired

SHOWN, FOUND = 6, 3


@dataclass(frozen=True)
class Example:
    """Query number `query`, its expected rank and score, and what it found first: (gallery row, score, right)."""

    query: int
    rank: float
    own: int
    score: float
    found: list[tuple[int, float, bool]]


def examples(paired: Paired, ranks: Ranks) -> tuple[list[Example], list[Example]]:
    """The best queries (the right answer first, by the widest margin) and the worst, none in both."""
    rank = ranks.expected()
    gallery_ok = np.asarray(np.isfinite(paired.video).all(axis=1))
    ok = np.isfinite(paired.text).all(axis=1) & gallery_ok[paired.owner]
    queries = np.flatnonzero(ok)
    if not len(queries):
        return [], []
    shown = min(SHOWN, len(queries) // 2) or 1
    order = queries[np.lexsort((queries, rank[queries]))]
    worst = order[::-1][:shown]
    first = order[rank[order] == rank[order[0]]][:2000]  # a margin costs a search, so not of all of a large set
    if len(first) > shown:
        scores, _ = ExactIndex(paired.video).search(paired.text[first], 2)
        own = pair_scores(paired.text, paired.video, first, paired.owner[first])
        other = scores[:, min(1, scores.shape[1] - 1)]
        first = first[np.argsort(-(own - other), kind="stable")]
    else:
        first = order
    best = [int(query) for query in first if query not in worst][:shown]
    return _looked_up(paired, rank, np.array(best, dtype=np.int64)), _looked_up(paired, rank, worst)


def _looked_up(paired: Paired, rank: np.ndarray, queries: np.ndarray) -> list[Example]:
    if not len(queries):
        return []
    scores, rows = ExactIndex(paired.video).search(paired.text[queries], FOUND)
    own = pair_scores(paired.text, paired.video, queries, paired.owner[queries])
    return [
        Example(
            int(query), float(rank[query]), int(paired.owner[query]), float(own[i]),
            [
                (int(row), float(score), bool(row == paired.owner[query]))
                for row, score in zip(rows[i], scores[i], strict=True)
            ],
        )
        for i, query in enumerate(queries)
    ]  # fmt: skip
