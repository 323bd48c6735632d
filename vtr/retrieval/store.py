"""Embeddings on disk, in either of two layouts that other tools read: see parquet.py and npy.py."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vtr.atomic import replacing_all
from vtr.errors import DataError, InputError
from vtr.retrieval import npy, parquet, parts
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.meta import full_meta
from vtr.retrieval.plan import PLAN

__all__ = ["TEXT", "VIDEO", "Embeddings", "read", "write_npy", "write_parquet"]

DTYPES = ("float32", "float16")
ROWS_PER_FILE = 100_000


def write_parquet(
    directory: Path,
    embeddings: Embeddings,
    *,
    dtype: str = "float32",
    rows_per_file: int = ROWS_PER_FILE,
    overwrite: bool = False,
) -> list[Path]:
    """Write the N rows to emb-00000.parquet and on; the files appear under their names whole, or not at all.

    Raises InputError: no such dtype. DataError: the metadata lack what names the model, or an export is there already
    (`overwrite` takes its place). WorkError: the disk is full; what was there before still is.
    """
    old = check_target(directory, dtype, rows_per_file, overwrite=overwrite)
    meta = full_meta(embeddings)
    count = max(1, -(-len(embeddings) // rows_per_file))
    files = [directory / f"emb-{number:05d}.parquet" for number in range(count)]
    with replacing_all(files, remove=old) as asides:
        parquet.write_files(asides, embeddings, meta, dtype, rows_per_file)
    return files


def write_npy(
    directory: Path,
    embeddings: Embeddings,
    *,
    dtype: str = "float32",
    rows_per_file: int = ROWS_PER_FILE,
    overwrite: bool = False,
) -> list[Path]:
    """Write the N rows in clip-retrieval's layout, the manifest last; read back, videos come before captions.

    Raises what `write_parquet` does, and DataError for no rows at all, which this layout cannot hold.
    """
    old = check_target(directory, dtype, rows_per_file, overwrite=overwrite)
    if not len(embeddings):
        raise DataError("there are no embeddings to write as npy", "embed something, or write Parquet")
    meta = full_meta(embeddings)
    stored = replace(embeddings, vectors=embeddings.vectors.astype(dtype, copy=False))
    planned = npy.plan(directory, stored, rows_per_file)
    files = [path for path, _ in planned]
    with replacing_all(files, remove=old) as asides:
        npy.write_files(directory, planned, asides, stored, meta)
    return files


def read(path: Path, *, as_stored: bool = False, bare: bool = False) -> Embeddings:
    """Read an export's directory in either layout, or one of its Parquet files; vectors are (N, E) float32.

    `as_stored` leaves float16 as it is, and maps a lone npy file instead of reading it: for searching what is large.
    `bare` leaves the vectors out: they are (N, 0).
    Raises DataError: no export, a torn or foreign file, a file missing, files of different models (and which is which).
    """
    tables, _ = files_of(path)
    if tables:
        return parquet.read_files(tables, as_stored=as_stored, alone=path.is_file(), bare=bare)
    return npy.read_directory(path, as_stored=as_stored, bare=bare)


def files_of(path: Path) -> tuple[list[Path], list[Path]]:
    """The Parquet files of an export, or else the files of one in npy. Raises DataError: none, both, or not whole."""
    if path.is_file():
        return [path], []
    if not path.exists():
        raise DataError(f"{path} does not exist", "`vtr embed RUN --shards DIR --out DIR` makes an export")
    tables = sorted(path.glob(parquet.NAMES)) or sorted(path.glob("*.parquet"))
    arrays = npy.files_in(path)
    parts.check_whole(path)
    if tables and arrays:
        raise DataError(f"{path} holds two exports, {tables[0].name} and {arrays[0].name}", "remove one of them")
    if not tables and not arrays:
        raise DataError(
            f"{path} holds no embeddings: neither *.parquet nor img_emb/ nor text_emb/",
            "`vtr embed RUN --shards DIR --out DIR` makes an export",
        )
    return tables, arrays


def remove(directory: Path) -> None:
    """Removes the export in `directory`, of either layout, and its plan; the plan first, so that no half counts."""
    for file in [directory / PLAN, directory / parts.SKIPPED_FILE, *directory.glob(parquet.NAMES)]:
        file.unlink(missing_ok=True)
    for file in npy.files_in(directory):
        file.unlink(missing_ok=True)
    for folder in (*npy.FOLDERS.values(), npy.METADATA, npy.TEXT_METADATA):
        with suppress(OSError):  # not there, or somebody else's files are in it
            (directory / folder).rmdir()


def move(new: Path, directory: Path) -> None:
    """Puts the planned export in `new`, a folder on the same disk, into `directory` in the place of what is there."""
    remove(directory)
    files = sorted(file for file in new.rglob("*") if file.is_file() and file.name != PLAN)
    for file in [*files, new / PLAN]:  # the plan last: with it the export is whole
        target = directory / file.relative_to(new)
        target.parent.mkdir(exist_ok=True)
        file.replace(target)
    shutil.rmtree(new, ignore_errors=True)


def count(directory: Path) -> int:
    """The rows of a whole export."""
    import pyarrow.parquet as pq

    tables = [*directory.glob(parquet.NAMES)] or [
        file
        for folder in (npy.METADATA, npy.TEXT_METADATA)
        for file in (directory / folder).glob(f"{folder}_*.parquet")
    ]
    return sum(pq.read_metadata(file).num_rows for file in tables)


def check_target(
    directory: Path, dtype: str, rows_per_file: int = ROWS_PER_FILE, *, overwrite: bool = False
) -> list[Path]:
    """The files of an export that is there already, to be replaced; call it before any costly work.

    Raises what `write_parquet` raises for a wrong dtype or a directory that is taken.
    """
    if dtype not in DTYPES:
        raise InputError(f"embeddings cannot be stored as {dtype!r}", f"choose one of {', '.join(DTYPES)}")
    if rows_per_file < 1:
        raise InputError(f"rows_per_file is {rows_per_file}, wanted at least 1")
    old = [*sorted(directory.glob(parquet.NAMES)), *npy.files_in(directory), *directory.glob(PLAN)]
    if old and not overwrite:
        raise DataError(
            f"{directory} holds an export already: {old[0].relative_to(directory)}",
            "choose an empty directory, or write over it with --overwrite",
        )
    return old
