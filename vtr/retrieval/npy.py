"""Embeddings as npy files in clip-retrieval's layout: joined to their metadata by row order.

    img_emb/img_emb_0.npy        (N, E) videos             metadata/metadata_0.parquet            a row for each of them
    text_emb/text_emb_0.npy      (C, E) captions           text_metadata/text_metadata_0.parquet  a row for each of them
    manifest.json                {"meta": {...}, "rows": {"img_emb/img_emb_0.npy": N, ...}}, written last

With one modality only, or where both have the same rows (as clip-retrieval writes), metadata/ describes both.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vtr import plainjson
from vtr.errors import DataError
from vtr.retrieval.columns import described, read_table
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings, concatenated
from vtr.retrieval.exact import Floats

FOLDERS = {VIDEO: "img_emb", TEXT: "text_emb"}
METADATA, TEXT_METADATA = "metadata", "text_metadata"
MANIFEST = "manifest.json"


def files_in(directory: Path) -> list[Path]:
    """The files of embeddings in this layout, whether whole or not; none if there are no such embeddings."""
    vectors = _vector_files(directory)
    if not vectors:
        return []
    tables = [file for folder in (METADATA, TEXT_METADATA) for file in _numbered(directory / folder, ".parquet")]
    manifest = directory / MANIFEST
    return [*vectors, *tables, *([manifest] if manifest.exists() else [])]


def read_directory(directory: Path, *, as_stored: bool = False, bare: bool = False) -> Embeddings:
    """Read embeddings in this layout, of any origin; videos come before captions.

    float16 becomes float32 unless `as_stored`; then one vector file is not even read, but mapped. `bare`
    leaves the vectors out: they are (N, 0).
    Raises DataError: a file is torn, missing, or has other rows than its metadata.
    """
    manifest = _manifest(directory)
    vectors = [(kind, file) for kind, folder in FOLDERS.items() for file in _numbered(directory / folder, ".npy")]
    parts = []
    counts = {}
    dims: set[int] = set()
    for kind, folder in FOLDERS.items():
        files = [file for of, file in vectors if of == kind]
        own = kind == TEXT and (directory / TEXT_METADATA).is_dir()
        tables = _numbered(directory / (TEXT_METADATA if own else METADATA), ".parquet")
        if files and len(files) != len(tables):
            raise DataError(
                f"{directory / folder} has {len(files)} files of vectors but {len(tables)} of metadata",
                "the embeddings are not whole: embed again",
            )
        for file, described_in in zip(files, tables, strict=False):
            array = _load(file, mapped=bare or (as_stored and len(vectors) == 1), as_stored=bare or as_stored)
            counts[file.relative_to(directory).as_posix()] = len(array)
            dims.add(array.shape[1])
            parts.append(_part(file, array[:, :0] if bare else array, described_in, kind))
    if manifest is not None and manifest["rows"] != counts:
        raise DataError(
            f"{directory / MANIFEST} lists other files or rows than there are: {manifest['rows']}, found {counts}",
            "the embeddings are not whole: embed again",
        )
    if len(dims) > 1:
        raise DataError(f"{directory} mixes embeddings of different dimensions: {sorted(dims)}")
    return concatenated(parts, manifest["meta"] if manifest else {})


def layout(directory: Path) -> tuple[int, int, str] | None:
    """(rows, dimensions, "float32" or "float16") of all vectors there, None where they are of several kinds."""
    arrays = [_load(file, mapped=True, as_stored=True) for file in _vector_files(directory)]
    kinds = {(array.shape[1], array.dtype.name) for array in arrays}
    return (sum(map(len, arrays)), *kinds.pop()) if len(kinds) == 1 else None


def blocks(directory: Path, rows: int) -> Iterator[Floats]:
    """The vectors as they are stored, at most so many rows at a time."""
    for file in _vector_files(directory):
        array = _load(file, mapped=True, as_stored=True)
        yield from (array[at : at + rows] for at in range(0, len(array), rows))


def _vector_files(directory: Path) -> list[Path]:
    return [file for folder in FOLDERS.values() for file in _numbered(directory / folder, ".npy")]


def _numbered(folder: Path, suffix: str) -> list[Path]:
    files = [file for file in folder.glob(f"{folder.name}_*{suffix}") if re.fullmatch(r".*_\d+", file.stem)]
    return sorted(files, key=lambda file: int(file.stem.rpartition("_")[2]))


def _manifest(directory: Path) -> dict[str, dict[str, Any]] | None:
    path = directory / MANIFEST
    if not path.exists():
        return None
    try:
        content = plainjson.load(path)
        meta = {str(key): str(value) for key, value in content["meta"].items()}
        return {"meta": meta, "rows": dict(content["rows"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no manifest of embeddings: {error}", "embed again") from error


def load(file: Path, *, mapped: bool = False) -> Floats:
    """The floats (rows, dimensions) of an npy file, as they are stored. Raises DataError: torn, or of another kind."""
    try:  # not np.load, which takes an npz of any name
        with warnings.catch_warnings():  # of a header that is odd numpy warns before it fails, or does not
            warnings.simplefilter("ignore")
            if mapped:
                array: Floats = np.lib.format.open_memmap(file, mode="r")
            else:
                with file.open("rb") as opened:
                    array = np.lib.format.read_array(opened, allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python literals, with every error that they have
        raise DataError(
            f"{file} cannot be read as npy: {error}", "it is torn or of another kind: delete it, then embed again"
        ) from error
    if array.ndim != 2 or array.dtype.kind != "f":
        raise DataError(f"{file} has shape {array.shape} and type {array.dtype}, wanted floats (rows, dimensions)")
    return array


def _load(file: Path, *, mapped: bool, as_stored: bool) -> Floats:
    array = load(file, mapped=mapped)
    native = np.dtype(np.float16 if as_stored and array.dtype.itemsize == 2 else np.float32)
    return array if array.dtype == native else array.astype(native)


def _part(file: Path, vectors: Floats, described_in: Path, kind: str) -> Embeddings:
    table = read_table(described_in)
    if table.num_rows != len(vectors):
        raise DataError(
            f"{file} has {len(vectors)} vectors but {described_in} has {table.num_rows} rows",
            "they are joined by row order: both must come from the same run",
        )
    return described(described_in, table, vectors, modality=kind)
