"""The plan as a file: every sample, a row group a shard, so that a task reads the rows of its own shards alone.

OUT/.parts/plan.parquet: key, video, captions, split, meta, source
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vtr import plainjson
from vtr.atomic import replacing
from vtr.data import unfolding
from vtr.data.annotations.sample import JSON, Sample
from vtr.data.manifest import noted
from vtr.data.oneshard import PARTS
from vtr.data.plan import ShardPlan, read_record, refuse_arguments
from vtr.data.workdir import PLAN
from vtr.errors import DataError

SAMPLES = "plan.parquet"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("video", pa.binary()),  # a path: its name may be no UTF-8
        ("captions", pa.list_(pa.string())),
        ("split", pa.string()),
        ("meta", pa.string()),  # JSON
        ("source", pa.binary()),
    ]
)


@dataclass(frozen=True)
class StoredPlan:
    """A plan that was written; its samples are read a shard at a time."""

    path: Path
    facts: Mapping[str, Any]
    census: Mapping[str, JSON]

    def record(self) -> dict[str, JSON]:
        """As that of the `ShardPlan` which was written."""
        return dict(self.facts)

    @property
    def digests(self) -> list[str]:
        """One a shard."""
        return list(self.facts["digests"])

    def shard(self, number: int) -> tuple[Sample, ...]:
        """The samples of shard `number`. Raises DataError when the file is damaged."""
        try:
            with unfolding.bounded(self.path), pq.ParquetFile(self.path) as file:
                return tuple(_sample(row) for row in file.read_row_group(number).to_pylist())
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{self.path} is damaged", "plan again with --plan-only") from error


def write_samples(out: Path, plan: ShardPlan) -> Path | None:
    """Writes the samples of `plan`; None, and no file, where they are made by code and not read from files."""
    if not all(isinstance(sample.video, Path) for sample in plan.samples):
        return None
    path = out / PARTS / SAMPLES
    with replacing(path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for number in range(len(plan.digests)):
            rows = [_row(sample) for sample in plan.shard(number)]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), row_group_size=len(rows))
    return path


def read_plan(out: Path, arguments: Mapping[str, JSON], per_shard: int | None, source: str) -> StoredPlan | None:
    """The plan that `--plan-only` wrote into `out`; None where there is none.

    Raises DataError when it was made with other arguments, or of another source.
    """
    path = out / PARTS / SAMPLES
    try:
        record = read_record(out / PARTS / PLAN)
    except FileNotFoundError:
        return None
    if not path.is_file():
        return None
    kinds = {"arguments": dict, "census": dict, "source": str, "digests": list, "samples": int}
    if not all(isinstance(record.get(name), kind) for name, kind in kinds.items()):
        raise DataError(f"{out / PARTS / PLAN} is damaged", "plan again with --plan-only")
    planned = record["arguments"].get("per_shard") if per_shard is None else per_shard
    refuse_arguments(record, {**arguments, "per_shard": planned}, out)
    if record["source"] != source:
        raise DataError(f"{out} was planned from {record['source']}, not from {source}", "name the same source")
    census = record.pop("census")
    del record["source"]
    return StoredPlan(path, record, census)


def planned_per_shard(out: Path) -> int | None:
    """How many samples a shard the plan of `out` has, be it done or begun; None where it does not say."""
    planned = noted(out, "plan", "arguments", "per_shard")
    if planned is None:
        try:
            arguments = read_record(out / PARTS / PLAN).get("arguments")
        except FileNotFoundError:
            return None
        planned = arguments.get("per_shard") if isinstance(arguments, dict) else None
    return planned if type(planned) is int and planned > 0 else None


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "key": sample.key,
        "video": _bytes(str(Path(str(sample.video)).absolute())),  # a task may be started in another folder
        "captions": list(sample.captions),
        "split": sample.split,
        "meta": json.dumps(dict(sample.meta)),
        "source": _bytes(sample.source),
    }


def _sample(row: Mapping[str, Any]) -> Sample:
    video, source = Path(_text(row["video"])), _text(row["source"])
    return Sample(row["key"], video, tuple(row["captions"]), row["split"], plainjson.loads(row["meta"]), source)


def _bytes(name: str) -> bytes:
    """A name of a file, which is any bytes: those that are no UTF-8 stand as half surrogates in a text of Python's."""
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes | str) -> str:
    """The inverse; plans of before have it as text."""
    return name if isinstance(name, str) else name.decode("utf-8", "surrogatepass")
