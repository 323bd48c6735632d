"""Which sample goes into which shard, fixed before anything is written, and whether an earlier plan was the same.

Sample i belongs to shard i // per_shard, whoever writes it and however often that was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtr import plainjson
from vtr.data.annotations.sample import JSON, KEY_LENGTH, Sample, refuse_duplicates
from vtr.errors import DataError

FORMAT = 1
LARGEST = 1000  # samples in a shard by default: with ordinary clips that is under a gigabyte
SMALLEST = 16
SHARDS = 32  # a small data set is still cut into about so many, for workers and for shuffling


@dataclass(frozen=True)
class ShardPlan:
    """`samples` in order, cut into shards of `per_shard`; `arguments` are what else decides the bytes.

    `digests` has one sha256 a shard, over all that goes into it: keys, captions, metadata and the sizes of the videos.
    """

    samples: tuple[Sample, ...]
    per_shard: int
    arguments: Mapping[str, JSON]
    digests: tuple[str, ...]

    def shard(self, number: int) -> tuple[Sample, ...]:
        """The samples of shard `number`."""
        return self.samples[number * self.per_shard : (number + 1) * self.per_shard]

    def record(self) -> dict[str, JSON]:
        """What `refuse_other` compares, as plain data."""
        return {
            "format": FORMAT,
            "arguments": dict(self.arguments),
            "samples": len(self.samples),
            "digests": list(self.digests),
        }


def make_plan(samples: Sequence[Sample], per_shard: int | None, arguments: Mapping[str, JSON]) -> ShardPlan:
    """The plan for `samples`; `per_shard` None chooses by their number alone.

    Raises DataError: no samples, a key that WebDataset would cut, two videos with one key, less than one a shard.
    """
    if not samples:
        raise DataError("there are no samples to shard", "check the source, --split and --limit")
    if per_shard is None:
        per_shard = min(LARGEST, max(SMALLEST, -(-len(samples) // SHARDS)))
    if per_shard < 1:
        raise DataError(f"{per_shard} samples a shard, at least 1 is needed", "leave --per-shard out for a good number")
    for sample in samples:
        if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{KEY_LENGTH}}}", sample.key):
            raise DataError(
                f"{sample.key!r} is no key: at most {KEY_LENGTH} of A-Z a-z 0-9 _ - are", "make it with make_key"
            )
        if not plainjson.is_unicode(sample.split, *sample.captions):
            raise DataError(
                f"{sample.source!r} has half a surrogate pair in a caption or its split", "write them as valid Unicode"
            )
    refuse_duplicates(samples, "the samples")
    count = -(-len(samples) // per_shard)
    digests = [_digest(samples[n * per_shard : (n + 1) * per_shard]) for n in range(count)]
    return ShardPlan(tuple(samples), per_shard, {**arguments, "per_shard": per_shard}, tuple(digests))


def refuse_other(record: Mapping[str, JSON], plan: ShardPlan, out: Path, source: str) -> None:
    """Raises DataError, saying what differs, unless `record` (of an earlier run into `out`) is that of `plan`."""
    hint = _hint(out)
    new = plan.record()
    refuse_arguments(record, plan.arguments, out)
    if record.get("samples") != new["samples"]:
        raise DataError(
            f"{source} has changed since {out} was sharded: it gave {record.get('samples')} samples, "
            f"now it gives {new['samples']}",
            hint,
        )
    old = record.get("digests")
    for number, digest in enumerate(plan.digests):
        if not isinstance(old, list) or number >= len(old) or old[number] != digest:
            first, last = plan.shard(number)[0].key, plan.shard(number)[-1].key
            raise DataError(
                f"{source} has changed since {out} was sharded: among {first} ... {last} a caption, some metadata or "
                "the size of a video is another",
                hint,
            )


def refuse_arguments(record: Mapping[str, JSON], arguments: Mapping[str, JSON], out: Path) -> None:
    """Raises DataError, saying what differs, unless `record` is of a plan with these `arguments`."""
    if record.get("format") != FORMAT:
        raise DataError(f"{out} was sharded by another version of vtr", _hint(out))
    before, now = _mapping(record.get("arguments")), dict(arguments)
    changed = [
        f"{name} was {before.get(name)} and is {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise DataError(f"{out} was sharded with other arguments: {', '.join(changed)}", _hint(out))


def read_record(path: Path) -> dict[str, Any]:
    """A plan as it was noted. Raises DataError for a damaged one, FileNotFoundError where there is none."""
    try:
        return dict(plainjson.load(path))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}", f"remove {path.parent} and shard again") from error


def _hint(out: Path) -> str:
    return f"shard into another directory, or remove {out} first"


def _digest(samples: Sequence[Sample]) -> str:
    state = hashlib.sha256()
    for sample in samples:
        fields = [sample.key, sample.source, _identity(sample), sample.captions, sample.split, dict(sample.meta)]
        state.update(json.dumps(fields).encode() + b"\n")
    return state.hexdigest()


def _identity(sample: Sample) -> JSON:
    """What a video is without reading it: its size, or how its maker shows itself. Folders may move."""
    if isinstance(sample.video, Path):
        try:
            return sample.video.stat().st_size
        except (OSError, ValueError):  # it is not there, or there can be no such path
            return None
    return re.sub(r" at 0x[0-9a-f]+", "", repr(sample.video))  # a function's address is another in every run


def _mapping(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}
