"""The videos of embeddings for searching, their vectors mapped from the disk where there are many.

Parquet cannot be mapped, nor can several npy files be as one. So the vectors are copied once to an npy file beside the
embeddings, block by block; it is made anew when a file of the embeddings has changed, or it is damaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vtr.atomic import replacing
from vtr.errors import DataError
from vtr.retrieval import npy, parquet, store
from vtr.retrieval.embeddings import VIDEO, Embeddings
from vtr.retrieval.exact import Floats

LARGE = 64 * 2**20  # bytes of vectors; fewer are read to memory
NAME = "vectors-"
_ROWS = 16_384


def read_videos(path: Path, folder: Path) -> Embeddings:
    """The rows of videos of the embeddings `path`, vectors as stored: float32 or float16.

    More than 64 MiB of vectors are mapped, from a copy in `folder` unless one npy file holds them; where that folder
    cannot be written they are read to memory. Raises what `store.read` does.
    """
    tables, arrays = store.files_of(path)
    held = parquet.layout(tables) if tables else npy.layout(path)
    lone = sum(file.suffix == ".npy" for file in arrays) == 1
    if held is None or lone or held[0] * held[1] * np.dtype(held[2]).itemsize <= LARGE:
        return store.read(path, as_stored=True).only(VIDEO)
    rows = store.read(path, bare=True)
    keep = np.array(rows.modality) == VIDEO
    if not keep.any():
        return rows.only(VIDEO)
    copy = folder / f"{NAME}{_fingerprint(tables or arrays)}.npy"
    wanted = (int(keep.sum()), held[1])
    vectors = _mapped(copy, wanted, held[2])
    if vectors is None:
        try:
            blocks = parquet.blocks(tables, _ROWS) if tables else npy.blocks(path, _ROWS)
            _write(copy, blocks, keep, held[1], held[2], path)
        except OSError:  # no room, or nothing may be written there
            return store.read(path, as_stored=True).only(VIDEO)
        vectors = np.load(copy, mmap_mode="r", allow_pickle=False)
    return replace(rows.only(VIDEO), vectors=vectors)


def _mapped(copy: Path, shape: tuple[int, int], dtype: str) -> Floats | None:
    """The vectors of a copy; None where there is none, or it is not what was written."""
    if not copy.is_file():  # a pipe would be waited for
        return None
    try:  # not np.load, which takes an npz of any name
        vectors: Floats = np.lib.format.open_memmap(copy, mode="r")
    except Exception:  # numpy parses the header as Python literals, with every error that they have
        return None
    return vectors if (vectors.shape, vectors.dtype.name) == (shape, dtype) else None


def _write(copy: Path, blocks: Iterator[Floats], keep: NDArray[np.bool_], dim: int, dtype: str, source: Path) -> None:
    """Writes the rows to `keep`, and removes the copies of what the embeddings `source` were before.

    Raises DataError where there are not as many, or others.
    """
    copy.parent.mkdir(parents=True, exist_ok=True)
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (int(keep.sum()), dim)}
    with replacing(copy) as file:
        np.lib.format.write_array_header_1_0(file, header)
        at = 0
        for block in blocks:
            rows = keep[at : at + len(block)]
            if block.shape != (len(rows), dim) or block.dtype != dtype:
                break
            file.write(np.ascontiguousarray(block[rows]).data)
            at += len(block)
        if at != len(keep):
            raise DataError(
                f"{source} holds other vectors than the {len(keep)} of {dim} {dtype} numbers that it tells of",
                "it is damaged: delete it, then embed again",
            )
    for old in copy.parent.glob(f"{NAME}*.npy"):
        if old != copy:
            with suppress(OSError):
                old.unlink()


def _fingerprint(files: list[Path]) -> str:
    """Names the files of embeddings as they are now."""
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
