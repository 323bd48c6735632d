"""What sharding or indexing left out of a test set, by name: it is missing from every figure."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from vtr import plainjson
from vtr.data.ours import MANIFEST, SKIPPED
from vtr.errors import DataError

if TYPE_CHECKING:
    from vtr.data.index import ShardIndex

MOST = 1_000_000_000  # videos of a kind that a manifest may count
HARMLESS = "no-caption"  # no loss to a test set
BARE = " has no caption"  # what the index of others' tars says of such a sample, which it calls `incomplete`


def left_out(index: ShardIndex) -> tuple[list[str], Counter[str]]:
    """Names of the videos, and how many there are of each kind, as `skipped.jsonl` beside the tars has them, or as the
    manifest counts them: then without names.

    Raises DataError: either is damaged.
    """
    if (listed := beside(index, SKIPPED)) is not None:
        found = [(name, kind) for name, kind, why in _entries(listed) if not _harmless(kind, why)]
        return [name for name, _ in found if name], Counter(kind for _, kind in found)
    if (manifest := beside(index, MANIFEST)) is None:
        return [], Counter()
    try:
        counts = dict(plainjson.load(manifest)["skipped"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{manifest} is damaged", "shard again") from error
    for kind, count in counts.items():
        if type(count) is not int or not 0 <= count <= MOST:
            raise DataError(
                f"{manifest} is damaged: it counts {str(count)[:20]} skipped videos of the kind {str(kind)[:40]!r}, "
                f"wanted a number from 0 to {MOST}",
                "shard again",
            )
    return [], Counter({kind: count for kind, count in counts.items() if kind != HARMLESS and count})


def beside(index: ShardIndex, name: str) -> Path | None:
    """The file `name` beside the tars, fetched where they are at a URL; None where none is, or they are some of many.

    Raises WorkError: the network is not well.
    """
    if index.only is not None:  # what was left out may be of other tars
        return None
    if index.remote is not None:
        try:
            index.remote.fetch_whole(name)
        except DataError:
            return None
    path = index.root / name
    return path if path.is_file() else None


def _harmless(kind: str, why: str) -> bool:
    return kind == HARMLESS or (kind == "incomplete" and why.endswith(BARE))


def _entries(path: Path) -> list[tuple[str, str, str]]:
    """(name, kind, message) of each line."""
    try:
        entries = [plainjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
        return [(str(one["key"] or one["video"]), str(one["kind"]), str(one.get("message"))) for one in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged", "shard again, or index again: vtr inspect DIR --index") from error
