"""QB-Norm and DSL against their formulas on whole matrices, written out here."""

from __future__ import annotations

import numpy as np
import pytest
from matrix_helpers import matrix_ranks

from vtr.errors import DataError
from vtr.retrieval import hubness
from vtr.retrieval.exact import tile_scores
from vtr.retrieval.metrics import both_directions, summarize


def unit(rng, rows, dim):
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def world(seed, captions=90, videos=60, dim=12):
    """Captions near their videos, and three videos that are near to everything."""
    rng = np.random.default_rng(seed)
    video = unit(rng, videos, dim)
    video[:3] += 1.5 * video.mean(axis=0) / np.linalg.norm(video.mean(axis=0))
    video /= np.linalg.norm(video, axis=1, keepdims=True)
    of = np.concatenate([np.arange(videos), rng.integers(0, videos, captions - videos)])
    text = video[of] + 0.35 * rng.standard_normal((captions, dim)).astype(np.float32)
    return text / np.linalg.norm(text, axis=1, keepdims=True), video, of, unit(rng, 50, dim)


def same(found, wanted):
    for field in ("better", "equal", "own"):
        np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field), err_msg=field)
    assert (found.gallery, found.nan) == (wanted.gallery, wanted.nan)


@pytest.mark.parametrize("seed", range(4))
def test_qb_norm_is_the_dynamic_inverted_softmax(seed):
    text, video, of, bank = world(seed)
    scores, seen = (tile_scores(rows, video).astype(np.float64) for rows in (text, bank))
    active = set(seen.argmax(axis=1))
    normalised = np.exp(20 * scores) / np.exp(20 * seen).sum(axis=0)
    gate = np.array([row.argmax() in active for row in scores])
    assert 0 < gate.sum() < len(gate)
    wanted = matrix_ranks(np.where(gate[:, None], normalised, scores), of)["t2v"]
    for block in (16, 37, 1024):
        same(hubness.qb_norm(text, video, of, bank, block=block), wanted)


@pytest.mark.parametrize("seed", range(4))
def test_dsl_is_the_product_with_the_prior(seed):
    text, video, of, _ = world(seed)
    scores = tile_scores(text, video).astype(np.float64)
    powers = np.exp(100 * scores)
    t2v = matrix_ranks(scores * powers / powers.sum(axis=0), of)["t2v"]
    v2t = matrix_ranks(scores * powers / powers.sum(axis=1, keepdims=True), of)["v2t"]
    for block in (16, 37, 1024):
        found = hubness.dual_softmax(text, video, of, block=block)
        same(found["t2v"], t2v)
        same(found["v2t"], v2t)


def test_dsl_helps_where_there_are_hubs():
    text, video, of, _ = world(9, captions=200, videos=200, dim=16)
    plain = summarize(both_directions(text, video, of)["t2v"])["MnR"]
    assert summarize(hubness.dual_softmax(text, video, of)["t2v"])["MnR"] < plain


def test_a_constant_matrix_stays_chance():
    one = np.tile(unit(np.random.default_rng(0), 1, 8), (20, 1))
    for ranks in (
        *hubness.dual_softmax(one, one, np.arange(20)).values(),
        hubness.qb_norm(one, one, np.arange(20), one),
    ):
        assert summarize(ranks)["R@1"] == pytest.approx(5)
        assert summarize(ranks)["R@5"] == pytest.approx(25)


def test_videos_that_are_copies_still_tie():
    text, video, of, bank = world(3, captions=60)
    video[[7, 31, 58]] = video[3]
    for ranks in (
        hubness.dual_softmax(text, video, of, block=16)["t2v"],
        hubness.qb_norm(text, video, of, bank, block=16),
    ):
        assert (ranks.equal[[3, 7, 31, 58]] == 4).all()


def test_a_nan_ranks_last_and_is_counted():
    text, video, of, bank = world(5, captions=60)
    text[4, 0], video[9, 1] = np.nan, np.inf
    plain = both_directions(text, video, of)
    for way, ranks in hubness.dual_softmax(text, video, of, block=16).items():
        assert ranks.nan == plain[way].nan == 60 + 60 - 1
        assert ranks.expected()[[4, 9]].tolist() == [60, 60]
    ranks = hubness.qb_norm(text, video, of, bank, block=16)
    assert ranks.expected()[[4, 9]].tolist() == [60, 60]
    assert ranks.nan == 119


def test_a_bank_that_does_not_fit_is_refused():
    text, video, of, bank = world(0)
    with pytest.raises(DataError, match="the bank has 8 dimensions, the videos 12"):
        hubness.qb_norm(text, video, of, unit(np.random.default_rng(0), 5, 8))
    bank[3, 0] = np.nan
    with pytest.raises(DataError, match="rows that are not finite"):
        hubness.qb_norm(text, video, of, bank)
    with pytest.raises(DataError, match="have no caption, the first is video 59"):
        hubness.dual_softmax(text[:59], video, of[:59])
