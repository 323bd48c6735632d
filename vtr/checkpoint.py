"""Checkpoints: directories of plain files that appear whole, carry their own hashes, and are found newest first.

`RUN/checkpoints/step-00000500/` holds config.toml, model.safetensors, tokenizer/, state/ and sha256.json, the list of
the others. It is a run of its own: whatever takes a RUN takes one of these.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from vtr import plainjson
from vtr.atomic import explain_os_error, sync_folder
from vtr.errors import RunError
from vtr.plainfile import opened

FOLDER, HASHES, WEIGHTS, CONFIG = "checkpoints", "sha256.json", "model.safetensors", "config.toml"
READ_WHOLE = ("state", "tokenizer")  # folders whose every file is read
BEST = "best"  # of a run, a link to the checkpoint that scored best


def place(run: Path, step: int) -> Path:
    """Where the checkpoint of a step stands."""
    return run / FOLDER / f"step-{step:08d}"


def save(run: Path, step: int, write: Callable[[Path], None], keep: int) -> Path:
    """Lets `write(folder)` fill a new checkpoint, gives it its name when whole, and keeps the newest `keep`.

    Later ones that are torn, of a run that went on from an older one, are renamed: they must not count as the newest.
    Raises WorkError when the disk is full; all other checkpoints are then untouched.
    """
    final = place(run, step)
    aside = final.with_name(f".{final.name}.tmp-{os.getpid()}")
    for leftover in final.parent.glob(".step-*.tmp-*"):  # what a killed process had begun
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        write(aside)
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        hashes = {str(path.relative_to(aside)): sha256(path) for path in files}
        (aside / HASHES).write_text(json.dumps(hashes, indent=1))
        for path in [*files, aside / HASHES]:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if final.is_dir():  # the same step again, after a resume: the new one takes its place
            _remove(final)
        else:  # a file of that name is nobody's checkpoint
            _set_aside(final)
        aside.replace(final)
        sync_folder(final.parent)
    except OSError as error:
        raise explain_os_error(error, f"while writing {final.name}", run) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for later in steps(run):
        if later.name > final.name and check(later) is not None:
            _set_aside(later)
    best = (run / BEST).resolve()
    for old in steps(run)[:-keep]:
        if old != final and old.resolve() != best:
            with suppress(OSError):
                _remove(old)
    return final


def _set_aside(torn: Path) -> None:
    """Gives a checkpoint a name under which none is sought. It stays: what ails it may be the disk of the moment."""
    with suppress(OSError):
        away = torn.with_name(f"torn-{torn.name}")
        if os.path.lexists(torn):
            _remove(away)
            torn.replace(away)


def _remove(path: Path) -> None:
    """Whatever is there under that name; of a link the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mark_best(run: Path, path: Path) -> None:
    """Lets `run`/best point at the checkpoint `path`, which is then kept; the one that it pointed at may go."""
    aside = run / f".{BEST}.tmp-{os.getpid()}"
    try:
        aside.unlink(missing_ok=True)
        aside.symlink_to(Path(FOLDER) / path.name)
        aside.replace(run / BEST)
        sync_folder(run)
    except OSError as error:
        raise explain_os_error(error, "while marking the best checkpoint", run) from error


def steps(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, whole or not. Raises RunError where they may not be looked at."""
    try:
        return sorted(path for path in (run / FOLDER).iterdir() if path.name.startswith("step-"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # a glob would find none, and a run be begun anew
        raise RunError(f"{run / FOLDER} cannot be read: {error.strerror}", "see that you may read it") from error


def newest(run: Path) -> Path | None:
    """The newest checkpoint whose files are all there and unharmed; None without any.

    Raises RunError when there are checkpoints and not one of them is whole.
    """
    torn = []
    for path in reversed(steps(run)):
        problem = check(path)
        if problem is None:
            return path
        torn.append(problem)
    if torn:
        raise RunError(f"{run} has no checkpoint that is whole: {torn[0]}", "train it again with --fresh")
    return None


def check(path: Path) -> str | None:
    """What is wrong with the checkpoint at `path`, or None."""
    try:
        hashes: dict[str, str] = plainjson.load(path / HASHES)
        for name in (CONFIG, WEIGHTS):
            if name not in hashes:
                return f"{path / HASHES} does not name {name}"
        for name, wanted in hashes.items():
            named = PurePosixPath(name)
            if named.is_absolute() or ".." in named.parts:  # a checkpoint may come from anybody
                return f"{path / HASHES} names a file outside of the checkpoint: {name!r}"
            if not (path / name).is_file():  # a pipe would be read for ever
                return f"{path / name} is missing, or is no plain file"
            if sha256(path / name) != wanted:
                return f"{path / name} is not what was written"
        for found in [*path.iterdir(), *(found for folder in READ_WHOLE for found in (path / folder).rglob("*"))]:
            known = found.is_dir() or str(found.relative_to(path)) in hashes
            if not known and (not found.is_file() or (found.parent != path and not found.name.startswith("."))):
                return f"{found} was not there when it was written"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"{path / HASHES}: {error}"
    return None


def resolve(run: Path) -> Path:
    """The checkpoint to use for RUN, which may be a run or a checkpoint itself.

    Raises RunError when it is neither, or has nothing whole in it.
    """
    if run.is_symlink() and not run.exists():
        raise RunError(
            f"{run} is a link to {run.readlink()}, which is not there", "give the run, or a checkpoint of it"
        )
    if not run.is_dir():
        raise RunError(f"there is no run {run}", "give the --out of a `vtr pretrain` or `vtr finetune`")
    if (run / HASHES).is_file():
        problem = check(run)
        if problem is not None:
            raise RunError(problem, "use another checkpoint of the run")
        return run
    found = newest(run)
    if found is None:
        what = "is a shard directory, not a run" if (run / "index.parquet").is_file() else "holds no checkpoint"
        raise RunError(f"{run} {what}", "give the --out of a `vtr pretrain` or `vtr finetune` that has saved once")
    return found


def sha256(path: Path) -> str:
    """The SHA-256 of a regular file, in hexadecimal."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
