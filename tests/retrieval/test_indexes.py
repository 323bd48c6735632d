"""Indexes of other libraries find what looking at everything finds, and keep what they built."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path

import numpy as np
import pytest

from vtr.errors import InputError
from vtr.retrieval.indexes import make_index


def unit(rows, seed=0, dim=32, dtype=np.float32):
    x = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize(("kind", "module"), [("faiss", "faiss"), ("lancedb", "lancedb")])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_it_finds_what_is_nearest(tmp_path, kind, module, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module, reason=f"{module} is an extra: pip install 'vtr[{kind}]'")
    vectors, queries = unit(2000, dtype=dtype), unit(3, 1)
    wanted_scores, wanted_rows = make_index("exact", vectors, "").search(queries, 5)
    for _ in range(2):  # the second time it is read from where it was kept
        scores, rows = make_index(kind, vectors, str(tmp_path / "i")).search(queries, 5)
        np.testing.assert_array_equal(rows, wanted_rows)
        np.testing.assert_allclose(scores, wanted_scores, atol=1e-5)
    kept = {path.name for path in (tmp_path / "i").iterdir()}
    assert len(kept) == 1
    make_index(kind, unit(50, 2), str(tmp_path / "i"))
    assert len(list((tmp_path / "i").iterdir())) == 2, "other rows are another index"
    again = make_index(kind, unit(50, 2), str(tmp_path / "i"), alone=True)
    assert again.search(queries, 80)[1].shape == (3, 50)
    assert len(list((tmp_path / "i").iterdir())) == 1, "an index of rows that are no more is not kept beside the export"


@pytest.mark.parametrize(("kind", "module"), [("faiss", "faiss"), ("lancedb", "lancedb")])
def test_rows_keep_their_numbers_and_broken_ones_are_never_found(tmp_path, kind, module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module, reason=f"{module} is an extra: pip install 'vtr[{kind}]'")
    vectors = unit(70_000, dtype=np.float16)  # more than is written at once
    vectors[[3, 69_000]] = np.nan
    vectors[5, 0] = np.inf
    wanted = [0, 4, 6, 65_535, 65_536, 69_999]
    index = make_index(kind, vectors, str(tmp_path))
    scores, rows = index.search(vectors[wanted], 1)
    assert rows[:, 0].tolist() == wanted
    np.testing.assert_allclose(scores, 1, atol=2e-3)
    few = make_index(kind, vectors[:8], str(tmp_path)).search(unit(2, 1), 8)[1]
    assert [sorted(line) for line in few.tolist()] == [[0, 1, 2, 4, 6, 7]] * 2


def test_many_rows_are_nearly_all_found_in_cells(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("faiss", reason="faiss is an extra: pip install 'vtr[faiss]'")
    # As embeddings do, they crowd: random ones would lie in no cell more than in others.
    centres = unit(200, 3, 16)
    vectors = centres[np.random.default_rng(4).integers(0, 200, 101_000)] + 0.3 * unit(101_000, dim=16)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    queries = vectors[::2000].astype(np.float32)
    wanted = make_index("exact", vectors, "").search(queries, 10)[1]
    for _ in range(2):
        index = make_index("faiss", vectors, str(tmp_path))
        found = index.search(queries, 10)[1]
        assert np.mean([len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]) > 9
    scores, rows = index.search(queries[:2], 50_000)
    assert (rows >= 0).all(), "more than the nearest cells have"
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_an_index_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"there is no index 'annoy'\n.*exact, faiss, lancedb"):
        make_index("annoy", unit(5), str(tmp_path))


def test_a_library_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import importlib

    def missing(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert builtins.__import__ is not missing
    with pytest.raises(InputError, match=r"--index faiss needs faiss, which is not installed\n.*'vtr\[faiss\]'"):
        make_index("faiss", unit(5), str(tmp_path))
