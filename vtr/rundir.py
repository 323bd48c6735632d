"""The directory of a training run: who may write in it, whether a run in it goes on, and how one begins.

`RUN/` holds run.json (what it is), config.toml, metrics.jsonl, reading.json (what decoding took), checkpoints/, and
quarantine.jsonl where needed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vtr import checkpoint, plainjson, recipe
from vtr.atomic import explain_os_error, locked, write_bytes
from vtr.config import Config
from vtr.errors import ConfigError, RunError

RECORD, READING, LOCK = "run.json", "reading.json", ".lock"
# All that a run directory holds.
OWN = (
    RECORD, READING, checkpoint.CONFIG, checkpoint.FOLDER, LOCK, "metrics.jsonl", "quarantine.jsonl", "nonfinite.jsonl",
    "best", "best.json", "trackers", "wandb",
)  # fmt: skip
WRITTEN = ("metrics.jsonl", "quarantine.jsonl", "nonfinite.jsonl", "best.json")  # and read again as it goes on
# What a run may be taken up with other values of: none changes what it learns from. Pieces and recomputing round
# differently, pieces have dropout of their own, and what is held decoded is cropped out of frames of `data.resize`.
FREE = (
    "data.workers", "data.time_limit_s", "data.cache_gb", "train.checkpointing",
    "train.device", "train.log_every", "train.save_every", "train.eval_every", "train.keep",
    "train.best", "train.skip_nonfinite", "train.tracker",
)  # fmt: skip


@contextmanager
def held(out: Path, *, main: bool) -> Iterator[None]:
    """Keeps other commands out of `out`; of several processes that train together the main one does."""
    if not main:
        yield
        return
    place = out.resolve()  # two names of one directory have one lock
    if out.is_symlink() and not out.exists():
        raise RunError(f"{out} is a link to {place}, which is not there", "make that directory, or give another --out")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out.parent} cannot be made: {error.strerror}", "give another --out") from error
    # Inside it, where its parent is not ours to write: a mount, say.
    beside = os.access(place.parent, os.W_OK) or not place.is_dir()
    with locked(place.parent / f".{place.name}.lock" if beside else place / LOCK, str(out)):
        yield


def found(out: Path, record: dict[str, Any], config: Config, *, fresh: bool) -> Path | None:
    """The checkpoint in `out` to go on from, None to start; sees that `out` may be this run's, and changes nothing."""
    _check_place(out, fresh=fresh)
    if fresh or not (out / RECORD).is_file():
        return None
    if not (out / checkpoint.CONFIG).exists() and not (out / checkpoint.FOLDER).exists():
        return None  # killed before it had begun
    for path in (out / name for name in WRITTEN):
        # A pipe would be waited for; through a link, of a run that came from elsewhere, any file would be written to.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise RunError(f"{path} is no regular file", "remove it, or give another --out")
    try:
        old: dict[str, Any] = {} | plainjson.load(out / RECORD)
        before = recipe.load(str(out / checkpoint.CONFIG))
    except (ValueError, TypeError, OSError, ConfigError) as error:
        why = error.message if isinstance(error, ConfigError) else str(error)
        raise RunError(f"{out} is a damaged run: {why}", "start over with --fresh") from error
    names = {"verb": "made by", "data": "trained on the shards", "init": "started from the weights"}
    names["objective"] = "trained with the objective"
    for key, words in names.items():
        if old.get(key, "") != record.get(key, ""):
            raise RunError(
                f"{out} was {words} {_short(key, old.get(key))}, not {_short(key, record.get(key))}",
                "give another --out, or --fresh to start over",
            )
    exact = before.train.accumulate_how == config.train.accumulate_how == "exact"  # plain pieces have fewer negatives
    changed = recipe.difference(before, config, but=(*FREE, *(("train.accumulate",) if exact else ())))
    if changed:
        raise RunError(
            f"{out} was begun with another config: {'; '.join(changed)}",
            "give the same settings to go on, another --out, or --fresh to start over",
        )
    return checkpoint.newest(out)


def check_begun(places: Sequence[Path], *, fresh: bool, resume: bool) -> None:
    """Whether a run of several stages, the last of `places` its `--out`, can begin or go on, and with `resume` has to.

    Raises RunError when one of `places` is no place for a run, when one asked to go on and none has a checkpoint, or
    when a stage has one and the one before it has none: that stage would be trained again.
    """
    if fresh:
        if resume:
            raise RunError("--resume goes on with a run, --fresh removes it", "give one of them")
        for place in places:  # not after a stage has been trained
            _check_place(place, fresh=True)
        return
    begun = [bool(checkpoint.steps(place)) for place in places]
    for before, after, one, next_one in zip(places, places[1:], begun, begun[1:], strict=False):
        if next_one and not one:
            raise RunError(
                f"{after} is begun, but {before}, the stage before it, has no checkpoint",
                f"put {before} back, or begin all stages anew with --fresh",
            )
    if resume and not any(begun):
        raise RunError(
            f"--resume: {places[-1]} holds no run to go on with", "see that --out is right; without --resume one begins"
        )
    for place in places:
        _check_place(place, fresh=False)


def _check_place(out: Path, *, fresh: bool) -> None:
    """Raises RunError when `out` is there and no run, or holds what is no part of one and `fresh` would remove it."""
    if out.exists() and not (out / RECORD).is_file() and (not out.is_dir() or any(map(_is_foreign, out.iterdir()))):
        raise RunError(f"{out} is there and is not a run", "give another --out, or remove it")
    if fresh and out.is_dir():
        others = sorted(path.name for path in out.iterdir() if path.name not in OWN and ".tmp-" not in path.name)
        if others:
            raise RunError(
                f"--fresh removes what is in {out}, and {', '.join(others[:3])} is no part of a run",
                "move that away, or give another --out",
            )


def begin(out: Path, record: dict[str, Any], config: Config, *, anew: bool) -> None:
    """Makes `out` this run's; `anew` removes what was there. Killed at any moment, it leaves what is told for a run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if anew:  # all that is in it, but not `out` itself: it may be a mount or a link
            (out / checkpoint.CONFIG).unlink(missing_ok=True)
            for old in set(out.iterdir()) - {out / RECORD, out / LOCK}:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        write_bytes(out / RECORD, json.dumps(record, indent=1).encode())
        write_bytes(out / checkpoint.CONFIG, recipe.to_toml(config).encode())
    except OSError as error:
        raise explain_os_error(error, "while starting the run", out) from error


def _short(key: str, value: Any) -> str:
    """A hash by its first digits; an objective with its arguments, which may differ at the end, as it is."""
    text = str(value or "nothing")
    return text[:12] if len(text) > 40 and key != "objective" else text


def _is_foreign(path: Path) -> bool:
    return path.name != LOCK and not path.name.startswith(f"{RECORD}.tmp-")
