"""Embeddings on disk, in either of two layouts that other tools read: see parquet.py and npy.py."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from vtr.atomic import write_bytes
from vtr.data import unfolding
from vtr.errors import DataError
from vtr.retrieval import npy, parquet, parts
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.plan import PLAN

__all__ = ["TEXT", "VIDEO", "Embeddings", "read"]

DTYPES = ("float32", "float16")


def read(path: Path, *, as_stored: bool = False, bare: bool = False) -> Embeddings:
    """Read a directory of embeddings in either layout, or one of its Parquet files; vectors are (N, E) float32.

    `as_stored` leaves float16 as it is, and maps a lone npy file instead of reading it: for searching what is large.
    `bare` leaves the vectors out: they are (N, 0).
    Raises DataError: none there, a torn or foreign file, a file missing, files of several models (which is which).
    """
    tables, _ = files_of(path)
    if tables:
        return parquet.read_files(tables, as_stored=as_stored, bare=bare)
    return npy.read_directory(path, as_stored=as_stored, bare=bare)


def files_of(path: Path) -> tuple[list[Path], list[Path]]:
    """The Parquet files of embeddings, or else those in npy. Raises DataError: none, both, or not whole."""
    if path.is_file():
        return [path], []
    if not path.exists():
        raise DataError(f"{path} does not exist", "`vtr embed RUN --shards DIR --out DIR` makes embeddings")
    tables = sorted(path.glob(parquet.NAMES)) or sorted(path.glob("*.parquet"))
    arrays = npy.files_in(path)
    for file in (*tables, *arrays):
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise DataError(f"{file} is no regular file", "remove it, or embed again")
    parts.check_whole(path)
    if tables and arrays:
        raise DataError(f"{path} holds embeddings twice, {tables[0].name} and {arrays[0].name}", "remove one of them")
    if not tables and not arrays:
        raise DataError(
            f"{path} holds no embeddings: neither *.parquet nor img_emb/ nor text_emb/",
            "`vtr embed RUN --shards DIR --out DIR` makes embeddings",
        )
    return tables, arrays


def remove(directory: Path) -> None:
    """Removes the embeddings in `directory`, of either layout, and their plan, that first, so that no half counts."""
    (directory / PLAN).unlink(missing_ok=True)
    _remove_files(directory)


def move(new: Path, directory: Path) -> None:
    """Puts the planned embeddings in `new`, a folder on the same disk, into `directory` in the place of what is there.

    The new plan is there first, and of its first part a file goes first and comes last: what is left by one that was
    killed meanwhile is not taken for whole.
    """
    write_bytes(directory / PLAN, (new / PLAN).read_bytes())
    _remove_files(directory)
    files = [file for file in new.rglob("*") if file.is_file() and file.name != PLAN]
    for file in sorted(files, key=lambda file: (file.suffix.startswith(".json"), file), reverse=True):
        target = directory / file.relative_to(new)
        target.parent.mkdir(exist_ok=True)
        file.replace(target)
    shutil.rmtree(new, ignore_errors=True)


def _remove_files(directory: Path) -> None:
    for file in [*sorted(directory.glob(parquet.NAMES)), *npy.files_in(directory), directory / parts.SKIPPED_FILE]:
        file.unlink(missing_ok=True)
    for folder in (*npy.FOLDERS.values(), npy.METADATA, npy.TEXT_METADATA):
        with suppress(OSError):  # not there, or somebody else's files are in it
            (directory / folder).rmdir()


def count(directory: Path) -> int:
    """The rows of whole embeddings."""

    tables = [*directory.glob(parquet.NAMES)] or [
        file
        for folder in (npy.METADATA, npy.TEXT_METADATA)
        for file in (directory / folder).glob(f"{folder}_*.parquet")
    ]
    return sum(unfolding.about(file).num_rows for file in tables)
