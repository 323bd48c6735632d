"""What is to be embedded, cut into parts: the tars of a shard directory, video files, lines of text."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr.data.annotations.media import videos_below
from vtr.data.captions import json_of
from vtr.data.index import ShardIndex
from vtr.data.manifest import limits_of_index
from vtr.errors import DataError
from vtr.plaintext import warn
from vtr.retrieval.plan import FILES, SHARD, TEXT_LINES, Part, printable

LARGEST, SMALLEST, PARTS = 256, 8, 16  # video files in a part: a folder is cut into about so many, for processes


def of_shards(root: Path | str) -> list[Part]:
    """A part for each tar of the shard directory or URL `root`, or of those that a pattern names, in their order.

    Raises DataError as `ShardIndex.open`.
    """
    index = ShardIndex.open(root)
    for line in limits_of_index(index):
        warn(line)
    where = str(index.root.resolve()) if index.remote is None else index.where
    chosen = {shard.name for shard in index.shards}
    if index.only is not None:
        index = ShardIndex(index.where)  # the samples are numbered through all of it
    edges = np.flatnonzero(np.diff(index.shard_of, prepend=-1, append=-1))
    if len(edges) - 1 != len(np.unique(index.shard_of)):
        raise DataError(f"the samples of {root} do not stand tar by tar in its index", "make its index anew")
    parts = []
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        name = index.shards[index.shard_of[first]].name
        if name not in chosen:
            continue
        parts.append(Part(SHARD, where, ((name, end - first, _held(index, range(first, end))),)))
    return parts


def samples_of(index: ShardIndex, part: Part) -> range:
    """The samples of `index` that the tar `part` holds. Raises DataError when they are not those that were planned."""
    tar, count, digest = part.items[0]
    of = next((number for number, shard in enumerate(index.shards) if shard.name == tar), -1)
    places = np.flatnonzero(index.shard_of == of)
    samples = range(int(places[0]), int(places[0]) + len(places)) if len(places) else range(0)
    if len(samples) != count or _held(index, samples) != digest:
        raise DataError(
            f"{tar} in {index.where} is not what was to be embedded: these shards were made anew since",
            f"give --shards {index.where} once more: then what has changed is embedded",
        )
    return samples


def _held(index: ShardIndex, samples: range) -> str:
    """Names what a tar holds: keys, captions and the bytes of all members."""
    state = hashlib.sha256(json.dumps([[index.key(i), index.captions(i)] for i in samples]).encode())
    state.update(index.sums(samples.start, samples.stop).tobytes())
    return state.hexdigest()


def of_videos(path: Path) -> list[Part]:
    """The video files under the folder `path`, at any depth, in the order of their paths; or the one file `path`.

    Raises DataError: nothing there, or no video file.
    """
    if path.is_file():
        return [_files(path.parent, [path])]
    if not path.is_dir():
        raise DataError(f"{path} does not exist", "give a folder of videos, or one video file")
    found = videos_below(path)
    size = min(LARGEST, max(SMALLEST, -(-len(found) // PARTS)))
    return [_files(path, found[at : at + size]) for at in range(0, len(found), size)]


def of_text(path: Path) -> list[Part]:
    """The captions of a text file, one a line, `id<TAB>caption` or a caption alone; empty lines are left out.

    Without an id of its own a line gets FILE:NUMBER. Raises DataError: no such file, not UTF-8, nothing in it.
    """
    rows, name = read_lines(path), printable(path.name)
    items = [tuple(line.split("\t", 1)) if "\t" in line else (f"{name}:{number}", line) for number, line in rows]
    return [Part(TEXT_LINES, str(path.resolve()), tuple(items))]


def read_lines(path: Path) -> list[tuple[int, str]]:
    """(number, text) of the lines of a UTF-8 file that are not empty. Raises DataError as `of_text`."""
    if not path.is_file():
        raise DataError(f"{path} {'is no file' if path.exists() else 'does not exist'}", "give a file, one text a line")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise DataError(f"{path} has no text in it", "write one text a line")
    return found


def originals(index: ShardIndex, tar: str, samples: range) -> list[str]:
    """What each of the `samples`, all in `tar`, was made from, as its json says; the tar where it does not.

    Ours names the file or the id that the annotations gave as `source`, video2dataset the address as `url`.
    """
    index.prefetch(samples, ["json"])
    found = []
    for i in samples:
        about = json_of(index.read(i, ["json"]))
        names = (about.get(key) for key in ("source", "url"))
        found.append(next((name for name in names if isinstance(name, str) and name), tar))
    return found


def captions_beside(video: Path) -> list[str]:
    """The captions of a video file: the lines of the `.txt` of its name beside it, none where there is none."""
    text = video.with_suffix(".txt")
    if not os.path.isfile(text) or not text.read_bytes().strip():  # noqa: PTH113  (Path's minds a name that is too long)
        return []
    return [line for _, line in read_lines(text)]


def _files(root: Path, files: Sequence[Path]) -> Part:
    items: list[tuple[Any, ...]] = []
    for file in files:
        try:
            stat = file.stat()
            facts = (stat.st_size, stat.st_mtime_ns)
        except OSError:  # a link to nowhere or to itself: whoever decodes it says so
            facts = (0, 0)
        captions = captions_beside(file)
        words = hashlib.sha256(json.dumps(captions).encode()).hexdigest()[:16] if captions else ""
        items.append((file.relative_to(root).as_posix(), *facts, words))
    return Part(FILES, str(root.resolve()), tuple(items))
