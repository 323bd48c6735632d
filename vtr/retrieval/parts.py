"""The parts of planned embeddings as files: which they are, whether they are done, and how one is written.

parquet    emb-00000.parquet
npy        img_emb/img_emb_00000.npy, metadata/metadata_00000.parquet; of captions text_emb/ and text_metadata/

The last file of a part carries its digest and what had to be skipped, in its schema: it takes its name last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr import plainjson
from vtr.atomic import replacing_all, write_bytes
from vtr.data import ours, unfolding
from vtr.errors import DataError
from vtr.retrieval import npy, parquet
from vtr.retrieval.columns import modalities, read_table, rows_table
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.meta import full_meta
from vtr.retrieval.plan import TEXT_LINES, EmbeddingPlan, read

DIGEST, SKIPPED = "digest", "skipped"
SKIPPED_FILE = ours.SKIPPED


def files_of(directory: Path, plan: EmbeddingPlan, number: int) -> list[Path]:
    """The files of part `number`, the one that says that it is done last."""
    if plan.options.layout == "parquet":
        return [directory / f"emb-{number:05d}.parquet"]
    name = f"{number:05d}"
    text = [
        directory / npy.FOLDERS[TEXT] / f"{npy.FOLDERS[TEXT]}_{name}.npy",
        directory / npy.TEXT_METADATA / f"{npy.TEXT_METADATA}_{name}.parquet",
    ]
    if plan.parts[number].kind == TEXT_LINES:
        return text
    video = [
        directory / npy.FOLDERS[VIDEO] / f"{npy.FOLDERS[VIDEO]}_{name}.npy",
        directory / npy.METADATA / f"{npy.METADATA}_{name}.parquet",
    ]
    return [*(text if plan.options.captions else []), *video]


def is_done(directory: Path, plan: EmbeddingPlan, number: int) -> bool:
    """Whether part `number` is there, whole, made of what the plan says; False for one that is torn.

    Raises DataError: a file of it may not be read.
    """
    if not _says_so(directory, plan, number):
        return False
    files = files_of(directory, plan, number)
    labels = _labels(files[-1])
    if _skipped(labels) is None:
        return False
    pairs = zip(files[::2], files[1::2], strict=True) if plan.options.layout == "npy" else ()
    return all(_fit(vectors, table, labels.get("dim")) for vectors, table in pairs)


def _says_so(directory: Path, plan: EmbeddingPlan, number: int) -> bool:
    """What `is_done` says, by the names of the files and the digest in the last of them alone."""
    files = files_of(directory, plan, number)
    return all(file.is_file() for file in files) and _labels(files[-1]).get(DIGEST) == plan.parts[number].digest(plan)


def _fit(vectors: Path, table: Path, dim: str | None) -> bool:
    """Whether a file of vectors has a row for each of its table, and the dimensions that the embeddings say."""
    import pyarrow as pa

    try:
        with vectors.open("rb"):  # only that it may be read
            pass
        rows, dimensions = npy.load(vectors, mapped=True).shape
        return (rows, str(dimensions)) == (unfolding.about(table).num_rows, dim)
    except PermissionError as error:
        raise _unreadable(Path(error.filename or vectors), error) from error
    except (DataError, OSError, pa.ArrowException):
        return False


def _skipped(labels: Mapping[str, str]) -> list[dict[str, str]] | None:
    """What the schema of a part says was skipped, {id, kind, message} each; None where that cannot be read."""
    try:
        found = plainjson.loads(labels[SKIPPED])
        return [{key: str(entry[key]) for key in ("id", "kind", "message")} for entry in found]
    except (KeyError, ValueError, TypeError):
        return None


def write(directory: Path, plan: EmbeddingPlan, number: int, rows: Embeddings, skipped: list[dict[str, str]]) -> None:
    """Writes part `number`; its files appear whole. Raises WorkError: the disk is full."""
    files = files_of(directory, plan, number)
    labels = {**full_meta(rows), DIGEST: plan.parts[number].digest(plan), SKIPPED: json.dumps(skipped)}
    with replacing_all(files) as asides:
        if plan.options.layout == "parquet":
            parquet.write_file(asides[0], rows, labels, plan.options.dtype)
            return
        for file, aside in zip(files, asides, strict=True):
            own = rows.only(TEXT if file.parent.name.startswith("text") else VIDEO)
            if file.suffix == ".npy":
                with aside.open("wb") as out:
                    stored = np.ascontiguousarray(own.vectors, dtype=plan.options.dtype)
                    np.lib.format.write_array(out, stored, allow_pickle=False)
            else:
                _write_table(aside, own, labels)


def finish(directory: Path, plan: EmbeddingPlan) -> list[dict[str, str]]:
    """Writes what is said of the embeddings as a whole, and returns what was skipped: {id, kind, message} each."""
    files = [files_of(directory, plan, number) for number in range(len(plan.parts))]
    labels = [_labels(several[-1]) for several in files]
    skipped = [entry for label in labels for entry in _skipped(label) or []]
    if skipped:
        write_bytes(directory / SKIPPED_FILE, "".join(json.dumps(entry) + "\n" for entry in skipped).encode())
    else:
        (directory / SKIPPED_FILE).unlink(missing_ok=True)
    if plan.options.layout == "npy":
        counts = {
            file.relative_to(directory).as_posix(): len(npy.load(file, mapped=True))
            for several in files
            for file in several
            if file.suffix == ".npy"
        }
        own = {key: value for key, value in labels[0].items() if key not in parquet.OWN}
        text = json.dumps({"meta": own, "rows": counts}, indent=2, ensure_ascii=False)
        write_bytes(directory / npy.MANIFEST, (text + "\n").encode())
    return skipped


def check_whole(directory: Path) -> None:
    """Raises DataError when the plan in `directory`, if there is one, has not been carried out."""
    plan = read(directory)
    if plan is None:
        return
    # Reading opens the vectors themselves, and names the file that is torn.
    left = [number for number in range(len(plan.parts)) if not _says_so(directory, plan, number)]
    if left:
        raise DataError(
            f"{directory} is not embedded to the end: {len(left)} of {len(plan.parts)} parts are missing, the first is "
            f"{files_of(directory, plan, left[0])[-1].name}",
            "run the same vtr embed again: it continues",
        )


def _write_table(path: Path, rows: Embeddings, labels: dict[str, str]) -> None:
    import pyarrow.parquet as pq

    pq.write_table(rows_table(rows).replace_schema_metadata(labels), path, compression="zstd")


def _labels(path: Path) -> dict[str, Any]:
    """What a file's schema says; nothing for a file that is torn. Raises DataError for one that may not be read."""
    import pyarrow as pa

    try:
        return {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in (unfolding.schema_of(path).metadata or {}).items()
        }
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except (OSError, pa.ArrowException):
        return {}


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror}", "see that you may read it")


def count(directory: Path, plan: EmbeddingPlan, numbers: Sequence[int]) -> tuple[int, int]:
    """How many rows the parts `numbers` have, and how many of them are of videos."""

    tables = [file for number in numbers for file in files_of(directory, plan, number) if file.suffix == ".parquet"]
    return sum(unfolding.about(file).num_rows for file in tables), sum(video_rows(directory, plan, numbers))


def video_rows(directory: Path, plan: EmbeddingPlan, numbers: Sequence[int] | None = None) -> list[int]:
    """How many rows of videos each part has, or each of the parts `numbers`."""
    counts = []
    for number in range(len(plan.parts)) if numbers is None else numbers:
        file = files_of(directory, plan, number)[-1]
        counts.append(modalities(file, read_table(file, only="modality")).count(VIDEO))
    return counts
