"""Reranking against sorting by hand: candidates without chance, ties in expectation, NaN last."""

from __future__ import annotations

import numpy as np
import pytest

from vtr.retrieval.exact import tile_scores
from vtr.retrieval.metrics import both_directions, summarize
from vtr.retrieval.paired import Paired
from vtr.retrieval.rerank import Candidates, candidates, reranked
from vtr.retrieval.score import VTM, Matches, PairedSplit, score


def unit(rng, rows, dim):
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def listed(found, query):
    return set(found.item[found.query == query].tolist())


@pytest.mark.parametrize("top", [1, 5, 19, 20, 50])
def test_candidates_are_the_first_of_each_query(top):
    rng = np.random.default_rng(0)
    text, video = unit(rng, 30, 8), unit(rng, 20, 8)
    found = candidates(text, video, top)
    order = np.argsort(-tile_scores(text, video), axis=1)
    for query in range(30):
        assert listed(found, query) == set(order[query, :top].tolist())


def test_a_group_of_ties_that_reaches_beyond_the_top_is_left_out():
    rng = np.random.default_rng(0)
    text, video = unit(rng, 1, 8), unit(rng, 9, 8)
    order = np.argsort(-tile_scores(text, video)[0])
    video[order[3]] = video[order[2]]  # third and fourth tie
    assert [len(listed(candidates(text, video, top), 0)) for top in (2, 3, 4, 5)] == [2, 2, 4, 5]
    same = np.repeat(text, 40, axis=0)
    assert len(candidates(same, same, 32).query) == 0  # a constant model has no first 32


def test_rows_that_are_not_finite_are_no_candidates():
    rng = np.random.default_rng(0)
    text, video = unit(rng, 4, 8), unit(rng, 6, 8)
    text[1], video[2, 3] = np.nan, np.inf
    found = candidates(text, video, 32)
    assert set(found.query.tolist()) == {0, 2, 3}
    assert 2 not in found.item


def by_hand(raw_row, scores_row, own, top):
    """The mean rank and R@1 of the first own item, over random orders of ties, by sorting many times."""
    rng, first, best = np.random.default_rng(1), [], 0
    for _ in range(4000):
        noise = rng.random(len(raw_row))
        order = np.lexsort((noise, -raw_row))
        if len(raw_row) > top and raw_row[order[top - 1]] == raw_row[order[top]]:
            cut = int((raw_row > raw_row[order[top]]).sum())
        else:
            cut = min(top, len(raw_row))
        head = sorted(order[:cut], key=lambda i: (-scores_row[i], noise[i]))
        place = 1 + min(n for n, i in enumerate([*head, *order[cut:]]) if i in own)
        first.append(place)
        best += place == 1
    return np.mean(first), 100 * best / 4000


@pytest.mark.parametrize("seed", range(3))
def test_ranks_are_those_of_the_list_that_a_reader_would_see(seed):
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(6), rng.integers(0, 6, 4)])
    text, video = unit(rng, 10, 4), unit(rng, 6, 4)
    video[3] = video[1]
    matrix, top = rng.integers(0, 3, (10, 6)).astype(np.float64), 4
    raw = both_directions(text, video, owner)
    for way, found, similar, values, own in (
        ("t2v", candidates(text, video, top), tile_scores(text, video), matrix, owner[:, None] == np.arange(6)),
        ("v2t", candidates(video, text, top), tile_scores(video, text), matrix.T, np.arange(6)[:, None] == owner),
    ):
        ranks = reranked(raw[way], found, values[found.query, found.item], own[found.query, found.item])
        for query in range(len(similar)):
            mean, first = by_hand(similar[query], values[query], set(np.flatnonzero(own[query]).tolist()), top)
            # Any match among several tied groups is known by its best group alone, as in the plain ranks.
            assert ranks.expected()[query] == pytest.approx(mean, abs=0.1)
            assert 100 * ranks.hits(1)[query] == pytest.approx(first, abs=3)


def test_what_is_behind_the_candidates_keeps_its_rank_and_nan_is_last():
    rng = np.random.default_rng(0)
    text, video, owner = unit(rng, 40, 6), unit(rng, 40, 6), np.arange(40)
    raw, found = both_directions(text, video, owner)["t2v"], candidates(text, video, 5)
    own = found.query == found.item
    ranks = reranked(raw, found, np.zeros(len(own)), own)
    behind = raw.better >= 5
    assert 0 < behind.sum() < 40
    np.testing.assert_array_equal(ranks.expected()[behind], raw.expected()[behind])
    np.testing.assert_array_equal(ranks.expected()[~behind], 3)  # five that tie
    nothing = reranked(raw, found, np.full(len(own), np.nan), own)
    np.testing.assert_array_equal(nothing.expected()[~behind], 40)
    assert nothing.nan == len(own)


def test_what_differs_in_the_last_bits_ties():
    raw = both_directions(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), np.arange(2))["t2v"]
    among = Candidates(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    ranks = reranked(raw, among, np.array([1, 1 + 1e-7, 0, 2]), np.array([True, False, False, True]))
    np.testing.assert_array_equal(ranks.expected(), [1.5, 1])


def test_it_is_a_column_of_its_own_with_distractors_too():
    rng = np.random.default_rng(0)
    text, video, owner = unit(rng, 5, 6), unit(rng, 8, 6), np.array([1, 2, 4, 4, 7])
    pair = Paired(text, video, owner, [str(i) for i in range(8)], list("abcde"))
    asking = np.flatnonzero(pair.captioned)
    t2v, v2t = candidates(text, video, 8), candidates(video[asking], text, 8)
    right = owner[:, None] == np.arange(8)
    scores = {
        "t2v": (t2v, right[t2v.query, t2v.item].astype(float)),
        "v2t": (v2t, right[v2t.item, asking[v2t.query]].astype(float)),
    }
    raw, again = score([PairedSplit(pair, matches=Matches(8, scores))])
    assert again.name == VTM
    assert "first 8 candidates" in again.assumes
    for way in ("t2v", "v2t"):
        assert summarize(again.ranks[0][way])["R@1"] == 100
        assert summarize(raw.ranks[0][way])["R@1"] < 100
