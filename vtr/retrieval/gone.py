"""Sources that have gone: the rows of a video file stay, and what was never embedded of a source is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vtr.data import index_file
from vtr.data.remote import url_of
from vtr.errors import DataError
from vtr.retrieval import npy, parquet, parts
from vtr.retrieval.columns import described, read_table
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings, concatenated
from vtr.retrieval.plan import FILES, SHARD, EmbeddingPlan, printable


def kept(
    directory: Path, plan: EmbeddingPlan, number: int, rows: Embeddings, skipped: list[dict[str, str]]
) -> tuple[Embeddings, list[dict[str, str]]]:
    """Part `number` made anew, with the rows that its file still has of videos that have gone, in their old places.

    Files that have gone and have rows are not skipped any more.
    """
    lost = set(_gone(plan, [number])) & {entry["id"] for entry in skipped}
    old = _rows(directory, plan, number) if lost else None
    if old is None or not lost.intersection(old.only(VIDEO).ids):
        return rows, skipped
    stay = lost.intersection(old.only(VIDEO).ids)
    both = concatenated([rows, old.take([row for row, name in enumerate(old.ids) if name in stay])], rows.meta)
    place = {printable(item[0]): n for n, item in enumerate(plan.parts[number].items)}
    order = sorted(range(len(both)), key=lambda row: (both.modality[row] == TEXT, place[both.ids[row]]))
    return both.take(order), [entry for entry in skipped if entry["id"] not in stay]


def named(plan: EmbeddingPlan, numbers: Sequence[int], skipped: Sequence[dict[str, str]]) -> list[str]:
    """The videos of the parts `numbers` whose files have gone while their rows are in the embeddings."""
    without = {entry["id"] for entry in skipped}
    return [name for name in _gone(plan, numbers) if name not in without]


def refuse_missing(directory: Path, plan: EmbeddingPlan, left: Sequence[int]) -> None:
    """Raises DataError when parts that are still to be embedded are of a shard directory or folder that has gone."""
    for number in left:
        part = plan.parts[number]
        needed = Path(part.root, index_file.NAME) if part.kind == SHARD else Path(part.root)
        if part.kind in (SHARD, FILES) and part.items and url_of(part.root) is None and not needed.exists():
            count = sum((plan.parts[other].kind, plan.parts[other].root) == (part.kind, part.root) for other in left)
            raise DataError(
                f"{printable(part.root)} has gone, and {count} parts of it are not embedded in {directory} yet",
                "put it back and run the same command again, or give --overwrite: then they are made anew of "
                "what you name alone",
            )


def _gone(plan: EmbeddingPlan, numbers: Sequence[int]) -> list[str]:
    found = [plan.parts[number] for number in numbers if plan.parts[number].kind == FILES]
    files = [(item[0], Path(part.root, item[0])) for part in found for item in part.items]
    return [printable(name) for name, file in files if not os.path.exists(file)]  # noqa: PTH110  (no error for any name)


def _rows(directory: Path, plan: EmbeddingPlan, number: int) -> Embeddings | None:
    """What the files of a part hold now; None where they are not there, torn, or not of one writing."""
    files = parts.files_of(directory, plan, number)
    try:
        if plan.options.layout == "parquet":
            return parquet.read_files(files)
        found = []
        for vectors, table in zip(files[::2], files[1::2], strict=True):
            kind = TEXT if vectors.parent.name == npy.FOLDERS[TEXT] else VIDEO
            stored = npy.load(vectors).astype(np.float32, copy=False)
            found.append(described(table, read_table(table), stored, kind))
        return concatenated(found, found[0].meta)
    except (DataError, OSError, ValueError, EOFError):
        return None
