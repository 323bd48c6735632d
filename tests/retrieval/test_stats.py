"""Intervals and paired tests against plain loops, and against what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest

from vtr.errors import DataError
from vtr.retrieval import stats
from vtr.retrieval.metrics import Ranks, summarize


def ranks_of(rank, gallery=100):
    rank = np.asarray(rank, np.int64)
    one = np.ones(len(rank), np.int64)
    return Ranks(rank - 1, one, one, gallery)


def test_the_interval_is_that_of_resampled_queries():
    """The same draws of the queries by rank, each resample written out in full."""
    rng = np.random.default_rng(1)
    ranks = ranks_of(rng.integers(1, 40, 51))
    found = stats.intervals(ranks, seed=4, draws=300)
    draws, drawn = np.random.default_rng([4, 0]), []
    for _ in range(300):
        again = draws.integers(0, 51, 51)
        drawn.append(summarize(ranks_of(np.sort(ranks.better)[again] + 1)))
    for name in ("R@1", "R@5", "R@10", "MdR", "MnR"):
        low, high = np.percentile([one[name] for one in drawn], [2.5, 97.5])
        assert found[name] == pytest.approx((low, high))
        assert low <= summarize(ranks)[name] <= high


def test_the_order_of_the_rows_changes_nothing():
    rng = np.random.default_rng(5)
    rank, cluster = rng.integers(1, 30, 200), rng.integers(0, 60, 200)
    moved, renamed = rng.permutation(200), rng.permutation(60)
    again = stats.intervals(ranks_of(rank[moved]), renamed[cluster[moved]])
    for name, ends in stats.intervals(ranks_of(rank), cluster).items():
        assert again[name] == pytest.approx(ends), name


def test_queries_of_one_video_are_drawn_together():
    rng = np.random.default_rng(2)
    rank = np.repeat(rng.integers(1, 30, 40), 10)  # ten captions each that all say the same
    cluster = np.repeat(np.arange(40), 10)
    alone, together = (stats.intervals(ranks_of(rank), which)["R@5"] for which in (None, cluster))
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])
    whole = stats.intervals(ranks_of(rank[::10]))
    assert stats.intervals(ranks_of(rank), cluster)["MnR"] == pytest.approx(whole["MnR"])


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng, hits = np.random.default_rng(3), 0
    for trial in range(100):
        rank = np.where(rng.random(200) < 0.4, 1, 50)
        low, high = stats.intervals(ranks_of(rank), seed=trial, draws=150)["R@1"]
        hits += low <= 40 <= high
    assert 88 <= hits <= 100


def test_the_same_outcome_everywhere_has_no_width():
    found = stats.intervals(ranks_of([1] * 20))
    assert found["R@1"] == (100, 100)
    assert found["MdR"] == (1, 1)


def test_equal_results_show_no_evidence():
    values = stats.per_query(ranks_of(np.arange(1, 60)))
    for one in stats.paired(values, values, np.arange(59)):
        assert (one.difference, one.p, one.low, one.high) == (0, 1, 0, 0)


def test_the_p_of_few_queries_is_that_of_all_swaps():
    """Six clusters have 64 ways to be swapped."""
    from itertools import product

    gap = np.array([3.0, 1.0, 4.0, -1.0, 5.0, 2.0])
    a, b = {"R@1": np.zeros(6)}, {"R@1": gap}
    as_much = sum(abs(np.dot(signs, gap)) >= gap.sum() for signs in product((-1, 1), repeat=6))
    assert stats.paired(a, b, np.arange(6))[0].p == pytest.approx(as_much / 64, abs=0.01)


def test_under_no_difference_p_is_uniform():
    rng, small = np.random.default_rng(5), 0
    for trial in range(100):
        a, b = rng.standard_normal(60), rng.standard_normal(60)
        small += stats.paired({"MnR": a}, {"MnR": b}, np.arange(60), seed=trial, draws=20)[0].p < 0.1
    assert 2 <= small <= 20


def test_a_real_difference_is_found_and_signed():
    rng = np.random.default_rng(6)
    a = np.where(rng.random(400) < 0.4, 100.0, 0.0)
    b = np.where(rng.random(400) < 0.6, 100.0, 0.0)
    one = stats.paired({"R@1": a}, {"R@1": b}, np.arange(400))[0]
    assert one.p < 0.001
    assert 0 < one.low < one.difference < one.high
    assert one.difference == pytest.approx(b.mean() - a.mean())


def test_clusters_of_many_captions_make_a_test_careful():
    """Ten captions of each of eight videos agree: that is eight observations, not eighty."""
    gap = np.repeat([1.0, 1, 1, 1, 1, 1, -1, 1], 10)
    a, b = {"R@1": np.zeros(80)}, {"R@1": gap}
    careful = stats.paired(a, b, np.repeat(np.arange(8), 10))[0].p
    assert careful > 0.05 > stats.paired(a, b, np.arange(80))[0].p


def test_holm():
    np.testing.assert_allclose(stats.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert stats.holm(np.array([0.6, 0.9])).tolist() == [1, 1]


def test_other_queries_are_refused():
    with pytest.raises(DataError, match="needs the same queries"):
        stats.paired({"R@1": np.zeros(3)}, {"R@1": np.zeros(4)}, np.arange(3))
    with pytest.raises(DataError, match=r"shape \(2,\), wanted one number for each of the 3 queries"):
        stats.intervals(ranks_of([1, 2, 3]), np.arange(2))
