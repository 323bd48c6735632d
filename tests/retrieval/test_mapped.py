"""Large exports are searched from the disk, whatever their layout, and their copies follow what they are of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from embedding_helpers import write_export

from vtr.errors import DataError
from vtr.retrieval import mapped
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.library import INDEX_FOLDER
from vtr.retrieval.mapped import read_videos
from vtr.retrieval.store import read

META = {"model": "m", "weights_sha256": "ab", "preprocessing": "p", "frames": "8"}


def made(rows, dim=256, seed=0, texts=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    no, spans = [""] * rows, np.zeros(rows)
    modality = [VIDEO, TEXT] * texts + [VIDEO] * (rows - 2 * texts)
    return Embeddings([f"v{i}" for i in range(rows)], modality, no, spans, spans, no, vectors, META)


@pytest.mark.parametrize("layout", ["parquet", "npy"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_mapped_export_holds_what_it_would_in_memory(tmp_path, monkeypatch, layout, dtype):
    write_export(tmp_path, made(500, 16, texts=100), layout, dtype=dtype, rows=70)
    wanted = read(tmp_path, as_stored=True).only(VIDEO)
    monkeypatch.setattr(mapped, "LARGE", 1000)
    for _ in range(2):  # made, then found
        got = read_videos(tmp_path, tmp_path / ".index")
        assert isinstance(got.vectors, np.memmap)
        assert got.vectors.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(got.vectors, wanted.vectors)
        assert (got.ids, got.modality, got.meta) == (wanted.ids, wanted.modality, wanted.meta)
        assert len(list((tmp_path / ".index").iterdir())) == 1


def test_a_changed_export_is_copied_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "LARGE", 1000)
    for seed in range(2):
        write_export(tmp_path, made(200, 16, seed), rows=90)
        got = read_videos(tmp_path, tmp_path / ".index")
        np.testing.assert_array_equal(got.vectors, made(200, 16, seed).vectors)
        assert len(list((tmp_path / ".index").iterdir())) == 1


def test_where_there_is_no_room_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "LARGE", 1000)
    write_export(tmp_path, made(200, 16))
    (tmp_path / ".index").write_text("no folder can be here")
    assert len(read_videos(tmp_path, tmp_path / ".index")) == 200


def test_lists_of_another_tool_are_read(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(mapped, "LARGE", 1000)
    e = made(200, 16)
    rows = pa.table({"id": e.ids, "modality": e.modality})
    pq.write_table(rows.append_column("embedding", pa.array(e.vectors.tolist())), tmp_path / "x.parquet")
    np.testing.assert_allclose(read_videos(tmp_path, tmp_path / ".index").vectors, e.vectors)
    assert not (tmp_path / ".index").exists()


SEARCHER = """
import sys, threading, time
from pathlib import Path
import numpy as np
import torch  # what a search loads anyway is no part of what it holds
from vtr.retrieval.library import Library

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1000

peak = before = held()
def watch():
    global peak
    while True:
        peak = max(peak, held())
        time.sleep(0.003)
threading.Thread(target=watch, daemon=True).start()
library = Library(Path(sys.argv[1]))
query = np.asarray(library.vector(123_456), np.float32)
print(library.search(query, 3)[0][0]["id"], peak - before)
"""


def test_200_000_vectors_are_searched_in_little_memory(tmp_path):
    """102 MB of float16, copied by the first search; the second one holds what its rows are of, and blocks."""
    write_export(tmp_path, made(200_000), dtype="float16", rows=70_000)
    assert isinstance(read_videos(tmp_path, tmp_path / INDEX_FOLDER).vectors, np.memmap)
    done = subprocess.run([sys.executable, "-c", SEARCHER, tmp_path], capture_output=True, text=True, check=True)
    name, megabytes = done.stdout.split()
    assert name == "v123456"
    assert float(megabytes) < 150, "about 90 for the rows; with the vectors it would be 190"


def test_a_damaged_copy_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "LARGE", 1000)
    write_export(tmp_path, made(200, 16))
    read_videos(tmp_path, tmp_path / ".index")
    [copy] = (tmp_path / ".index").iterdir()
    whole = copy.read_bytes()
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], object))
    other = tmp_path / "other.npy"
    np.save(other, np.zeros((3, 16), np.float32))
    for damage in (b"", whole[:40], whole[:-50], b"x" + whole[1:], objects.read_bytes(), other.read_bytes()):
        copy.write_bytes(damage)
        got = read_videos(tmp_path, tmp_path / ".index")
        np.testing.assert_array_equal(got.vectors, made(200, 16).vectors)
        assert copy.read_bytes() == whole


@pytest.mark.parametrize("wrong", [np.zeros((2, 4), np.float32), np.zeros((3, 5), np.float32), np.zeros((3, 4), "f2")])
def test_other_vectors_than_it_tells_of(tmp_path, wrong):
    copy = tmp_path / "vectors-x.npy"
    with pytest.raises(DataError, match=r"emb holds other vectors than the 3 of 4 float32 numbers that it tells of"):
        mapped._write(copy, iter([wrong]), np.ones(3, bool), 4, "float32", tmp_path / "emb")
    assert not copy.exists()
    mapped._write(copy, iter([np.ones((3, 4), np.float32)]), np.ones(3, bool), 4, "float32", tmp_path / "emb")
    assert (np.load(copy) == 1).all()
