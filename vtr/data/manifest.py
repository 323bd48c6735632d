"""`manifest.json`: what a whole shard directory was made of and what is in it; it is written last.

Beside it stand `index.parquet` and `skipped.jsonl`. None of the three says when or where it was made, so the same
samples give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from vtr import plainjson
from vtr.atomic import write_bytes
from vtr.checkpoint import sha256
from vtr.data import index_file
from vtr.data.annotations.sample import JSON
from vtr.data.index_file import Shard
from vtr.data.limits import limits_of, longer
from vtr.data.oneshard import PARTS, ShardResult, ShardTask, part_rows
from vtr.data.ours import MANIFEST, SKIPPED, remove_parts
from vtr.data.pace import Pace
from vtr.data.plan import ShardPlan, refuse_other
from vtr.data.present import check_shards, unlisted_tars
from vtr.errors import DataError, WorkError
from vtr.version import __version__

if TYPE_CHECKING:
    from vtr.data.index import ShardIndex


@dataclass(frozen=True)
class ShardSummary:
    """What a shard directory holds.

    `nothing_to_do`: it was whole before; `continued`: shards that were done before; `warnings`: how the data set
    differs from what is published; `pace`: how quickly clips of it are decoded (`Pace.rates`), where that was measured.
    """

    out: Path
    samples: int
    captions: int
    shards: int
    bytes: int
    duration_s: float
    decoders: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    pace: dict[str, float] | None = field(default=None, compare=False)  # not what it holds
    continued: int = 0
    nothing_to_do: bool = False


def finish(
    out: Path,
    record: Mapping[str, JSON],
    source: str,
    tasks: Sequence[ShardTask],
    parts: Sequence[ShardResult],
    census: Mapping[str, JSON] | None = None,
) -> dict[str, Any]:
    """Gathers the parts into the index, names what was skipped, writes the manifest and returns it.

    `record` is that of the plan. Twice is the same as once.
    """
    skipped = [entry for part in parts for entry in part.skipped]
    shards = [part.shard for part in parts if part.shard is not None]
    table = pa.concat_tables([part_rows(task) for task in tasks])
    write_bytes(out / SKIPPED, "".join(json.dumps(entry) + "\n" for entry in skipped).encode())
    arguments = record["arguments"]
    limits = limits_of(arguments if isinstance(arguments, dict) else {})
    header = index_file.write_index(out / index_file.NAME, table, shards, limits)
    manifest = {
        "vtr": __version__,
        "source": source,
        "samples": len(table),
        "captions": int(pc.sum(pc.list_value_length(table.column("captions"))).as_py() or 0),
        "bytes": sum(shard.bytes for shard in shards),
        "duration_s": round(math.fsum(table.column("duration_s").to_pylist()), 3),
        "decoders": _counts(table.column("decoder").to_pylist()),
        "skipped": _counts(entry["kind"] for entry in skipped),
        "census": dict(census or {}),
        "index": {"sha256": sha256(out / index_file.NAME), "digest": header.digest},
        "shards": [asdict(shard) for shard in shards],
        "plan": dict(record),
    }
    write_bytes(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    remove_parts(out / PARTS)
    return manifest


def read_finished(out: Path, plan: ShardPlan, source: str) -> dict[str, Any] | None:
    """The manifest of `out` if it is whole, and made of `plan`; None if it is not there yet.

    Raises DataError when it was made of something else, or when a file it names is missing or has another size.
    """
    path = out / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = plainjson.load(path)
        record, shards = dict(manifest["plan"]), [Shard(**shard) for shard in manifest["shards"]]
        written = manifest["index"]["sha256"]
        sum([manifest[name] for name in ("samples", "captions", "bytes", "duration_s")])  # TypeError: no number
        sum([n for name in ("decoders", "skipped") for n in manifest[name].values()])
        warnings = [isinstance(line, str) for line in manifest.get("census", {}).get("warnings", ())]
        if not all(warnings):
            raise ValueError("a warning is no text")
        inside = all(PurePosixPath(shard.name).name == shard.name for shard in shards)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} is damaged", f"remove {out} and shard again") from error
    if not inside:
        raise DataError(f"{path} names tars outside of {out}", f"remove {out} and shard again")
    refuse_other(record, plan, out, source)
    check_shards(out, shards)
    if not (out / index_file.NAME).is_file() or sha256(out / index_file.NAME) != written:
        raise DataError(f"{out / index_file.NAME} is not the one that was written", f"remove {out} and shard again")
    remove_parts(out / PARTS)  # a run that was killed while it removed them
    return manifest


def summarize(
    out: Path,
    manifest: Mapping[str, Any],
    parts: Sequence[ShardResult] = (),
    *,
    continued: int = 0,
    nothing_to_do: bool,
) -> ShardSummary:
    """The summary of a whole shard directory; `parts` tell how quickly it was read."""
    names = ("samples", "captions", "bytes", "duration_s", "decoders", "skipped")
    facts = {name: manifest[name] for name in names}
    return ShardSummary(
        out=out,
        shards=len(manifest["shards"]),
        warnings=warnings_in(manifest.get("census")),
        pace=sum((part.pace for part in parts), Pace()).rates(),
        continued=continued,
        nothing_to_do=nothing_to_do,
        **facts,
    )


def noted(out: Path, *names: str) -> Any:
    """What the manifest of `out` says under `names`, one inside the other; None where it says nothing there."""
    try:
        found = plainjson.load(out / MANIFEST)
        for name in names:
            found = found[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def limits_of_index(index: ShardIndex) -> list[str]:
    """A line where `index`, which may be of anybody, has its videos read with raised limits."""
    higher = index.limits.higher()
    told = (
        f"{index.where} was made with raised limits and is read with them: {higher}; this may take more memory and time"
    )
    return [told] if higher else []


def warnings_of(index: ShardIndex) -> list[str]:
    """What raised limits `index` has, how its data set differs from what is published, and tars that are not in it."""
    return [*limits_of_index(index), *_lacking(index)]


def _lacking(index: ShardIndex) -> list[str]:
    if index.remote is not None:
        try:
            index.remote.fetch_whole(MANIFEST)
        except DataError:  # tars of others have none
            return []
        except WorkError as error:
            return [error.message]
    unlisted = unlisted_tars(index.root, index.shards) if index.remote is None and index.only is None else []
    more = f" and {len(unlisted) - 3} more" if len(unlisted) > 3 else ""
    told = (
        f"{index.root} has {len(unlisted)} tars that its index leaves out: {', '.join(unlisted[:3])}{more}; "
        f"vtr inspect {index.root} --index says why"
    )
    return [*warnings_in(noted(index.root, "census")), *([told] if unlisted else [])]


def warnings_in(census: Any) -> tuple[str, ...]:
    """Those that the record of a census has; it may come from a file of anybody."""
    found = census.get("warnings") if isinstance(census, Mapping) else None
    return tuple(line for line in found if isinstance(line, str)) if isinstance(found, list) else ()


def refuse_skipped(summary: ShardSummary, max_skipped: float) -> None:
    """Raises WorkError when more than the share `max_skipped` of the samples was skipped, or all of them."""
    skipped = sum(summary.skipped.values())
    total = skipped + summary.samples
    share = skipped / total if total else 0.0  # of a manifest that is damaged
    if share <= max_skipped and summary.samples:
        return
    lines = (summary.out / SKIPPED).read_text(encoding="utf-8").splitlines()[:3]
    examples = "; ".join(_example(line) for line in lines)
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary.skipped.items())
    hint = f"{summary.out / SKIPPED} names them all"
    if summary.samples:
        hint += f"; the others are written, accept that with --max-skipped {math.ceil(share * 100) / 100:g}"
    elif "missing" in summary.skipped:
        hint += "; --root says where relative paths start"
    hint += longer(summary.skipped)
    raise WorkError(
        f"{skipped} of {total} samples were skipped, more than {max_skipped:.3g} of them: {kinds}; first: {examples}",
        hint,
    )


def _example(line: str) -> str:
    """A line of `skipped.jsonl` in words; as it stands where somebody has changed it."""
    try:
        return "{video} ({kind}: {message})".format(**plainjson.loads(line))
    except (ValueError, KeyError, TypeError):
        return line


def _counts(values: Any) -> dict[str, int]:
    """How often each value occurs, the commonest first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
