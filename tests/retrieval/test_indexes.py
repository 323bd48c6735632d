"""Indexes of other libraries find what looking at everything finds, and keep what they built."""

from __future__ import annotations

import builtins
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vtr.errors import DataError, InputError
from vtr.retrieval.indexes import make_index


def unit(rows, seed=0, dim=32, dtype=np.float32):
    x = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize(("kind", "module"), [("faiss", "faiss"), ("lancedb", "lancedb")])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_it_finds_what_is_nearest(tmp_path, kind, module, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module, reason=f"{module} is an extra: pip install '.[{kind}]'")
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
    assert len(list((tmp_path / "i").iterdir())) == 1, "no index is kept of rows that are no more"


@pytest.mark.parametrize(("kind", "module"), [("faiss", "faiss"), ("lancedb", "lancedb")])
def test_rows_keep_their_numbers_and_broken_ones_are_never_found(tmp_path, kind, module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module, reason=f"{module} is an extra: pip install '.[{kind}]'")
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
        pytest.importorskip("faiss", reason="faiss is an extra: pip install '.[faiss]'")
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


@pytest.fixture
def lancedb():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lancedb", reason="lancedb is an extra: pip install '.[lancedb]'")


@pytest.mark.parametrize("damage", ["empty", "begun", "manifest", "other"])
def test_a_table_that_is_not_whole_is_made_anew(tmp_path, lancedb, damage):
    vectors = unit(60)
    wanted = make_index("lancedb", vectors, str(tmp_path)).search(vectors[:3], 5)
    (table,) = tmp_path.iterdir()
    if damage == "empty":
        shutil.rmtree(table)
        table.mkdir()
    elif damage == "begun":  # as one that was killed leaves it
        shutil.rmtree(table / "_versions")
    elif damage == "manifest":
        for file in (table / "_versions").iterdir():
            file.write_bytes(b"nothing of that kind")
    else:
        lancedb.connect(str(tmp_path)).create_table(table.stem, [{"row": 1}], mode="overwrite")
    for _ in range(2):
        found = make_index("lancedb", vectors, str(tmp_path)).search(vectors[:3], 5)
        np.testing.assert_array_equal(found[1], wanted[1])


def test_a_table_whose_rows_are_damaged_says_what_to_do(tmp_path, lancedb):
    vectors = unit(60)
    make_index("lancedb", vectors, str(tmp_path))
    (file,) = tmp_path.glob("*/data/*.lance")
    file.write_bytes(b"nothing of that kind")
    with pytest.raises(
        DataError, match=r"LanceDB table vtr-\w+ in .* cannot be used: .*\n.*remove it: it is made anew"
    ):
        make_index("lancedb", vectors, str(tmp_path)).search(vectors[:1], 1)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"in .*file/x cannot be used: .*\n.*--index-at names another place"):
        make_index("lancedb", vectors, str(tmp_path / "file" / "x"))


def test_several_may_make_one_table_at_once(tmp_path, lancedb):
    vectors = unit(3000)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: make_index("lancedb", vectors, str(tmp_path)), range(4)))
    for index in made:
        assert index.search(vectors[:2], 1)[1].tolist() == [[0], [1]]


def test_a_place_where_an_index_cannot_be_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--index-at zz: the exact index is kept nowhere\n.*leave it out"):
        make_index("exact", unit(5), "zz")
    with pytest.raises(InputError, match=r"--index-at s3://x/y: faiss keeps its index on a disk\n.*--backend lancedb"):
        make_index("faiss", unit(5), "s3://x/y")
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"there is no backend 'annoy'\n.*exact, faiss, lancedb"):
        make_index("annoy", unit(5), str(tmp_path))


def test_a_library_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import importlib

    def missing(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert builtins.__import__ is not missing
    with pytest.raises(
        InputError,
        match=r"--backend faiss needs faiss, which is not installed\n  hint: .*pip install '(faiss-cpu>=|\.\[faiss\]')",
    ):
        make_index("faiss", unit(5), str(tmp_path))
