"""Ranks by a matrix of scores as it stands, to compare with those by tiles."""

from __future__ import annotations

import numpy as np

from vtr.errors import DataError
from vtr.retrieval.exact import Floats, Rows
from vtr.retrieval.metrics import Ranks, best_own, check_pairs, counted
from vtr.retrieval.tiles import Side


def matrix_ranks(scores: Floats, caption_video: Rows) -> dict[str, Ranks]:
    """Rank both ways by scores that are no dot products, such as a reranker's: (C, N) -> {"t2v": Ranks, "v2t": Ranks}.

    Scores are compared as they are; the rules are those of `both_directions`. For matrices that fit in memory.
    Raises DataError: no rows, shapes that do not fit, a video without a caption.
    """
    if scores.ndim != 2 or scores.size == 0 or scores.dtype.kind != "f":
        raise DataError(f"scores have shape {scores.shape} and type {scores.dtype}, wanted floats (captions, videos)")
    captions, videos = scores.shape
    check_pairs(caption_video, captions, videos, every_video=True)
    score = scores[np.arange(captions), caption_video]
    best, own = best_own(score, ~np.isnan(score), caption_video, videos)
    nan = int(np.count_nonzero(np.isnan(scores)))
    t2v = Side.of(score)
    v2t = Side.of(best)
    for side, queries, axis in ((t2v, score[:, None], 1), (v2t, best[None, :], 0)):
        side.better[:] = np.count_nonzero(scores > queries, axis=axis)
        side.equal[:] = np.count_nonzero(scores == queries, axis=axis)
    return {
        "t2v": counted(t2v, ~np.isnan(score), np.ones(captions, np.int64), videos, nan),
        "v2t": counted(v2t, own > 0, own, captions, nan),
    }
