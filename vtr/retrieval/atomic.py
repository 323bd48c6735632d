"""Files that appear under their names whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vtr.errors import WorkError


@contextmanager
def written_aside(paths: Sequence[Path], remove: Sequence[Path] = ()) -> Iterator[list[Path]]:
    """Names to write to, one beside each of `paths`; when all are written and on disk they take the names, in order.

    `remove` goes just before, so that an older, longer set of files leaves none behind. After an error neither is
    touched and nothing stays aside; after a kill a hidden `.NAME.PID.partial` may. Raises WorkError: the disk is full.
    """
    asides = [path.with_name(f".{path.name}.{os.getpid()}.partial") for path in paths]
    try:
        for folder in {path.parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        yield asides
        for aside in asides:
            _sync(aside)
        for old in remove:
            old.unlink(missing_ok=True)
        for aside, path in zip(asides, paths, strict=True):
            aside.replace(path)
        for folder in {path.parent for path in paths}:
            _sync(folder)
    except OSError as error:
        raise WorkError(
            f"cannot write {paths[0]}: {error.strerror or error}", "is the disk full, or may you not write there?"
        ) from error
    finally:
        for aside in asides:
            with suppress(OSError):  # nothing was begun, or the folder cannot even be looked into
                aside.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
