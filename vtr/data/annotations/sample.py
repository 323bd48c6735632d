"""What every reader returns: samples, each one video with its captions and the key that names it in a shard."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeAlias

from vtr.errors import DataError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".wmv",
    ".3gp", ".ogv", ".gif",
))
# fmt: on
KEY_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Sample:
    """One video, its captions and its key (`[A-Za-z0-9_-]`, at most 80 characters).

    `video` is a path, or a callable that makes the file's bytes; a callable must survive pickling to a worker process.
    `source` is how the annotations name the video; it stands in reports and in the sample's json.
    Without captions a sample is not written: sharding reports it as skipped, kind `no-caption`.
    """

    key: str
    video: Path | Callable[[], bytes]
    captions: tuple[str, ...]
    split: str = "train"
    meta: Mapping[str, JSON] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What the user may ask of any reader.

    `split`: only the samples of that split; where the annotations name no splits, the name to give them.
    `limit`: only the first so many samples. `root`: where relative video paths start. `seed`: of made-up data.
    `tell` hears now and then how many samples have been read, `warn` what the user should know of them.
    """

    split: str | None = None
    limit: int | None = None
    root: Path | None = None
    seed: int = 0
    tell: Callable[[int], None] | None = field(default=None, compare=False)
    warn: Callable[[str], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise DataError(f"a limit of {self.limit} samples, at least 1 is needed", "leave --limit out for all")

    def count(self, samples: int) -> None:
        """To be called after each sample: tells every thousandth number to `tell`."""
        if self.tell is not None and samples % 1000 == 0:
            self.tell(samples)

    def announce(self, warning: str) -> None:
        """To be called with what the user should know of the samples: tells it to `warn`."""
        if self.warn is not None:
            self.warn(warning)


Reader: TypeAlias = Callable[[str, ReaderOptions], list[Sample]]


def make_key(name: str | PurePath) -> str:
    """A WebDataset key from a video's relative path (without its suffix) or from an identifier.

    Folders are joined by `_`; a dot or a space becomes `-`, because WebDataset ends a key at its first dot. Where more
    than that is lost (other signs, other alphabets, a very long name), a hash of the whole keeps two names apart.
    """
    parts = [part for part in PurePath(name).parts if part not in ("..", ".", "/", "\\")]
    whole = "_".join(parts)
    key = re.sub(r"[. ]", "-", whole)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", key)
    if plain == key and 0 < len(key) <= KEY_LENGTH:
        return key
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{plain[: KEY_LENGTH - 11]}-{digest}".lstrip("-")


def below(root: Path, name: str, where: str) -> Path:
    """The path of the file `name` below `root`, which annotations of anybody's may not leave.

    By the names alone; `refuse_links_out` looks at what lies there. Raises DataError for one that lies elsewhere, or
    that no file can have.
    """
    path = root / name
    top, whole = os.path.abspath(root), os.path.abspath(path)  # noqa: PTH100
    if "\0" in name or not Path(os.path.relpath(whole, top)).name or not Path(whole).is_relative_to(top):
        raise DataError(
            f"{where} names {name!r}, which is no file below {root}",
            "give the folder that holds all of them with --root, and paths below it",
        )
    return path


def refuse_links_out(root: Path, paths: Iterable[Path]) -> None:
    """Raises DataError for the first of `paths`, all below `root`, that a link leads out of it."""
    top = os.path.realpath(root)
    folders: dict[str, str] = {}  # many files, few folders: each is resolved once
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(folders[folder], name)  # noqa: PTH114, PTH118
        if not Path(real).is_relative_to(top):
            raise DataError(
                f"{path} is a link that leads out of {root}, to {real}",
                f"if such links are yours, say so with --root {root}",
            )


def refuse_duplicates(samples: Iterable[Sample], where: str, hint: str = "rename one of them") -> None:
    """Raises DataError when two samples share a key, naming both videos; `hint` is what the user may do."""
    seen: dict[str, str] = {}
    for sample in samples:
        if sample.key in seen:
            raise DataError(
                f"{where}: two videos have the key {sample.key!r}: {seen[sample.key]!r} and {sample.source!r}",
                hint,
            )
        seen[sample.key] = sample.source


def select(samples: list[Sample], options: ReaderOptions, where: str) -> list[Sample]:
    """The samples that `options.split` and `options.limit` ask for, in order.

    Raises DataError when no sample is of that split.
    """
    if options.split is not None:
        found = sorted({sample.split for sample in samples})
        samples = [sample for sample in samples if sample.split == options.split]
        if not samples:
            raise DataError(f"{where} has no sample of split {options.split!r}", f"it has: {', '.join(found)}")
    return samples[: options.limit]
