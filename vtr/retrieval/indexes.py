"""Other ways to find the nearest rows than looking at all of them here: faiss and LanceDB, each an extra.

Both keep what they built beside the embeddings, or where they are told to, under the fingerprint of what is in them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vtr.atomic import replacing
from vtr.data.remote import url_of
from vtr.errors import DataError, InputError
from vtr.optional import library
from vtr.retrieval.exact import Floats, check_rows, widen
from vtr.retrieval.index import ExactIndex, Hits

KINDS = ("exact", "faiss", "lancedb")
FLAT = 100_000  # up to so many rows faiss looks at all; beyond, at the nearest of its cells
PROBES = 32
LANCE_FAULTS = (RuntimeError, ValueError, OSError)  # what LanceDB throws, of tables, disks and clouds alike
_ROWS = 65_536


class Index(Protocol):
    """`search(queries (Q,E), k)`: scores (Q,K) float32 and rows (Q,K) int64, best first."""

    def search(self, queries: Floats, k: int) -> Hits:
        """The best k rows of each query."""
        ...


def make_index(kind: str, vectors: Floats, at: str, *, alone: bool = False) -> Index:
    """The index called `kind` over unit rows (N,E), kept in the folder (LanceDB: or the address) `at`.

    `alone`: indexes of other rows are removed from that folder, which is the embeddings' own.
    Raises InputError: an unknown kind, a library that is not installed, a place where that kind is not kept. DataError:
    what is kept there is damaged.
    """
    if kind not in KINDS:
        raise InputError(f"there is no backend {kind!r}", f"choose one of: {', '.join(KINDS)}")
    if kind == "exact" and at and not alone:
        raise InputError(f"--index-at {at}: the exact index is kept nowhere", "leave it out, or give --backend lancedb")
    if kind == "faiss" and url_of(at) is not None:
        raise InputError(
            f"--index-at {at}: faiss keeps its index on a disk", "name a folder, or give --backend lancedb"
        )
    if kind == "exact":
        return ExactIndex(vectors)
    finite = np.flatnonzero(check_rows("index", vectors))
    name = f"vtr-{_fingerprint(vectors)}"
    made = Faiss(vectors, finite, Path(at) / f"{name}.faiss") if kind == "faiss" else Lance(vectors, finite, at, name)
    if alone:
        _remove_others(Path(at), name)
    return made


class Faiss:
    """A flat inner product up to 100 000 rows; beyond, cells of float16 rows of which the nearest are searched.

    Each of the rows `finite` is kept under its number. Where the nearest cells hold fewer than k, all are searched.
    """

    def __init__(self, vectors: Floats, finite: NDArray[np.int64], path: Path) -> None:
        self._faiss = library("faiss", "--backend faiss needs", "faiss")
        if path.is_file():
            self._index = _read(self._faiss, path, (len(finite), vectors.shape[1]))
            return
        dim = vectors.shape[1]
        if len(finite) <= FLAT:
            index = self._faiss.IndexIDMap2(self._faiss.IndexFlatIP(dim))
        else:
            cells = 4 * int(len(finite) ** 0.5)
            index = self._faiss.index_factory(dim, f"IVF{cells},SQfp16", self._faiss.METRIC_INNER_PRODUCT)
            step = max(1, len(finite) // (cells * 64))
            index.train(widen(vectors[finite[::step]]))
            index.nprobe = PROBES
        for rows in _batches(finite):
            index.add_with_ids(widen(vectors[rows]), rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(self._faiss.serialize_index(index).data)
        self._index = index

    def search(self, queries: Floats, k: int) -> Hits:
        """The best k rows of each query; beyond 100 000 rows nearly."""
        wide, k = widen(queries), min(k, self._index.ntotal)
        scores, rows = self._index.search(wide, k)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short):
            everywhere = self._faiss.SearchParametersIVF(nprobe=self._index.nlist)
            scores[short], rows[short] = self._index.search(wide[short], k, params=everywhere)
        return np.asarray(scores, np.float32), np.asarray(rows, np.int64)


def _read(faiss: Any, path: Path, shape: tuple[int, int]) -> Any:
    """The index kept at `path`. Raises DataError when it is damaged, or of other rows."""
    try:
        found = faiss.read_index(str(path))
        fits = (found.ntotal, found.d) == shape and found.metric_type == faiss.METRIC_INNER_PRODUCT
    except (RuntimeError, AttributeError, MemoryError):  # what faiss throws at bad bytes
        fits = False
    if not fits:
        raise DataError(f"{path} is damaged, or not of these embeddings", "remove it: it is made anew")
    return found


class Lance:
    """The rows as a LanceDB table, on disk or at an address such as s3://bucket/folder, searched there, all of them."""

    def __init__(self, vectors: Floats, finite: NDArray[np.int64], at: str, name: str) -> None:
        import pyarrow as pa

        self._at, self._name = at, name
        dim = vectors.shape[1]
        schema = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])

        def batches() -> Any:
            for rows in _batches(finite):
                flat = pa.array(widen(vectors[rows]).reshape(-1))
                column = pa.FixedSizeListArray.from_arrays(flat, dim)
                yield pa.RecordBatch.from_arrays([pa.array(rows), column], schema=schema)

        def made() -> Any:
            return database.create_table(name, pa.RecordBatchReader.from_batches(schema, batches()))

        lancedb = library("lancedb", "--backend lancedb needs", "lancedb")
        if url_of(at) is None:
            _refuse_links(Path(at) / f"{name}.lance")
        with self._told():
            database = lancedb.connect(at)
            table = _kept(database, name, len(finite))
            if table is None:
                try:
                    table = made()  # also over what a killed one left: a table is there once all of it is
                except LANCE_FAULTS:  # another process has made it meanwhile, or it is damaged
                    table = _kept(database, name, len(finite))
            if table is None:
                database.drop_table(name)
                table = made()
        self._table = table

    def search(self, queries: Floats, k: int) -> Hits:
        """The best k rows of each query. Raises DataError: the table is damaged, or cannot be reached."""
        with self._told():
            k = min(k, self._table.count_rows())
            scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
            for place, query in enumerate(widen(queries)):
                found = self._table.search(query).distance_type("dot").limit(k).to_arrow()
                rows[place] = found.column("row").to_numpy()
                scores[place] = 1 - found.column("_distance").to_numpy()
        return scores, rows

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except LANCE_FAULTS as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"the LanceDB table {self._name} in {self._at} cannot be used: {why}",
                "where it is damaged remove it: it is made anew; --index-at names another place",
            ) from error


def _kept(database: Any, name: str, rows: int) -> Any:
    """The table `name` of that many rows; None where it is not there, or cannot be opened."""
    try:
        table = database.open_table(name)
        return table if table.count_rows() == rows else None
    except LANCE_FAULTS:
        return None


def _refuse_links(table: Path) -> None:
    """Raises DataError where a table is a link, or has one in it: LanceDB would write and remove where it leads to."""
    link = next((path for path in (table, *table.rglob("*")) if path.is_symlink()), None)
    if link is not None:
        raise DataError(f"{link} is a link, a LanceDB table has none", f"remove {table}: it is made anew")


def _remove_others(folder: Path, name: str) -> None:
    for old in folder.glob("vtr-*"):
        if old.name.split(".")[0] == name:
            continue
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            with suppress(OSError):
                old.unlink()


def _batches(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]


def _fingerprint(vectors: Floats) -> str:
    """Names what is in an index: shape, type and bytes of the rows."""
    state = hashlib.sha256(f"{vectors.shape}{vectors.dtype}".encode())
    for start in range(0, len(vectors), _ROWS):
        state.update(np.ascontiguousarray(vectors[start : start + _ROWS]).data)
    return state.hexdigest()[:16]
