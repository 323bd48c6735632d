"""How well the right answers rank: R@K, MdR, MnR, with ties that neither favour nor punish.

C captions, N videos, E dimensions; a caption belongs to one video, a video may have several captions. From text to
video a query's rank is that of its one video; from video to text that of the video's best-ranked caption ("any match").

With `better` items above the own one, `equal` items in its group of ties (itself among them) and `own` right answers in
that group, a random order of the group gives

    R@K   P(an own item is in the top K) = 1 - C(equal - own, s) / C(equal, s),  s = clip(K - better, 0, equal)
    rank  E[rank of the first own item]  = 1 + better + (equal - own) / (own + 1)

With one right answer these are s / equal and 1 + better + (equal - 1) / 2: a constant matrix has R@K = K / N.
A score that is not a number (its embedding has a NaN or an infinity) ranks last and is counted in `Ranks.nan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError
from vtr.retrieval.exact import Floats, Rows, check_rows, pair_scores
from vtr.retrieval.tiles import Side, count_tiles

BLOCK = 1024
RECALLS = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """Where the right answers of Q queries stand in a gallery of `gallery` items; see the formulas above."""

    better: NDArray[np.int64]  # (Q,) items that score above the best own item
    equal: NDArray[np.int64]  # (Q,) items that score the same, itself among them: 1 where nothing ties
    own: NDArray[np.int64]  # (Q,) right answers among those: 1 where a query has one right answer
    gallery: int
    nan: int = 0  # similarities of the whole matrix that are not numbers

    def __post_init__(self) -> None:
        fits = self.better.ndim == 1 and self.better.shape == self.equal.shape == self.own.shape
        if not fits or not bool(
            np.all((self.better >= 0) & (self.own >= 1) & (self.own <= self.equal))
            and np.all(self.better + self.equal <= self.gallery)
        ):
            raise DataError(
                f"these are no ranks in a gallery of {self.gallery}: "
                f"better {self.better.shape}, equal {self.equal.shape}, own {self.own.shape}",
                "wanted three (Q,) counts with 0 <= better, 1 <= own <= equal, better + equal <= gallery",
            )

    def expected(self) -> NDArray[np.float64]:
        """Each query's rank, from 1, in expectation over the order of ties: (Q,) float64."""
        return np.asarray(1 + self.better + (self.equal - self.own) / (self.own + 1), dtype=np.float64)

    def hits(self, k: int) -> NDArray[np.float64]:
        """Each query's probability, 0 to 1, that a right answer is among its first `k`: (Q,) float64."""
        slots = np.clip(k - self.better, 0, self.equal)
        miss = np.ones(len(self.better))
        # C(g - t, s) / C(g, s) = product over i < t of (g - s - i) / (g - i): no factorials; exactly 0 or 1 at the ends
        for i in range(int(self.own.max(initial=1))):
            group = np.maximum(self.equal - i, 1)
            miss *= np.where(i < self.own, np.maximum(self.equal - slots - i, 0) / group, 1.0)
        return np.where(self.own == 1, slots / self.equal, 1 - miss)


def summarize(ranks: Ranks) -> dict[str, float]:
    """R@1, R@5, R@10 as percentages (0 to 100), and the median and the mean rank (from 1), as plain floats.

    NaN scores are in these numbers as ranked last; report `ranks.nan` beside them.
    """
    rank = ranks.expected()
    recalls = {f"R@{k}": float(100 * ranks.hits(k).mean()) for k in RECALLS}
    return {**recalls, "MdR": float(np.median(rank)), "MnR": float(rank.mean())}


def text_to_video_ranks(text: Floats, video: Floats, caption_video: Rows, block: int = BLOCK) -> Ranks:
    """Rank every caption's own video among all: (C, E) and (N, E) unit rows, (C,) rows of `video` -> C queries.

    Here, a video without a caption is a distractor. Raises DataError as `both_directions` does.
    """
    return _rank(text, video, caption_video, block, t2v=True, v2t=False)["t2v"]


def video_to_text_ranks(text: Floats, video: Floats, caption_video: Rows, block: int = BLOCK) -> Ranks:
    """Rank every video's best own caption among all: (C, E) and (N, E) unit rows, (C,) rows of `video` -> N queries.

    Raises DataError as `both_directions` does.
    """
    return _rank(text, video, caption_video, block, t2v=False, v2t=True)["v2t"]


def both_directions(text: Floats, video: Floats, caption_video: Rows, block: int = BLOCK) -> dict[str, Ranks]:
    """Rank both ways in one pass: (C, E) and (N, E) unit rows, (C,) rows of `video` -> {"t2v": Ranks, "v2t": Ranks}.

    Holds tiles of `block` x `block` similarities, never the matrix; no result depends on `block` (see exact.py).
    Raises DataError: no rows, rows not of unit length, shapes that do not fit, a row of `caption_video` that is none of
    the videos', a video without a caption.
    """
    return _rank(text, video, caption_video, block, t2v=True, v2t=True)


def _rank(text: Floats, video: Floats, caption_video: Rows, block: int, *, t2v: bool, v2t: bool) -> dict[str, Ranks]:
    text_ok, video_ok = check_rows("text", text), check_rows("video", video)
    captions, videos = len(text), len(video)
    if text.shape[1] != video.shape[1]:
        raise DataError(
            f"text embeddings have {text.shape[1]} dimensions, video embeddings {video.shape[1]}",
            "embed both with the same model",
        )
    check_pairs(caption_video, captions, videos, every_video=v2t)

    # Rows that are not finite stay out of the tiles: they beat nothing, and what asks for them ranks last.
    ranked = text_ok & video_ok[caption_video]
    score = np.full(captions, np.inf, dtype=np.float32)
    score[ranked] = pair_scores(text, video, np.flatnonzero(ranked), caption_video[ranked])
    best, own = best_own(score, ranked, caption_video, videos)
    rows = Side.of(score[text_ok]) if t2v else None
    columns = Side.of(best[video_ok]) if v2t else None
    if text_ok.any() and video_ok.any():
        kept_text = text if text_ok.all() else text[text_ok]
        kept_video = video if video_ok.all() else video[video_ok]
        count_tiles(kept_text, kept_video, rows, columns, block)

    nan = captions * videos - int(text_ok.sum()) * int(video_ok.sum())
    result = {}
    if rows is not None:
        result["t2v"] = counted(_spread(rows, text_ok), ranked, np.ones(captions, np.int64), videos, nan)
    if columns is not None:
        result["v2t"] = counted(_spread(columns, video_ok), own > 0, own, captions, nan)
    return result


def check_pairs(caption_video: Rows, captions: int, videos: int, *, every_video: bool) -> None:
    """Raises DataError: not one row of a video a caption; with `every_video`, a video without a caption."""
    if caption_video.shape != (captions,) or caption_video.dtype.kind not in "iu":
        raise DataError(
            f"caption_video has shape {caption_video.shape} and type {caption_video.dtype}, "
            f"wanted one integer for each of the {captions} captions"
        )
    wrong = np.flatnonzero((caption_video < 0) | (caption_video >= videos))
    if len(wrong):
        raise DataError(
            f"caption {wrong[0]} belongs to video {caption_video[wrong[0]]}, but there are {videos} videos",
            "caption_video holds rows of the video embeddings, counted from 0",
        )
    missing = np.flatnonzero(np.bincount(caption_video, minlength=videos) == 0)
    if every_video and len(missing):
        raise DataError(
            f"{len(missing)} of {videos} videos have no caption, the first is video {missing[0]}",
            "leave them out, or rank text to video only: there they are distractors",
        )


def best_own(
    score: NDArray[np.floating], ranked: NDArray[np.bool_], caption_video: Rows, videos: int
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Each video's best own score (N,), +inf where it has none, and how many own captions reach it (N,)."""
    best = np.full(videos, -np.inf, dtype=score.dtype)
    np.maximum.at(best, caption_video[ranked], score[ranked])
    reached = ranked & (score == best[caption_video])
    own = np.bincount(caption_video[reached], minlength=videos)
    return np.where(own > 0, best, np.inf).astype(score.dtype), own


def _spread(side: Side, ok: NDArray[np.bool_]) -> Side:
    full = Side.of(np.full(len(ok), np.inf, dtype=np.float32))
    full.better[ok], full.equal[ok] = side.better, side.equal
    return full


def counted(side: Side, ranked: NDArray[np.bool_], own: NDArray[np.int64], gallery: int, nan: int) -> Ranks:
    """The counts as Ranks, with queries whose own items have no score behind everything else."""
    return Ranks(
        better=np.where(ranked, side.better, gallery - 1),
        equal=np.where(ranked, side.equal, 1),
        own=np.where(ranked, own, 1),
        gallery=gallery,
        nan=nan,
    )
