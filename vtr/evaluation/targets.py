"""Where a result and its page may be written: asked before the work, for they take the place of what is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vtr import rundir
from vtr.atomic import check_writable
from vtr.data import index_file
from vtr.data.patterns import find, is_pattern, matches
from vtr.data.remote import url_of
from vtr.errors import InputError
from vtr.kinds import apart
from vtr.retrieval.result import ranks_path


def checked(
    out: Path | None, report: Path | None, run: str | None, given: Sequence[Path | None]
) -> tuple[Path | None, Path | None]:
    """`out` and `report` with links followed.

    Raises InputError: a place that cannot be written, two names of one file, or a place in what is evaluated: `run`
    and what is `given`, directories and patterns of tars.
    """
    local = [one for one in given if one is not None and url_of(str(one)) is None]
    patterns = [one for one in local if is_pattern(str(one)) and not one.is_dir()]
    read = [*_files(run), *(one for one in local if one not in patterns)]
    for one in patterns:  # beside the tars it names stands much that is not read
        tars = find(str(one))
        read += [tars.root / name for name in (*tars.names, index_file.NAME)]
    inputs = [Path(os.path.realpath(one)) for one in read]
    taken: dict[Path, str] = {}

    def place(path: Path, name: str) -> Path:
        found = check_writable(path, make=True)
        if found in taken:
            raise InputError(f"{name} would take the place of {taken[found]}", "give each a name of its own")
        taken[found] = name
        for one in inputs:
            if found.is_relative_to(one):
                where = "is" if found == one else "lies in"
                raise InputError(f"{name} {where} {one}, which is read", "write it somewhere else")
        for one in patterns:
            if any(matches(at, str(one)) for at in (found, Path(os.path.abspath(path)))):  # noqa: PTH100
                raise InputError(f"{name} would be one of the files that {one} names", "give it another name")
        return found

    if out is not None:
        out = place(out, f"--out {out}")
        ranks = ranks_path(out)
        bare = out.name.removesuffix(".json")
        other = out.with_name(bare if bare != out.name else f"{bare}.json")
        if other.is_file() and ranks.is_file() and not out.exists():
            raise InputError(f"{out} and {other} would share the ranks {ranks.name}", "give --out another name")
        place(ranks, f"{ranks.name}, the ranks of --out")
    return out, None if report is None else place(report, f"--report {report}")


def _files(run: str | None) -> list[Path]:
    """What a model is read from. A result may well lie in the folder of its run, beside these."""
    if run is None:
        return []
    if ":" in run:  # clip:DIR,frames=8 or open_clip:NAME,weights=FILE
        _, source, options = apart(run)
        return [Path(source), *(Path(one.rpartition("=")[2]) for one in options)]
    return [Path(run, name) for name in rundir.OWN] if Path(run, rundir.RECORD).is_file() else [Path(run)]
