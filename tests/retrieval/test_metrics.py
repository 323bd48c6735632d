"""The metrics against definitions written out here: every order of the ties, counted one by one."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from matrix_helpers import matrix_ranks

from vtr.errors import DataError, InputError
from vtr.retrieval import metrics
from vtr.retrieval.exact import pair_scores, tile_scores, tolerance, widen
from vtr.retrieval.metrics import Ranks, both_directions, summarize


def unit(rng, rows, dim, dtype=np.float32):
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def few_values(rng, rows, dim=3):
    """Unit rows with entries in {-1, 0, 1} / sqrt(count): their dot products tie all the time."""
    x = rng.integers(-1, 2, (rows, dim)).astype(np.float32)
    x[~x.any(axis=1), 0] = 1
    return (x / np.sqrt((x**2).sum(1, keepdims=True))).astype(np.float32)


def owners(rng, captions, videos):
    """Every video at least one caption, the others anywhere, shuffled."""
    return rng.permutation(np.concatenate([np.arange(videos), rng.integers(0, videos, captions - videos)]))


def by_enumeration(scores, own, ks=(1, 5, 10)):
    """P(hit at k) and the expected first rank of any `own` item, over all orders that agree with the scores."""
    ranks = []
    for order in permutations(range(len(scores))):
        ordered = [scores[i] for i in order]
        if all(a >= b for a, b in pairwise(ordered)):
            ranks.append(1 + min(order.index(i) for i in own))
    return [np.mean([rank <= k for rank in ranks]) for k in ks], np.mean(ranks)


def by_counting(scores, own):
    """better, equal, own of one query, straight from their definitions."""
    best = max(scores[i] for i in own)
    return sum(s > best for s in scores), sum(s == best for s in scores), sum(scores[i] == best for i in own)


def assert_same(ranks: Ranks, other: Ranks):
    for field in ("better", "equal", "own"):
        np.testing.assert_array_equal(getattr(ranks, field), getattr(other, field), err_msg=field)
    assert (ranks.gallery, ranks.nan) == (other.gallery, other.nan)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [unit, few_values])
def test_small_sets_equal_the_enumeration_of_all_orders(seed, rows):
    rng = np.random.default_rng(seed)
    captions, videos = 7, int(rng.integers(2, 7))
    text, video, of = rows(rng, captions, 3), rows(rng, videos, 3), owners(rng, 7, videos)
    scores, found = tile_scores(text, video), both_directions(text, video, of, block=1 + seed)
    for query in range(captions):
        hits, rank = by_enumeration(scores[query], [of[query]])
        assert [found["t2v"].hits(k)[query] for k in (1, 5, 10)] == pytest.approx(hits)
        assert found["t2v"].expected()[query] == pytest.approx(rank)
    for query in range(videos):
        hits, rank = by_enumeration(scores[:, query], np.flatnonzero(of == query))
        assert [found["v2t"].hits(k)[query] for k in (1, 5, 10)] == pytest.approx(hits)
        assert found["v2t"].expected()[query] == pytest.approx(rank)


@pytest.mark.parametrize("rows", [unit, few_values])
@pytest.mark.parametrize(("captions", "videos"), [(150, 150), (300, 40), (41, 40)])
def test_counts_equal_their_definition(rows, captions, videos):
    rng = np.random.default_rng(captions)
    text, video, of = rows(rng, captions, 5), rows(rng, videos, 5), owners(rng, captions, videos)
    scores, found = tile_scores(text, video), both_directions(text, video, of, block=64)
    t2v = [by_counting(scores[c], [of[c]]) for c in range(captions)]
    v2t = [by_counting(scores[:, v], np.flatnonzero(of == v)) for v in range(videos)]
    for direction, wanted in (("t2v", t2v), ("v2t", v2t)):
        got = found[direction]
        np.testing.assert_array_equal(np.stack([got.better, got.equal, got.own], 1), wanted)
    assert_same(found["t2v"], metrics.text_to_video_ranks(text, video, of))
    assert_same(found["v2t"], metrics.video_to_text_ranks(text, video, of))
    by_matrix = matrix_ranks(scores, of)
    assert_same(found["t2v"], by_matrix["t2v"])
    assert_same(found["v2t"], by_matrix["v2t"])


def test_without_ties_equals_the_published_rule():
    rng = np.random.default_rng(0)
    video = unit(rng, 400, 64)
    text = video + 0.15 * rng.standard_normal((400, 64)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    scores, found = tile_scores(text, video), both_directions(text, video, np.arange(400))
    for direction, matrix in (("t2v", scores), ("v2t", scores.T)):
        rank = 1 + np.nonzero(np.argsort(-matrix, axis=1) == np.arange(400)[:, None])[1]
        wanted = {f"R@{k}": 100 * np.mean(rank <= k) for k in (1, 5, 10)}
        wanted |= {"MdR": np.median(rank), "MnR": np.mean(rank)}
        assert summarize(found[direction]) == pytest.approx(wanted)
        assert wanted["R@1"] >= 50
        assert summarize(found[direction])["MdR"] == 1


@pytest.mark.parametrize("n", [3, 8, 1500])
def test_a_constant_matrix_scores_chance(n):
    same = np.tile(unit(np.random.default_rng(n), 1, 16), (n, 1))
    for ranks in both_directions(same, same, np.arange(n), block=512).values():
        summary = summarize(ranks)
        assert [summary[f"R@{k}"] for k in (1, 5, 10)] == pytest.approx([100 * min(1, k / n) for k in (1, 5, 10)])
        assert summary["MdR"] == summary["MnR"] == (n + 1) / 2
        assert list(summary) == ["R@1", "R@5", "R@10", "MdR", "MnR"]
        assert all(type(value) is float for value in summary.values())


def test_a_constant_matrix_with_four_captions_a_video():
    same = np.tile(unit(np.random.default_rng(1), 1, 8), (12, 1))
    v2t = both_directions(same, same[:3], np.arange(12) % 3)["v2t"]
    assert v2t.hits(1) == pytest.approx(4 / 12)
    assert v2t.hits(5) == pytest.approx(1 - (8 * 7 * 6 * 5 * 4) / (12 * 11 * 10 * 9 * 8))
    assert v2t.hits(9).tolist() == [1, 1, 1]  # nine places cannot all go to the eight others
    assert v2t.expected() == pytest.approx(13 / 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rows", ["random", "duplicates", "collapsed"])
def test_no_block_size_changes_a_rank(rows, dtype):
    rng = np.random.default_rng(7)
    captions, videos, dim = 333, 201, 96
    text, video, of = unit(rng, captions, dim), unit(rng, videos, dim), owners(rng, captions, videos)
    if rows == "duplicates":  # a third of each is the copy of another row
        text[rng.integers(0, captions, captions // 3)] = text[0]
        video[rng.integers(0, videos, videos // 3)] = video[1]
    elif rows == "collapsed":  # all similarities lie within float32's last bits of each other
        text, video = (x * 1e-4 + unit(np.random.default_rng(8), 1, dim) for x in (text, video))
        text, video = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (text, video))
    text, video = text.astype(dtype), video.astype(dtype)
    wanted = matrix_ranks(tile_scores(text, video), of)
    for block in (7, 16, 100, 128, 1024):
        found = both_directions(text, video, of, block=block)
        assert_same(found["t2v"], wanted["t2v"])
        assert_same(found["v2t"], wanted["v2t"])


def test_exact_duplicates_tie_wherever_they_stand():
    rng = np.random.default_rng(3)
    video = unit(rng, 500, 256)
    video[[17, 130, 499]] = video[3]
    text = unit(rng, 500, 256)
    ranks = both_directions(text, video, np.arange(500), block=96)["t2v"]
    assert (ranks.equal[[3, 17, 130, 499]] == 4).all()
    assert (np.delete(ranks.equal, [3, 17, 130, 499]) == 1).all()


@pytest.mark.parametrize("dim", [3, 64, 257, 1024])
def test_scores_are_what_exact_arithmetic_gives(dim):
    from fractions import Fraction

    rng = np.random.default_rng(dim)
    left, right = unit(rng, 40, dim), unit(rng, 40, dim)
    every = np.arange(40)
    grid = [[[Fraction(round(float(x) * 2**26), 2**26) for x in row] for row in rows] for rows in (left, right)]
    wanted = np.float32([float(sum(a * b for a, b in zip(*pair, strict=True))) for pair in zip(*grid, strict=True)])
    assert (pair_scores(left, right, every, every) == wanted).all()
    assert (np.diag(tile_scores(left, right)) == wanted).all()
    assert np.abs(left @ right.T - tile_scores(left, right)).max() < tolerance(dim)


def test_widen_is_numpys_cast():
    half = np.arange(2**16, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)].reshape(-1, 32)
    assert (widen(half).view(np.int32) == half.astype(np.float32).view(np.int32)).all()
    assert (widen(half[::3, ::2]) == half[::3, ::2].astype(np.float32)).all()


def test_a_nan_ranks_last_and_is_counted():
    rng = np.random.default_rng(5)
    text, video = unit(rng, 6, 8), unit(rng, 4, 8)
    of = np.array([0, 0, 1, 2, 3, 3])
    clean = both_directions(text, video, of)
    text[1, 3], text[3, 0], video[1, 2] = np.nan, np.inf, np.nan
    found = both_directions(text, video, of, block=2)
    t2v, v2t = found["t2v"], found["v2t"]
    assert t2v.nan == v2t.nan == 2 * 4 + 6 - 2
    assert clean["t2v"].nan == 0
    # Captions 1 and 3 are broken and video 1 is caption 2's; videos 1 and 2 have no caption left that has a score.
    assert t2v.expected()[[1, 2, 3]].tolist() == [4, 4, 4]
    assert v2t.expected()[[1, 2]].tolist() == [6, 6]
    scores = np.full((6, 4), np.nan, np.float32)
    ok_text, ok_video = [0, 2, 4, 5], [0, 2, 3]
    scores[np.ix_(ok_text, ok_video)] = tile_scores(text[ok_text], video[ok_video])
    by_matrix = matrix_ranks(scores, of)
    assert_same(t2v, by_matrix["t2v"])
    assert_same(v2t, by_matrix["v2t"])


def test_nothing_but_nan_hits_nothing():
    nan = np.full((12, 4), np.nan, np.float32)
    for ranks in both_directions(nan, nan, np.arange(12)).values():
        assert ranks.nan == 144
        assert summarize(ranks) == {"R@1": 0, "R@5": 0, "R@10": 0, "MdR": 12, "MnR": 12}


def test_a_nan_on_the_diagonal_of_a_matrix_is_a_query_not_a_hit():
    scores = np.eye(4, dtype=np.float64)
    scores[2, 2] = np.nan
    found = matrix_ranks(scores, np.arange(4))
    assert summarize(found["t2v"])["R@1"] == 75
    assert found["t2v"].expected()[2] == 4
    assert found["t2v"].nan == 1


def test_a_video_without_a_caption_is_a_distractor_from_text_only():
    rng = np.random.default_rng(2)
    text, video, of = unit(rng, 5, 8), unit(rng, 9, 8), np.array([0, 1, 2, 3, 8])
    assert metrics.text_to_video_ranks(text, video, of).gallery == 9
    with pytest.raises(DataError, match="4 of 9 videos have no caption, the first is video 4"):
        metrics.video_to_text_ranks(text, video, of)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, v, of: (t, v, of + 1), "caption 4 belongs to video 5, but there are 5 videos"),
        (lambda t, v, of: (t, v, of - 1), "caption 0 belongs to video -1"),
        (lambda t, v, of: (t, v, of[:3]), r"shape \(3,\) .* wanted one integer for each of the 5 captions"),
        (lambda t, v, of: (t, v, of * 1.0), "type float64, wanted one integer"),
        (lambda t, v, of: (t, v, of * 0), "4 of 5 videos have no caption, the first is video 1"),
        (lambda t, v, of: (t[:0], v, of[:0]), r"text embeddings have shape \(0, 8\): there is nothing to rank"),
        (lambda t, v, of: (t, v[:0], of), r"video embeddings have shape \(0, 8\): there is nothing to rank"),
        (
            lambda t, v, of: (t, v[:, :7] / np.linalg.norm(v[:, :7], axis=1, keepdims=True), of),
            "8 dimensions, video .* 7",
        ),
        (lambda t, v, of: (t[0], v, of), r"shape \(8,\) and type float32, wanted a float matrix"),
        (lambda t, v, of: (t.astype(np.int64), v, of), "type int64, wanted a float matrix"),
        (lambda t, v, of: (t, v * 3, of), "video row 0 has length 3, wanted 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    rng = np.random.default_rng(4)
    arguments = change(unit(rng, 5, 8), unit(rng, 5, 8), np.arange(5))
    with pytest.raises(DataError, match=message):
        both_directions(*arguments)


def test_a_block_below_one_is_refused():
    x = unit(np.random.default_rng(0), 3, 4)
    with pytest.raises(InputError, match="block is 0, wanted at least 1"):
        both_directions(x, x, np.arange(3), block=0)


def test_ranks_check_themselves():
    one = np.ones(2, np.int64)
    with pytest.raises(DataError, match="no ranks in a gallery of 1"):
        Ranks(better=one, equal=one, own=one, gallery=1)
    with pytest.raises(DataError, match=r"three \(Q,\) counts"):
        Ranks(better=one, equal=one, own=np.ones(3, np.int64), gallery=5)


def test_memory_stays_that_of_a_few_tiles():
    import tracemalloc

    rng = np.random.default_rng(6)
    video = unit(rng, 20_000, 64)
    text = unit(rng, 20_000, 64)
    tracemalloc.start()
    found = both_directions(text, video, np.arange(20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # the matrix has 1600 MB
    for ranks in found.values():
        assert summarize(ranks)["MnR"] == pytest.approx(10_000, rel=0.03)
