"""A shard directory opened by its index: any sample's bytes by its number, read by offset and checked.

Numbers go from 0 in the order of the index. Columns stay arrow and numpy arrays and are loaded when first asked for, so
opening a million samples makes no million objects. A ShardIndex pickles to its path; a process opens its own files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vtr.data import index_file, patterns
from vtr.data.index_check import check as check_rows
from vtr.data.index_file import Shard
from vtr.data.order import Subset
from vtr.data.ours import SKIPPED
from vtr.data.places import Places
from vtr.data.present import check_directory, check_shards
from vtr.data.remote import Remote, url_of
from vtr.data.tar import VIDEO_EXTS
from vtr.data.tarfiles import TarFiles
from vtr.data.tarwriter import Member
from vtr.errors import DataError, VideoError

ANEW_THERE = "have it made anew where the shards are (vtr inspect DIR --index), or copy them here and do it here"
IMAGE = "image"  # the decoder of a sample that is an image: a clip of one frame


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """What the index knows of one sample beside its bytes. `frames` and `fps` are those of what is stored."""

    key: str
    shard: str
    captions: list[str]
    frames: int
    fps: float
    duration_s: float
    width: int
    height: int
    split: str
    sha256: str
    decoder: str
    store: str


FACTS = tuple(field.name for field in fields(SampleInfo) if field.name not in ("key", "shard", "captions"))


class ShardIndex:
    """N samples in the tars of one directory. `shard_of` (N,) int32 says which of `shards` each one is in."""

    def __init__(self, root: Path | str, only: tuple[str, ...] | None = None) -> None:
        """`only`: the names of the tars whose samples it is to hold; the others are as if they were not there."""
        url = url_of(root)
        self.remote = None if url is None else Remote(url)
        if self.remote is not None:
            self.remote.fetch_whole(index_file.NAME)
        self.root = Path(root) if self.remote is None else self.remote.folder  # where the index is
        self.where = str(root) if url is None else url
        with self._by_its_name():
            header = index_file.read_header(self.root / index_file.NAME)
        if not header.shards:
            raise DataError(f"{root} holds no samples", f"{root}/{SKIPPED} may say why")
        self.digest: str = header.digest
        self._whole = header.digest  # of all tars, where `digest` is that of those that are held
        self.shards: tuple[Shard, ...] = header.shards
        self.limits = header.limits
        self.only: tuple[str, ...] | None = None
        self._rows: Any = None
        self._tars = TarFiles(self.root)
        self._facts: dict[str, Any] = {}
        self._length = 0
        shard = self._column("shard")
        self._length = len(shard)
        if only is not None and set(only) != {s.name for s in self.shards}:
            self._choose(only, shard)
            shard = self._column("shard")
        places = {s.name: place for place, s in enumerate(self.shards)}
        lookup = np.array([places.get(name, -1) for name in shard.dictionary.to_pylist()], np.int32)
        self.shard_of: npt.NDArray[np.int32] = lookup[shard.indices.to_numpy()]
        self._places = Places(self._column)
        with self._by_its_name():
            check_rows(self.root / index_file.NAME, self.shards, self.shard_of, self._places, self._fact_column)

    @classmethod
    def open(cls, root: Path | str) -> ShardIndex:
        """Opens the shard directory `root` and sees that its tars are there, in their recorded sizes.

        `root` may also be a pattern, such as `shards/{000..010}.tar`: then it holds the samples of these tars alone.
        Raises DataError: no such directory, no index in it, an index that is damaged or empty, a missing or cut tar,
        one that the index does not know.
        """
        if patterns.is_pattern(str(root)) and not Path(root).is_dir():
            return cls._open_tars(str(root))
        if url_of(root) is not None:
            return cls(root)  # each read sees for itself that its bytes are there
        check_directory(Path(root))
        index = cls(root)
        check_shards(index.root, index.shards)
        return index

    @classmethod
    def _open_tars(cls, pattern: str) -> ShardIndex:
        if (url := url_of(pattern)) is not None:
            return cls(*patterns.at_url(url))
        tars = patterns.find(pattern)
        check_directory(tars.root)
        index = cls(tars.root, tars.names)
        check_shards(tars.root, index.shards)
        return index

    def _choose(self, only: tuple[str, ...], shard: Any) -> None:
        """Leaves the samples of the tars `only`, in the order of the index."""
        wanted = set(only)
        if unknown := [name for name in only if name not in {s.name for s in self.shards}]:
            again = "" if self.remote is not None else f", or index all of them anew: vtr inspect {self.where} --index"
            raise DataError(
                f"{unknown[0]} is not in the index of {self.where}, which has {len(self.shards)} tars",
                f"name only what it has{again}",
            )
        self.only = only
        names = np.array([name in wanted for name in shard.dictionary.to_pylist()])
        self._rows = pa.array(np.flatnonzero(names[shard.indices.to_numpy()]))
        self.shards = tuple(s for s in self.shards if s.name in wanted)
        self.digest = hashlib.sha256("\n".join([self.digest, *(s.name for s in self.shards)]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.shard_of)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.where, self.only, self.digest)

    def subsets(self) -> list[Subset]:
        """Its videos and its images, as far as it has any, each weighing as many as they are."""
        still = self.facts("decoder") == IMAGE
        found = []
        for kind in (False, True):
            numbers = np.flatnonzero(still == kind)
            if len(numbers):
                found.append(Subset(numbers, self.shard_of[numbers], Fraction(len(numbers)), kind))
        return found

    def key(self, i: int) -> str:
        """The key of sample `i`."""
        return str(self._keys[i])

    def captions(self, i: int) -> list[str]:
        """The captions of sample `i`, in the order of the annotations. Raises DataError when it has none."""
        found = [str(caption) for caption in self._captions[i]]
        if not found:
            raise DataError(f"{self.key(i)} in {self.where} has no caption", "make its index anew")
        return found

    def all_captions(self) -> Any:
        """The captions of all samples, an arrow list array of N rows."""
        return self._column("captions")

    def info(self, i: int) -> SampleInfo:
        """All that the index knows of sample `i` beside its bytes."""
        facts: dict[str, Any] = {name: self.fact(i, name) for name in FACTS}
        return SampleInfo(self.key(i), self.shards[self.shard_of[i]].name, self.captions(i), **facts)

    def fact(self, i: int, name: str) -> Any:
        """What sample `i` has in one column of plain values, such as `frames`; loads no other."""
        return self._fact_column(name)[i].as_py()

    def facts(self, name: str) -> npt.NDArray[Any]:
        """(N,) what `fact` says of each sample."""
        return np.asarray(self._fact_column(name).to_numpy(zero_copy_only=False))

    def members(self, i: int, exts: Collection[str] | None = None) -> list[Member]:
        """The members of sample `i`, in the order of the tar; only those of `exts` when given."""
        return self._places.members(i, exts)

    def sums(self, first: int, end: int) -> npt.NDArray[np.uint32]:
        """The CRC-32 of all members of the samples `first` to `end` - 1, in their order."""
        return self._places.sums(first, end)

    def read(self, i: int, exts: Iterable[str] | None = None) -> dict[str, bytes]:
        """The bytes of sample `i` by extension, in the order of the tar; only those of `exts` when given.

        Raises VideoError, `corrupt` or `truncated`, when they are not what was written.
        """
        members = self.members(i, None if exts is None else set(exts))
        return dict(zip([m.ext for m in members], self._read(i, members), strict=True))

    def read_video(self, i: int) -> bytes:
        """The bytes of the video file of sample `i`. Raises as `read`; DataError when it has none."""
        for member in self.members(i):
            if member.ext.rsplit(".", 1)[-1] in VIDEO_EXTS:
                return self._read(i, [member])[0]
        has = ", ".join(member.ext for member in self.members(i)[:4])
        raise DataError(f"{self.key(i)} in {self.where} has no video member; it has {has}", "read its frames instead")

    def prefetch(self, samples: Sequence[int], exts: Collection[str]) -> None:
        """Of tars at a URL, brings the members `exts` of `samples`, all in one tar, in one go; `read` has them then."""
        members = [member for i in samples for member in self.members(i, exts)] if self.remote is not None else []
        if self.remote is not None and members:
            self.remote.read(self._whole, self.shards[self.shard_of[samples[0]]].name, members)

    def _read(self, i: int, members: Sequence[Member]) -> list[bytes]:
        tar = self.shards[self.shard_of[i]].name
        if self.remote is None:
            found = [self._tars.read(tar, member.size, member.offset) for member in members]
        else:
            found = self.remote.read(self._whole, tar, members)
        for member, data in zip(members, found, strict=True):
            if not member.holds(data):
                raise self._damaged(i, member, data)
        return found

    def _damaged(self, i: int, member: Member, data: bytes) -> VideoError:
        name = f"{self.key(i)}.{member.ext} in {self.where}/{self.shards[self.shard_of[i]].name}"
        hint = "copy the shard again, or find all damage with: vtr inspect DIR --verify"
        if len(data) < member.size:
            return VideoError("truncated", f"{name} ends after {len(data)} of {member.size} bytes", hint)
        return VideoError("corrupt", f"{name} has other bytes than were written (CRC-32)", hint)

    def _column(self, name: str) -> Any:
        path = self.root / index_file.NAME
        with self._by_its_name():
            if index_file.read_header(path).digest != self._whole:  # columns come late, and must be of one index
                raise _changed(self.where)
            found = index_file.read_column(path, name)
            if len(found) != (self._length or len(found)):
                raise DataError(f"{path} is damaged: {len(found)} values of {name}", index_file.ANEW)
        return found if self._rows is None else found.take(self._rows)

    @contextmanager
    def _by_its_name(self) -> Iterator[None]:
        """Errors of an index at a URL name that, not the copy of it here, and say what can be done there."""
        try:
            yield
        except DataError as error:
            if self.remote is None:
                raise
            message = error.message.replace(str(self.root), self.remote.url)
            raise DataError(message, error.hint.replace(index_file.ANEW, ANEW_THERE)) from error

    @cached_property
    def _keys(self) -> Any:
        return self._column("key")

    @cached_property
    def _captions(self) -> Any:
        return _Lists(self._column("captions"))

    def _fact_column(self, name: str) -> Any:
        if name not in self._facts:
            self._facts[name] = self._column(name)
        return self._facts[name]


class _Lists:
    """A column of lists, each row fetched as a plain list of strings."""

    def __init__(self, column: Any) -> None:
        self._starts, self._values = column.offsets.to_numpy(), column.values

    def __getitem__(self, i: int) -> list[str]:
        return list(self._values[self._starts[i] : self._starts[i + 1]].to_pylist())


def _reopen(root: str, only: tuple[str, ...] | None, digest: str) -> ShardIndex:
    index = ShardIndex(root, only)
    if index.digest != digest:
        raise _changed(root)
    return index


def _changed(root: str) -> DataError:
    return DataError(f"{root} was sharded anew while it was in use", "start again")
