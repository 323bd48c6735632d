"""Exact search against sorting everything."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vtr.errors import DataError, InputError
from vtr.retrieval.exact import tile_scores
from vtr.retrieval.index import ExactIndex


def unit(rng, rows, dim, dtype=np.float32):
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def awkward(kind, vectors, rng, spread):
    """Unit rows as they are, mostly copies of three of them ("duplicates"), or all near one ("collapsed")."""
    rows = len(vectors)
    if kind == "duplicates":
        vectors[rng.integers(0, rows, rows * 2 // 3)] = vectors[rng.integers(0, 3, rows * 2 // 3)]
    elif kind == "collapsed":
        vectors = vectors * np.float32(spread) + vectors[0]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def by_sorting(vectors, queries, k):
    """Score down, then row up, over the whole matrix."""
    scores = tile_scores(queries, vectors)
    rows = np.array([sorted(range(len(vectors)), key=lambda row: (-line[row], row))[:k] for line in scores])
    return np.take_along_axis(scores, rows, axis=1), rows


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", ["random", "duplicates", "collapsed"])
@pytest.mark.parametrize("k", [1, 7, 400])
def test_equals_sorting_at_every_block_size(dtype, kind, k):
    rng = np.random.default_rng(k)
    vectors, queries = unit(rng, 400, 32), unit(rng, 21, 32)
    vectors = awkward(kind, vectors, rng, 1e-5).astype(dtype)
    wanted_scores, wanted_rows = by_sorting(vectors, queries, k)
    for block in (3, 64, 100, 8192):
        scores, rows = ExactIndex(vectors, block=block).search(queries, k)
        assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(rows, wanted_rows)
        np.testing.assert_array_equal(scores, wanted_scores)


@pytest.mark.parametrize("kind", ["random", "duplicates", "collapsed", "broken"])
@pytest.mark.parametrize("k", [1, 10])
def test_few_queries_of_halves_equal_sorting(kind, k):
    """They are multiplied as they are stored, to within a margin; what is found must not show it."""
    rng = np.random.default_rng(k)
    vectors, queries = unit(rng, 3000, 64), unit(rng, 5, 64)
    vectors = awkward(kind, vectors, rng, 1e-3).astype(np.float16)
    wanted_scores, wanted_rows = by_sorting(vectors, queries, k)
    if kind == "broken":
        vectors = np.concatenate([vectors, np.full((7, 64), np.nan, np.float16), np.full((7, 64), np.inf, np.float16)])
    scores, rows = ExactIndex(vectors).search(queries, k)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_array_equal(scores, wanted_scores)


def test_a_query_finds_the_same_alone_or_in_company():
    rng = np.random.default_rng(0)
    index, queries = ExactIndex(unit(rng, 3000, 48)), unit(rng, 700, 48)
    scores, rows = index.search(queries, 5)
    for query in (0, 511, 512, 699):
        alone = index.search(queries[query : query + 1], 5)
        np.testing.assert_array_equal(alone[0][0], scores[query])
        np.testing.assert_array_equal(alone[1][0], rows[query])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("block", [2, 8192])
def test_rows_that_are_not_finite_are_never_found(dtype, block):
    rng = np.random.default_rng(1)
    vectors = unit(rng, 9, 4, dtype)
    vectors[2], vectors[5, 1], vectors[6, 0], vectors[7, 3] = np.nan, np.nan, np.inf, -np.inf
    index = ExactIndex(vectors, block=block)
    scores, rows = index.search(unit(rng, 3, 4), 20)
    assert (len(index), index.searchable, rows.shape) == (9, 5, (3, 5))
    assert {tuple(sorted(line)) for line in rows.tolist()} == {(0, 1, 3, 4, 8)}
    assert np.isfinite(scores).all()


def test_more_hits_than_rows_gives_all_rows():
    rng = np.random.default_rng(2)
    _, rows = ExactIndex(unit(rng, 6, 8)).search(unit(rng, 2, 8), 50)
    assert [sorted(line) for line in rows.tolist()] == [list(range(6))] * 2


def test_nothing_searchable_finds_nothing():
    scores, rows = ExactIndex(np.full((3, 4), np.nan, np.float32)).search(np.eye(4, dtype=np.float32), 2)
    assert scores.shape == rows.shape == (4, 0)


def test_a_mapped_file_is_searched_in_little_memory(tmp_path):
    rng = np.random.default_rng(3)
    np.save(tmp_path / "v.npy", unit(rng, 60_000, 128, np.float16))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    queries = mapped[[5, 59_999]].astype(np.float32)
    tracemalloc.start()
    _, rows = ExactIndex(mapped).search(queries, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[:, 0].tolist() == [5, 59_999]
    assert peak < 16e6  # the file has 15 MB, as float32 it would be 31


def test_what_cannot_be_searched_is_refused():
    rng = np.random.default_rng(4)
    index = ExactIndex(unit(rng, 5, 8))
    with pytest.raises(InputError, match="k is 0, wanted at least 1 hit"):
        index.search(unit(rng, 1, 8), 0)
    with pytest.raises(DataError, match="queries have 7 dimensions, the index 8"):
        index.search(unit(rng, 1, 7), 1)
    with pytest.raises(DataError, match="query embedding is not finite"):
        index.search(np.full((1, 8), np.nan, np.float32), 1)
    with pytest.raises(DataError, match="query row 1 has length 2, wanted 1"):
        index.search(unit(rng, 2, 8) * np.float32([[1], [2]]), 1)
    with pytest.raises(DataError, match="index row 3 has length 0, wanted 1"):
        ExactIndex(unit(rng, 5, 8) * (np.arange(5)[:, None] != 3))
    with pytest.raises(DataError, match="nothing to rank"):
        ExactIndex(np.zeros((0, 8), np.float32))
    with pytest.raises(InputError, match="block is 0"):
        ExactIndex(unit(rng, 5, 8), block=0)
