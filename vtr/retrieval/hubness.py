"""Ranks by scores that were normalised against hubs, videos that are near to every text: QB-Norm and DSL.

Both look at more than one query and one video, so they are columns of their own and never the headline:

    QB-Norm   a bank of other texts (training captions) tells which videos are hubs; knows nothing of the test queries
    DSL       the test queries themselves tell; transductive: all queries at once, and one right answer each, assumed

Both go tile by tile, as the plain ranks do, at a few times their cost. Letters: C captions, N videos, E dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError
from vtr.retrieval.exact import Floats, Rows, check_rows, pair_scores, tile_scores
from vtr.retrieval.metrics import BLOCK, Ranks, best_own, check_pairs, counted
from vtr.retrieval.tiles import Side

QB_BETA = 20.0  # inverse temperature of the paper's dynamic inverted softmax
DSL_BETA = 100.0  # inverse temperature of the prior; CLIP's logit scale

Scores = NDArray[np.float64]
# What the score of captions `row` with videos `column` becomes: (R,1) or (P,), (1,S) or (P,), scores -> scores.
Change = Callable[[Rows, Rows, Scores], Scores]


def qb_norm(text: Floats, video: Floats, caption_video: Rows, bank: Floats, *, block: int = BLOCK) -> Ranks:
    """Text-to-video ranks with the query bank `bank` (K, E): (C, E), (N, E) unit rows, (C,) rows of `video`.

    A query's scores become exp(20 s) / sum over the bank of exp(20 s), video by video, if the video nearest to it is
    also the nearest one of some bank text; else they stay. Raises DataError as `both_directions`, and for a bank of
    another dimension or with rows that are not finite.
    Source: Bogolin et al., Cross Modal Retrieval with Querybank Normalisation (arXiv:2112.12777), section 3.3.
    """
    if not bool(check_rows("bank", bank).all()):
        raise DataError("the bank of captions has rows that are not finite", "embed it again")
    if bank.shape[1] != video.shape[1]:
        raise DataError(
            f"the bank has {bank.shape[1]} dimensions, the videos {video.shape[1]}", "embed both with the same model"
        )
    check_pairs(caption_video, len(text), len(video), every_video=False)
    text_ok, clean_text, video_ok, clean_video = _cleaned(text, video)
    nearest, log_sum = np.full(len(bank), -np.inf), _LogSum(len(video))
    for rows, columns, scores in _tiles(bank, clean_video, block):
        scores[:, ~video_ok[columns]] = -np.inf
        np.maximum(nearest[rows], scores.max(axis=1), out=nearest[rows])
        log_sum.add(columns, QB_BETA * scores.T)
    hub = np.zeros(len(video), np.bool_)
    for rows, columns, scores in _tiles(bank, clean_video, block):
        hub[columns] |= (scores == nearest[rows, None]).any(axis=0) & video_ok[columns]
    top, top_hub = np.full(len(text), -np.inf), np.full(len(text), -np.inf)
    for rows, columns, scores in _tiles(clean_text, clean_video, block):
        scores[:, ~video_ok[columns]] = -np.inf
        np.maximum(top[rows], scores.max(axis=1), out=top[rows])
        scores[:, ~hub[columns]] = -np.inf
        np.maximum(top_hub[rows], scores.max(axis=1), out=top_hub[rows])
    normalised, bias = top == top_hub, np.where(video_ok, log_sum.value / QB_BETA, 0)

    def change(row: Rows, column: Rows, scores: Scores) -> Scores:
        # Its logarithm over 20: the same order.
        return np.asarray(scores - normalised[row] * bias[column], dtype=np.float64)

    return _ranks_by(clean_text, text_ok, clean_video, video_ok, caption_video, change, block, t2v=True)


def dual_softmax(text: Floats, video: Floats, caption_video: Rows, *, block: int = BLOCK) -> dict[str, Ranks]:
    """Ranks both ways by s * P: P is the softmax of 100 s over all queries of the test set, for each gallery item.

    Takes and raises what `both_directions` does.
    Source: Cheng et al., Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax Loss
    (arXiv:2109.04290), section 3.3, at test.
    Differs from the paper: its temperature is not given there for tests; 100 is CLIP's.
    """
    check_pairs(caption_video, len(text), len(video), every_video=True)
    text_ok, clean_text, video_ok, clean_video = _cleaned(text, video)
    by_video, by_text = _LogSum(len(video)), _LogSum(len(text))
    for rows, columns, scores in _tiles(clean_text, clean_video, block):
        scaled = DSL_BETA * scores
        scaled[~text_ok[rows]] = scaled[:, ~video_ok[columns]] = -np.inf
        by_video.add(columns, scaled.T)
        by_text.add(rows, scaled)
    over_texts, over_videos = (np.where(np.isfinite(one.value), one.value, 0) for one in (by_video, by_text))

    def to_video(row: Rows, column: Rows, scores: Scores) -> Scores:  # noqa: ARG001
        return scores * np.exp(DSL_BETA * scores - over_texts[column])

    def to_text(row: Rows, column: Rows, scores: Scores) -> Scores:  # noqa: ARG001
        return scores * np.exp(DSL_BETA * scores - over_videos[row])

    given = (clean_text, text_ok, clean_video, video_ok, caption_video)
    return {
        "t2v": _ranks_by(*given, to_video, block, t2v=True),
        "v2t": _ranks_by(*given, to_text, block, t2v=False),
    }


class _LogSum:
    """log of the sum of exp of what is added to each of `count` places, block by block, without overflow."""

    def __init__(self, count: int) -> None:
        self._most, self._sum = np.full(count, -np.inf), np.zeros(count)

    def add(self, places: slice, values: Scores) -> None:
        """(A, B) values more for A places."""
        most = np.maximum(self._most[places], values.max(axis=1))
        finite = np.where(np.isfinite(most), most, 0)
        self._sum[places] *= np.exp(np.where(np.isfinite(self._most[places]), self._most[places] - finite, 0))
        self._sum[places] += np.exp(values - finite[:, None]).sum(axis=1)
        self._most[places] = most

    @property
    def value(self) -> Scores:
        """-inf where nothing was added."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.where(np.isfinite(self._most), self._most, 0) + np.log(self._sum))


def _cleaned(text: Floats, video: Floats) -> tuple[NDArray[np.bool_], Floats, NDArray[np.bool_], Floats]:
    """Which rows are finite, and the rows with zeros in place of those that are not."""
    text_ok, video_ok = check_rows("text", text), check_rows("video", video)
    clean = [rows if ok.all() else np.where(ok[:, None], rows, 0) for rows, ok in ((text, text_ok), (video, video_ok))]
    return text_ok, clean[0], video_ok, clean[1]


def _tiles(left: Floats, right: Floats, block: int) -> Iterator[tuple[slice, slice, Scores]]:
    for top in range(0, len(left), block):
        rows = slice(top, min(top + block, len(left)))
        for start in range(0, len(right), block):
            columns = slice(start, min(start + block, len(right)))
            yield rows, columns, tile_scores(left[rows], right[columns]).astype(np.float64)


def _ranks_by(
    text: Floats,
    text_ok: NDArray[np.bool_],
    video: Floats,
    video_ok: NDArray[np.bool_],
    caption_video: Rows,
    change: Change,
    block: int,
    *,
    t2v: bool,
) -> Ranks:
    captions, videos = len(text), len(video)
    ranked = text_ok & video_ok[caption_video]
    row, score = np.flatnonzero(ranked), np.full(captions, np.inf)
    scores = pair_scores(text, video, row, caption_video[row]).astype(np.float64)
    score[ranked] = _rounded(change(row, caption_video[row], scores))
    best, own = best_own(score, ranked, caption_video, videos)
    side = Side.of(score if t2v else best)
    for rows, columns, scores in _tiles(text, video, block):
        changed = change(np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop), scores)
        changed = _rounded(changed)
        changed[~text_ok[rows]] = changed[:, ~video_ok[columns]] = -np.inf
        queries, axis = (rows, 1) if t2v else (columns, 0)
        wanted = np.expand_dims(side.score[queries], axis)
        side.better[queries] += np.count_nonzero(changed > wanted, axis=axis)
        side.equal[queries] += np.count_nonzero(changed == wanted, axis=axis)
    nan = captions * videos - int(text_ok.sum()) * int(video_ok.sum())
    if t2v:
        return counted(side, ranked, np.ones(captions, np.int64), videos, nan)
    return counted(side, own > 0, own, captions, nan)


def _rounded(values: Scores) -> Scores:
    """To 40 bits: an exponential's last bits depend on where in an array it stands, and would break ties by chance."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(mantissa * 2.0**40), exponent - 40))
