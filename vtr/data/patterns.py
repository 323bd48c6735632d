"""Which tars a path means: a directory, one tar, or a pattern such as `shards/{000..010}.tar` or `shards/*.tar`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtr import bounds
from vtr.errors import DataError

MOST = 1_000_000  # tars that a pattern may name
SHELL = re.compile(r"^[a-z][a-z0-9+]+:|::")  # pipe: and addresses, which WebDataset would run or fetch


@dataclass(frozen=True)
class Tars:
    """`names` of tars below the directory `root`, in order."""

    root: Path
    names: tuple[str, ...]


def is_pattern(path: str) -> bool:
    """Whether `path` names tars and not a directory."""
    return path.endswith(".tar") or any(letter in path for letter in "{*?[")


def at_url(url: str) -> tuple[str, tuple[str, ...]]:
    """The directory and the names of the tars that `url` means, braces alone being expanded: nothing is asked there.

    Raises DataError: stars, which would need a listing, or several directories.
    """
    if any(letter in url for letter in "*?["):
        raise DataError(f"{url} would need a listing of what is there", "count the tars: 'URL/{000..010}.tar'")
    found = [one.rpartition("/") for one in dict.fromkeys(_expand(url))]
    if len({root for root, _, _ in found}) > 1:
        raise DataError(f"{url} names several directories", "give --shards once for each")
    return found[0][0], tuple(name for _, _, name in found)


def find(path: str) -> Tars:
    """The tars that `path` means. Of several directories, `root` is the one that holds them all.

    Raises DataError: none, one that is missing, a pattern that cannot be read, or an address.
    """
    if SHELL.search(path):
        raise DataError(f"{path} is no path: indexes are made of local tars", "download the tars, or name a folder")
    if not is_pattern(path) or os.path.isdir(path):  # noqa: PTH112 (a name too long is none)
        root = Path(path)
        if not root.is_dir():
            raise DataError(f"{path} does not exist", "name a directory of tars, or a pattern: 'shards/{000..010}.tar'")
        names = tuple(sorted(tar.name for tar in root.glob("*.tar")))
        if not names:
            raise DataError(f"{path} has no tars", "name the directory that has them, or a pattern: 'shards/*.tar'")
        return Tars(root, names)
    paths = list(dict.fromkeys(_expand(path)))  # each once, in the order of the pattern
    if not paths:
        raise DataError(f"no file is called {path}", "quote the pattern, so that it is vtr that expands it")
    for one in paths:
        if not os.path.isfile(one):  # noqa: PTH113
            raise DataError(f"{one} does not exist, {path} names it", "name the tars that are there")
    root = Path(os.path.commonpath([os.path.dirname(one) or "." for one in paths]))  # noqa: PTH120
    return Tars(root, tuple(Path(os.path.relpath(one, root)).as_posix() for one in paths))


def matches(path: Path, pattern: str) -> bool:
    """Whether the absolute `path` is, or would be if it were there, one of the tars that `pattern` names."""
    import braceexpand

    _refuse_many(pattern)
    return any(path.match(os.path.abspath(one)) for one in braceexpand.braceexpand(pattern))  # noqa: PTH100


def _refuse_many(pattern: str) -> None:
    if _count(pattern) > (most := bounds.at_most(MOST)):
        raise DataError(f"{pattern} names more than {most} tars", f"name fewer at once; {bounds.HINT}")


def _count(pattern: str) -> int:
    """How many names braces unfold to: counted before they do, for braceexpand holds what stands in braces at once."""
    open_ = [[0, 1, 0]]  # of each brace: names up to its last comma, names since, and where it began
    escaped = False
    for at, letter in enumerate(pattern):
        if escaped or letter == "\\":
            escaped = not escaped
        elif letter == "{":
            open_.append([0, 1, at])
        elif letter == "," and len(open_) > 1:
            open_[-1][0], open_[-1][1] = sum(open_[-1][:2]), 1
        elif letter == "}" and len(open_) > 1:
            before, since, began = open_.pop()
            open_[-1][1] *= before + since if before else max(since, _range(pattern[began : at + 1]))
    return math.prod(since for _, since, _ in open_)


def _range(braces: str) -> int:
    """How many names `{FIRST..LAST}` or `{FIRST..LAST..STEP}` means; 1 for anything else in braces."""
    import braceexpand

    if numbers := re.fullmatch(r"\{(-?\d{1,4300})\.\.(-?\d{1,4300})(?:\.\.-?(\d{1,4300}))?\}", braces):
        first, last, step = (int(number or 1) for number in numbers.groups())
        return abs(last - first) // (step or 1) + 1
    letters = re.fullmatch(r"\{[A-Za-z]\.\.[A-Za-z](\.\.-?\d{1,4300})?\}", braces)
    return sum(1 for _ in braceexpand.braceexpand(braces)) if letters else 1


def _expand(pattern: str) -> Iterator[str]:
    import glob

    import braceexpand

    _refuse_many(pattern)
    try:
        for one in braceexpand.braceexpand(pattern):
            yield from sorted(glob.glob(one)) if glob.has_magic(one) else [one]  # noqa: PTH207
    except (ValueError, RecursionError) as error:
        raise DataError(f"the braces of {pattern} do not match", "write it like 'shards/{000..010}.tar'") from error
