"""Where the video behind a row is: a file, or a member of a tar; its bytes in pieces, and pictures of it.

Only what the embeddings name can be asked for, by the number of a row. No path comes from anybody who asks.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image

from vtr.data import stored, video
from vtr.data.apart import LIMIT_S, LOST, Decoder
from vtr.data.containers import sniff
from vtr.data.index import ShardIndex
from vtr.data.remote import url_of
from vtr.data.spans import span_frames
from vtr.data.tar import VIDEO_EXTS
from vtr.errors import VideoError, VtrError
from vtr.retrieval.embeddings import Embeddings
from vtr.retrieval.origins import Origins
from vtr.retrieval.plan import SHARD

# What browsers play by their own means; whether they know the codec within, they find out themselves.
PLAYED = {"mp4": "video/mp4", "webm": "video/webm", "mov": "video/mp4", "ogv": "video/ogg"}
CHUNK = 1 << 18
HELD = 256  # pictures kept in memory
WIDEST = 480
ON_DISK = ("file:", "local:")


@dataclass(frozen=True)
class Place:
    """`size` bytes at `offset` of `path`; `kind` is the media type for a browser, "" where none plays it.

    What is far away has no path here: `fetch` gives all of its bytes.
    """

    path: Path
    offset: int
    size: int
    kind: str
    fetch: Callable[[], bytes] | None = None

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes `first` to `last`, both included, in pieces."""
        if self.fetch is not None:
            data = self.fetch()
            yield from (data[at : min(at + CHUNK, last + 1)] for at in range(first, last + 1, CHUNK))
            return
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            at = self.offset + first
            left = last - first + 1
            while left > 0 and (data := os.pread(handle, min(CHUNK, left), at)):
                yield data
                at, left = at + len(data), left - len(data)
        finally:
            os.close(handle)


class Media:
    """The videos behind the rows of planned embeddings; of others, none.

    Shards that the embeddings say are on the network are asked for only where they are those of `url`: embeddings may
    come from anybody. A picture is decoded apart, in `time_limit_s`; with `patience`, none is after so many were lost.
    """

    def __init__(
        self,
        directory: Path,
        rows: Embeddings,
        url: str | None = None,
        time_limit_s: float = LIMIT_S,
        patience: int | None = None,
    ) -> None:
        self._rows, self._origins = rows, Origins(directory, rows)
        self._url = url and url_of(url)
        self._pictures: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._lost: dict[int, VideoError] = {}  # rows whose video hung or crashed its decoder: once is enough
        self._lock, self._one = Lock(), Lock()
        self._decode = Decoder(time_limit_s, patience)

    @property
    def left_out(self) -> int:
        """How many pictures were not tried, since too many videos before them were lost."""
        return self._decode.left_out

    def refuse(self) -> None:
        """Has all pictures end in an error, those under way too: for when the page is about to end."""
        self._decode.refuse()

    def place(self, row: int) -> Place | None:
        """Where the video of a row is; None for one that is stored as pictures, has gone, or may not be read."""
        try:
            return self._place(row)
        except OSError:  # of a share that is not there just now, say: the other hits are none the worse
            return None

    def _place(self, row: int) -> Place | None:
        found = self._find(row)
        if isinstance(found, Path):
            if not found.is_file():
                return None
            with found.open("rb") as file:
                return Place(found, 0, found.stat().st_size, _kind(file.read(1024)))
        if found is not None:
            index, i = found
            for member in index.members(i):
                ending = member.ext.rsplit(".", 1)[-1]
                if ending in VIDEO_EXTS:
                    path = index.root / index.shards[index.shard_of[i]].name
                    if index.remote is not None:
                        return Place(path, 0, member.size, PLAYED.get(ending, ""), lambda: index.read_video(i))
                    if not path.is_file():
                        return None
                    with path.open("rb") as file:
                        file.seek(member.offset)
                        return Place(path, member.offset, member.size, _kind(file.read(min(1024, member.size))))
        return None

    def picture(self, row: int, number: int, of: int) -> bytes:
        """A JPEG of the row's span: of its `of` equal parts, the middle of part `number`. Raises VideoError."""
        key = row, number, of
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        with self._one:
            frame = self._frame(row, number, of)
        picture = Image.fromarray(np.ascontiguousarray(frame))
        picture.thumbnail((WIDEST, WIDEST))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=82)
        with self._lock:
            self._pictures[key] = file.getvalue()
            while len(self._pictures) > HELD:
                self._pictures.popitem(last=False)
        return file.getvalue()

    def _frame(self, row: int, number: int, of: int) -> npt.NDArray[np.uint8]:
        if row in self._lost:
            raise self._lost[row].with_traceback(None)
        try:
            return self._decoded(row, number, of)
        except VideoError as error:
            if error.kind in LOST:
                self._lost[row] = error
            raise

    def _decoded(self, row: int, number: int, of: int) -> npt.NDArray[np.uint8]:
        found = self._find(row)
        if isinstance(found, Path):
            return self._frame_of(video.read_file(found), self._span(row), number, of)
        if found is None:
            part = self._origins.part(row)
            if part is not None and not self._may_ask(part.root):
                hint = "give that URL with --shards, if you trust the embeddings"
                raise VideoError("missing", f"the embeddings say that this video is at {part.root}", hint)
            raise VideoError("missing", "nothing is known of where this video is", "embed it again with vtr embed")
        index, i = found
        info = index.info(i)
        if info.store != "frames" and info.decoder != "image":
            return self._frame_of(index.read_video(i), self._span(row), number, of)
        times = (np.arange(info.frames) + 0.5) * max(info.duration_s, 1e-6) / info.frames
        numbers = span_frames(times, self._span(row), of, info.duration_s)
        frames = self._decode(stored.decode, stored.fetch(index, i, [int(numbers[0, number])]))
        return np.asarray(frames[0])

    def _frame_of(self, data: bytes, span: npt.NDArray[np.float64], number: int, of: int) -> npt.NDArray[np.uint8]:
        numbers = span_frames(self._decode(video.frame_times, data), span, of, np.inf)
        return np.asarray(self._decode(video.read_frames, data, [int(numbers[0, number])], "pyav")[0])

    def _may_ask(self, root: str) -> bool:
        url = url_of(root)
        return url is None or url.startswith(ON_DISK) or url == self._url

    def _span(self, row: int) -> npt.NDArray[np.float64]:
        span = np.array([[self._rows.start_s[row], self._rows.end_s[row]]])
        return np.where(np.isnan(span), [[0.0, np.inf]], span)

    def _find(self, row: int) -> Path | tuple[ShardIndex, int] | None:
        part = self._origins.part(row)
        if part is None or part.kind != SHARD:
            return self._origins.file(row)
        index = _shards(part.root) if self._may_ask(part.root) else None
        i = _samples(part.root).get((part.items[0][0], self._rows.ids[row])) if index else None
        return None if index is None or i is None else (index, i)


def _kind(head: bytes) -> str:
    try:
        return PLAYED.get(sniff(head).extension, "")
    except VideoError as error:
        # An mp4 with its index behind its pictures looks cut from its first bytes alone.
        return PLAYED["mp4"] if error.kind == "truncated" else ""


@lru_cache(maxsize=16)
def _shards(root: str) -> ShardIndex | None:
    """None where the shards have gone, or are not what they were."""
    if url_of(root) is None and not Path(root).is_dir():
        return None
    try:
        return ShardIndex(root)
    except VtrError:
        return None


@lru_cache(maxsize=16)
def _samples(root: str) -> dict[tuple[str, str], int]:
    """(tar, key) -> number."""
    index = _shards(root)
    if index is None:
        return {}
    return {(index.shards[index.shard_of[i]].name, index.key(i)): i for i in range(len(index))}
