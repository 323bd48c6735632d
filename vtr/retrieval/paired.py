"""What is scored: texts and videos as unit vectors, and which text is of which video; from any tool's files.

Letters: C texts, N videos, E dimensions. Beside the two layouts of store.py, a folder of plain npy files is read:

    video.npy          (N, E) floats
    text.npy           (C, E) floats
    caption_video.npy  (C,) for each text the row of its video, counted from 0
    videos.txt         N lines, what the videos are called; optional
    captions.txt       C lines; optional; without both, nobody can tell which test set this is
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError
from vtr.retrieval.exact import Floats, Rows

VIDEO, TEXT, OWNER = "video.npy", "text.npy", "caption_video.npy"
IDS, CAPTIONS = "videos.txt", "captions.txt"
_ROWS = 8192


@dataclass(frozen=True)
class Paired:
    """(C, E) texts, (N, E) videos, and for each text the row (C,) of its video.

    `named`: whether `ids` and `captions` are those of the data, not numbers made up for want of names.
    `vectors_sha256`: of the vectors as they were read; "" where they were made just now.
    """

    text: Floats
    video: Floats
    owner: NDArray[np.int64]
    ids: list[str]  # N
    captions: list[str]  # C
    meta: dict[str, str] = field(default_factory=dict)
    named: bool = True
    vectors_sha256: str = ""

    @property
    def captioned(self) -> NDArray[np.bool_]:
        """(N,) which videos have a text; the others are distractors for texts and no queries."""
        return np.bincount(self.owner, minlength=len(self.video)) > 0

    def described(self) -> Paired:
        """The same without the videos that no text is of."""
        kept = self.captioned
        if kept.all():
            return self
        row = np.cumsum(kept) - 1
        ids = [name for name, keep in zip(self.ids, kept, strict=True) if keep]
        return replace(self, video=self.video[kept], owner=row[self.owner], ids=ids)

    def split_sha256(self) -> str | None:
        """Names the test set: which videos with which captions, in whatever order they stand; None without names."""
        return split_sha256(self.ids, self.captions, self.owner) if self.named else None


def split_sha256(ids: Sequence[str], captions: Sequence[str], owner: Rows) -> str:
    """SHA-256 of one line a video, sorted: the JSON list of its id and its captions, these in their own order."""
    several: list[list[str]] = [[] for _ in ids]
    for caption, video in zip(captions, owner.tolist(), strict=True):
        several[video].append(caption)
    lines = sorted(json.dumps([name, *own]) for name, own in zip(ids, several, strict=True))
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def read(directory: Path) -> Paired:
    """Embeddings of `vtr embed`, clip-retrieval's layout, Parquet of that shape, or plain npy files; made unit rows.

    Raises DataError: none of these, a torn file, a caption of no video, shapes that do not fit.
    """
    if directory.name in (VIDEO, TEXT) and directory.is_file():
        raise DataError(
            f"{directory} is a file, of several that belong together", f"give its folder, {directory.parent}"
        )
    if (directory / VIDEO).is_file() or (directory / TEXT).is_file():
        found = _plain(directory)
    else:
        from vtr.retrieval.embeddings import TEXT as OF_TEXT
        from vtr.retrieval.embeddings import VIDEO as OF_VIDEO
        from vtr.retrieval.store import read as read_export

        rows = read_export(directory)
        if OF_TEXT not in rows.modality or OF_VIDEO not in rows.modality:
            there = OF_VIDEO if OF_VIDEO in rows.modality else OF_TEXT
            raise DataError(
                f"{directory} holds embeddings of modality {there!r} alone, evaluation needs texts and videos",
                "embed with: vtr embed RUN --shards DIR --out DIR --captions",
            )
        text, video, owner = rows.pairs()
        texts = [c if isinstance(c, str) else " ".join(c) for c in rows.only(OF_TEXT).captions]
        found = Paired(text, video, owner, rows.only(OF_VIDEO).ids, texts, rows.meta, named=any(texts))
    digest = vectors_sha256(found.video, found.text)
    return replace(found, text=unit_rows(found.text), video=unit_rows(found.video), vectors_sha256=digest)


def vectors_sha256(*arrays: Floats) -> str:
    """SHA-256 of each array's shape and type, as JSON on a line, and of its rows, little-endian."""
    digest = hashlib.sha256()
    for rows in arrays:
        kind = rows.dtype.newbyteorder("<")
        digest.update(f"{json.dumps([*rows.shape, kind.str])}\n".encode())
        for start in range(0, len(rows), _ROWS):
            digest.update(np.ascontiguousarray(rows[start : start + _ROWS], dtype=kind).data)
    return digest.hexdigest()


def unit_rows(rows: Floats) -> Floats:
    """(N, E) floats -> float32 of length 1; a row that is not finite stays so, one of length 0 becomes NaN.

    Where all rows have length 1 already, to float32's own precision, they are left as they are, bit for bit. That is
    decided once for all of them: of two equal rows, one alone made anew might not equal the other any more.
    """
    lengths = (length for _, _, length in _measured(rows))
    if all(bool(np.all(~np.isfinite(length) | (np.abs(length - 1) < 1e-5))) for length in lengths):
        return rows
    out = np.empty(rows.shape, dtype=np.float32)
    for at, scaled, length in _measured(rows, whole=False):
        with np.errstate(invalid="ignore", divide="ignore"):
            out[at] = np.where(np.isfinite(length), scaled.T / length, np.nan).T
    return out


def _measured(rows: Floats, *, whole: bool = True) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Some rows at a time: where they are, they as float64 with a power of 2 taken out, and their lengths.

    The power is put back into the lengths if they are asked for `whole`. It is the largest entry's, so that squares
    neither overflow nor vanish, and it costs no bit of the others.
    """
    for start in range(0, len(rows), _ROWS):
        at = slice(start, start + _ROWS)
        part = rows[at].astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            most = np.abs(part).max(axis=1, initial=0)
            exponent = np.frexp(np.where(np.isfinite(most), most, 0))[1]
            scaled = np.ldexp(part, -exponent[:, None])
            length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
            yield at, scaled, np.ldexp(length, exponent) if whole else length


def _plain(directory: Path) -> Paired:
    for name in (VIDEO, TEXT, OWNER):
        if not (directory / name).is_file():
            raise DataError(
                f"{directory} has no {name}",
                f"plain embeddings are {VIDEO}, {TEXT} and {OWNER} (for each text its video's row, from 0)",
            )
    video, text = (array(directory / name, "f", 2, "floats (rows, dimensions)") for name in (VIDEO, TEXT))
    owner = array(directory / OWNER, "iu", 1, "one integer a text")
    if len(owner) != len(text):
        raise DataError(f"{directory / OWNER} has {len(owner)} rows, {directory / TEXT} has {len(text)}")
    wrong = np.flatnonzero((owner < 0) | (owner >= len(video)))
    if len(wrong):
        raise DataError(
            f"{directory / OWNER} gives text {wrong[0]} the video {owner[wrong[0]]}, but there are {len(video)} videos",
            "it holds rows of video.npy, counted from 0",
        )
    ids = lines(directory / IDS, len(video)) or [str(i) for i in range(len(video))]
    first = {name: row for row, name in reversed(list(enumerate(ids)))}
    twice = next((row for row, name in enumerate(ids) if first[name] != row), None)
    if twice is not None:
        raise DataError(
            f"{directory / IDS} has {ids[twice]!r} on the lines {first[ids[twice]] + 1} and {twice + 1}",
            "give each video an id of its own",
        )
    captions = lines(directory / CAPTIONS, len(text)) or [f"text {i}" for i in range(len(text))]
    named = all((directory / name).is_file() for name in (IDS, CAPTIONS))
    return Paired(text, video, owner.astype(np.int64), ids, captions, named=named)


def array(path: Path, kinds: str, ndim: int, wanted: str) -> NDArray[Any]:
    """The npy file, mapped. Raises DataError: torn, or not of the wanted kind and number of dimensions."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # np.load takes an npz too
    except Exception as error:  # numpy parses the header as Python literals, with every error that they have
        raise DataError(f"{path} cannot be read as npy: {error}", "write it anew with numpy.save") from error
    if array.ndim != ndim or array.dtype.kind not in kinds or not array.size:
        raise DataError(f"{path} has shape {array.shape} and type {array.dtype}, wanted {wanted}")
    return array


def lines(path: Path, count: int) -> list[str]:
    """The lines of a UTF-8 file, none where there is none. Raises DataError: not `count` of them."""
    if not path.is_file():
        return []
    # Not splitlines: a caption may have a form feed, or another of the signs that it would part lines at, in it.
    found = path.read_bytes().decode("utf-8-sig", errors="replace").split("\n")
    found = [line.removesuffix("\r") for line in (found[:-1] if found[-1] == "" else found)]
    if len(found) != count:
        raise DataError(f"{path} has {len(found)} lines, wanted {count}: one for each row")
    return found
