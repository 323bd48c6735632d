"""`vtr inspect RUN --reconstruct`: what a run makes of a few clips, drawn."""

from __future__ import annotations

from pathlib import Path

from vtr.cli.app import print_json, print_text
from vtr.errors import InputError


def refuse_runs(path: str) -> None:
    """Raises InputError for a run directory."""
    if (Path(path) / "run.json").is_file():
        raise InputError(
            f"{path} is a run, not a shard directory",
            "draw what it sees with --reconstruct OUT.png; what it is stands in its run.json and config.toml",
        )


def draw(path: str, out: Path, shards: Path | None, clips: int, as_json: bool) -> None:
    """Draws what the run at `path` restores, or looks at, into `out`; prints what it found."""
    from vtr import api

    found = api.reconstruct(path, out, shards=shards, clips=clips)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if name not in ("run", "out", "captions"):
            print_text(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    print_text(str(out))
