"""Media files found by name below a root, whatever folder and suffix they were downloaded to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from vtr.data.annotations.sample import VIDEO_SUFFIXES
from vtr.errors import DataError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES


def bare(name: str) -> str:
    """A media file's name without folder and media suffixes: `a/x.mov.mp4`, `x.mov`, `x..mp4` and `x` are all `x`.

    Only known suffixes go: what follows the last dot of `0001_00.00.51.926` belongs to the name.
    """
    name = name.rsplit("/", 1)[-1]
    stem, _, suffix = name.rpartition(".")
    while stem and (not suffix or f".{suffix.lower()}" in SUFFIXES):
        name = stem
        stem, _, suffix = name.rpartition(".")
    return name


def videos_below(root: Path) -> list[Path]:
    """The video files at any depth below `root`, in the order of their paths; hidden files and folders are left out.

    Raises DataError where there is none.
    """
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                found.append(Path(folder, name))
    if not found:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        raise DataError(f"{root} holds no video file", f"files with these endings are taken for videos: {suffixes}")
    return sorted(found, key=lambda path: path.relative_to(root).parts)


class MediaTree:
    """The media files below `root`, at any depth, links followed; hidden ones are left out. Walked when first asked."""

    def __init__(self, root: Path, suffix: str) -> None:
        self.root = root
        self.suffix = suffix

    def has(self, name: str) -> bool:
        """Whether there is a file called `name`, with any media suffix or none."""
        return bare(name) in self._files

    def find(self, name: str, *, folder: str = "", prefer: Sequence[str] = ()) -> str:
        """The path below `root` of the file called `name`; where it would be (in `folder`) if it is not there.

        Of several, those in a folder called `folder` come first (in any case), then one of the exact names `prefer`.
        Raises DataError when several are left.
        """
        found = self._files.get(bare(name), [])
        if folder and len(found) > 1:
            found = [at for at in found if PurePosixPath(at).parent.name.lower() == folder.lower()] or found
        if len(found) > 1:
            exact = [at for wanted in prefer for at in found if PurePosixPath(at).name == wanted]
            found = exact[:1] or found
        if len(found) > 1:
            raise DataError(
                f"{self.root} has several files for {bare(name)}: {', '.join(found[:3])}",
                "say which folder is meant with --root, or move the others away",
            )
        return found[0] if found else f"{folder}/{bare(name)}{self.suffix}".lstrip("/")

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The paths below `root` by bare name, sorted."""
        files: dict[str, list[str]] = {}
        seen = set()
        for top, folders, names in os.walk(self.root, followlinks=True):
            real = os.path.realpath(top)
            if real in seen:  # a link to a folder above would be walked for ever
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(top).relative_to(self.root)
            for name in sorted(names):
                stem = bare(name)
                if not name.startswith(".") and (stem != name or "." not in name):
                    files.setdefault(stem, []).append((below / name).as_posix())
        return files
