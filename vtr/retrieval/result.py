"""The result file: what was evaluated, on what, how, with which numbers. One schema, whatever the origin.

`result.json` beside `result.ranks.parquet`, a row for each query; together they are enough for a paired test later.
The first has the digest of the second: ranks of another result, or of another writer, are not taken for its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from vtr import plainjson
from vtr.atomic import explain_os_error, locked, replacing_all
from vtr.checkpoint import sha256
from vtr.data import unfolding
from vtr.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from vtr.retrieval.score import PairedSplit, Scored

SCHEMA = "vtr-eval-1"
DECIMALS = 4  # of every number and bound: of a million queries one is 0.0001 percent
TEXTS = ("column", "direction", "split", "id", "text")
COUNTS = ("better", "equal", "own", "gallery", "cluster")
TIE_RULE = (
    "expectation under random tie-breaking: `better` items score above the best right one, `equal` as much as it does, "
    "itself among them, and `own` of these are right; R@K is the chance of one of `own` among the first K, MdR and "
    "MnR are 1 + better + (equal - own) / (own + 1), with one right answer 1 + better + (equal - 1) / 2; NaN ranks last"
)
SIMILARITY = "float32 dot products of unit vectors, exact to the last bit"

# Every key of a result file, in its order, and what it means. docs/evaluation.md has the same list.
FIELDS: Mapping[str, str] = {
    "schema": "the name of this schema",
    "t2v": "text to video, raw: R@1, R@5, R@10 (percent), MdR, MnR; not for actions",
    "v2t": "video to text, raw; for actions top-1 and top-5",
    "intervals": "95 % bootstrap intervals of these numbers: direction, number, [low, high]",
    "columns": "the tricks that were asked for: numbers, intervals, what each assumes, and QB-Norm's bank",
    "probe": "the temporal probe: the numbers and intervals with shuffled and reversed frames and with one frame",
    "splits": "for actions, the numbers of each split; v2t is then their mean",
    "published": "what papers report under this protocol: theirs, not measured here; none for a part",
    "protocol": "name, title, caption rule, split as labelled, partial, problems, and what could not be checked",
    "expected": "videos and captions (for actions classes) as published, null where no count is",
    "found": "videos and captions that were evaluated",
    "undecodable": "videos that sharding or reading had to leave out: count, kinds, the first names",
    "videos": "found videos",
    "captions": "found captions, for actions classes",
    "nan": "similarities that are not numbers; they rank last",
    "distractors": "videos without a caption: in the gallery, no queries",
    "model": "the run, checkpoint or model",
    "weights_sha256": "SHA-256 of its weights",
    "preprocessing": "how a video becomes a clip",
    "frames": "frames of a clip",
    "resolution": "height and width of a clip in pixels",
    "precision": "of the encoders' arithmetic",
    "words": "the longest caption in tokens",
    "captions_full": "captions that fill all tokens, so may be cut",
    "similarity": "how similarities are computed",
    "tie_rule": "what equal similarities count as",
    "interval": "how intervals were made: level, draws, what is drawn",
    "seed": "of the bootstrap",
    "shards": "where the data were",
    "embeddings": "where the embeddings were, null for a run",
    "manifest_sha256": "SHA-256 of each shard directory's manifest.json",
    "vectors_sha256": "SHA-256 of the vectors as they were read, null for a run",
    "split_sha256": "SHA-256 of ids and captions that were evaluated, in any order; null where they have no names",
    "ranks": "the Parquet file of per-query ranks, beside this file",
    "ranks_sha256": "SHA-256 of that file",
    "version": "of vtr",
    "command": "the command line, null from Python",
}


@dataclass(frozen=True)
class Read:
    """A result file and its ranks."""

    path: Path
    record: dict[str, Any]
    ranks: pa.Table


def ordered(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its keys in the order of FIELDS. Raises KeyError for one that is missing or not among them."""
    if set(record) != set(FIELDS):
        raise KeyError(f"not a record: {sorted(set(record) ^ set(FIELDS))}")
    return {name: record[name] for name in FIELDS}


def rounded(value: Any) -> Any:
    """The numbers in `value`, however deep, to DECIMALS: 79.8 for 79.80000000000001."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


def ranks_table(columns: list[Scored], parts: list[PairedSplit]) -> pa.Table:
    """A row a query: column, direction, split, id (the video's), text ("" where a video asks), and its rank.

    That is better, equal, own and gallery as in `Ranks`, rank (expected, from 1), and cluster (the video's number).
    """
    import pyarrow as pa

    tables = []
    for scored in columns:
        for part, ranks, clusters in zip(parts, scored.ranks, scored.clusters, strict=True):
            for way, found in ranks.items():
                ids, texts = _queries(part, way)
                count = len(ids)
                same = {"column": scored.name, "direction": way, "split": part.split}
                tables.append(
                    pa.table(
                        {
                            **{name: pa.array([value] * count, pa.string()) for name, value in same.items()},
                            "id": pa.array(ids, pa.string()),
                            "text": pa.array(texts, pa.string()),
                            "better": found.better,
                            "equal": found.equal,
                            "own": found.own,
                            "gallery": np.full(count, found.gallery),
                            "rank": found.expected(),
                            "cluster": clusters[way],
                        }
                    )
                )
    return pa.concat_tables(tables)


def packed(ranks: pa.Table) -> bytes:
    """The ranks as a Parquet file's bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(ranks, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def sealed(path: Path, ranks: bytes) -> dict[str, str]:
    """What the record of the result `path` says of its ranks: their file's name and digest."""
    return {"ranks": ranks_path(path).name, "ranks_sha256": hashlib.sha256(ranks).hexdigest()}


def write(path: Path, record: Mapping[str, Any], ranks: bytes) -> None:
    """Writes `path`, JSON, and the packed ranks beside it, both whole or neither.

    Raises WorkError: the disk is full. BusyError: another process writes it.
    """
    path = Path(os.path.realpath(path))
    beside = ranks_path(path)
    text = as_json({**record, **sealed(path, ranks)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            locked(path.with_name(f".{beside.name}.lock"), str(path), wait_s=3.0),  # what it takes is a moment
            replacing_all([beside, path]) as (first, second),
        ):
            first.write_bytes(ranks)
            # Half a surrogate, of a name that is not UTF-8, stands as JSON's own escape.
            second.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise explain_os_error(error, f"while writing {path.name}", path.parent) from error


def ranks_path(path: Path) -> Path:
    """Where the ranks of the result `path` are: only .json is cut off, for `res-0.5` and `res-0.6` are two results."""
    return path.with_name(f"{path.name.removesuffix('.json')}.ranks.parquet")


def as_json(value: Any) -> str:
    """JSON; a number that is not finite becomes null, for JSON has none."""
    return json.dumps(plainjson.finite(value), indent=1, default=str, ensure_ascii=False)


def read(path: Path) -> Read:
    """A result file with its ranks. Raises DataError: it is none, or its ranks are missing or of another file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    hint = "`vtr eval RUN --shards DIR --out FILE` writes one"
    try:
        record = plainjson.load(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a result: {error}", hint) from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise DataError(f"{path} is no result file of the schema {SCHEMA}", hint)
    if "ranks_sha256" not in record:
        raise DataError(
            f"{path} is of an older vtr: it does not say which ranks are its own (ranks_sha256)", "evaluate again"
        )
    if set(record) != set(FIELDS) or not isinstance(record["protocol"], dict):
        raise DataError(f"{path} lacks fields of the schema {SCHEMA}, or has others", hint)
    name = record["ranks"]
    if not isinstance(name, str) or PurePath(name).name != name or name in ("", ".."):
        raise DataError(f"{path} names ranks that do not lie beside it: {name!r}", hint)
    beside = path.with_name(name)
    if not beside.exists():  # where `path` is a link, they lie beside the file itself
        beside = Path(os.path.realpath(path)).with_name(name)
    try:
        other = sha256(beside) != record["ranks_sha256"]
    except OSError as error:
        raise _unread(path, beside, error) from error
    if other:
        raise DataError(
            f"{beside} holds the ranks of another result than {path}: its SHA-256 is not the one that stands there",
            "keep each result with its own ranks, or evaluate again",
        )
    try:
        ranks = _told(beside, [*TEXTS, *COUNTS, "rank"])
        ranks.validate(full=True)
        kinds = [pa.string()] * len(TEXTS) + [pa.int64()] * len(COUNTS) + [pa.float64()]
        if [column.type for column in ranks.columns] != kinds or any(column.null_count for column in ranks.columns):
            raise pa.ArrowInvalid("its columns are not those of ranks")
        if not len(ranks) or pc.max(ranks["own"]).as_py() > len(ranks):
            raise pa.ArrowInvalid("it has fewer rows than right answers")
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _unread(path, beside, error) from error
    return Read(path, record, ranks)


def _told(path: Path, names: list[str]) -> pa.Table:
    """The columns `names` of the ranks in `path`, texts each for itself. Raises DataError: they would unfold to more
    than any file may; and what pyarrow does."""
    import pyarrow as pa

    with unfolding.bounded(path):
        ranks = pa.Table.from_batches(unfolding.batches(path, names)).select(names)
        kinds = [one.type.value_type if pa.types.is_dictionary(one.type) else one.type for one in ranks.columns]
        return ranks.cast(pa.schema(list(zip(names, kinds, strict=True))))


def _unread(path: Path, beside: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} comes with ranks in {beside.name}, which cannot be read: {str(error).splitlines()[0]}",
        "keep both files together, or evaluate again",
    )


def _queries(part: PairedSplit, way: str) -> tuple[list[str], list[str]]:
    paired = part.paired
    if part.actions:  # the queries stand as texts, their captions are the videos' names
        return paired.captions, [""] * len(paired.captions)
    if way == "t2v":
        return [paired.ids[i] for i in paired.owner], paired.captions
    ids = [paired.ids[i] for i in np.flatnonzero(paired.captioned)]
    return ids, [""] * len(ids)
