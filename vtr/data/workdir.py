"""A shard directory while it is being written: whose it is, what was planned, and which shards are done.

    OUT/.lock    OUT/.parts/plan.json    OUT/.parts/plan.parquet (of --plan-only)    OUT/.parts/000000.parquet ...

A plain run holds the lock alone; tasks of one plan share it. Whoever finds every part done while holding it alone
finishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vtr.atomic import explain_os_error, locked, refuse_links, write_bytes
from vtr.data.annotations.sample import JSON
from vtr.data.oneshard import PARTS
from vtr.data.ours import MANIFEST, remove_begun
from vtr.data.plan import ShardPlan, read_record, refuse_other
from vtr.errors import DataError

MOUNTED = "lost+found"  # of a disk that is all of a directory
LOCK = ".lock"
PLAN = "plan.json"
PATIENCE_S = 30.0  # a task that starts while the last one of the others gathers the index


@contextmanager
def at_work(out: Path, *, shared: bool = False) -> Iterator[None]:
    """The directory `out`, made if need be, for this process alone, or `shared` with the other tasks of a plan.

    Alone, what a killed run had begun is cleared away. Raises BusyError when others are at work there: at once, or for
    a task that would share it, when they are there for longer than finishing takes.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, str(out), shared=shared, wait_s=PATIENCE_S if shared else 0.0):
            refuse_links(out, PARTS)
            try:
                if not shared:
                    _clear(out)
                yield
            finally:
                if not shared:
                    _clear(out)
    except FileExistsError as error:
        raise DataError(f"{out} is a file, shards need a directory", "name another") from error
    except OSError as error:
        raise explain_os_error(error, "while sharding", out) from error


def _clear(out: Path) -> None:
    remove_begun(out)
    remove_begun(out / PARTS)


def note_plan(out: Path, plan: ShardPlan, source: str, census: Mapping[str, JSON] | None = None) -> bool:
    """Notes the plan, or sees that an earlier run or another task had the same; whether there was one.

    Raises DataError when it was another, or when `out` holds what no run of ours has left there.
    """
    path = out / PARTS / PLAN
    if path.is_file():
        refuse_other(read_record(path), plan, out, source)
        return True
    if any(out.glob("*.tar")):
        raise DataError(
            f"{out} has tars but no {MANIFEST}: they were not made by vtr shard, or not by it alone",
            f"shard into another directory; to use them as they are: vtr inspect {out} --index",
        )
    if others := sorted(entry.name for entry in out.iterdir() if not _may_be_there(entry)):
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise DataError(
            f"{out} has other files in it: {', '.join(others[:3])}{more}",
            f"give a directory that is new or empty, such as {out / 'shards'}",
        )
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, json.dumps({**plan.record(), "source": source, "census": dict(census or {})}).encode())
    return False


def _may_be_there(entry: Path) -> bool:
    """What a new shard directory may hold: what we begin with, hidden as other hidden files are; and other shards."""
    return entry.name.startswith(".") or entry.name == MOUNTED or (entry / MANIFEST).is_file()
