"""Plain WebDataset tars, each member as `webdataset.TarWriter(mtime=0)` writes it, with its place known.

Members stand in the order in which they are added, where that writer would sort those of a sample by name.

`webdataset` itself is not used to write: importing it loads torch, which would cost every worker process seconds and
hundreds of megabytes, and its writer does not say where the bytes went.
"""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

MAX_NAME = 100  # of the plain ustar name field; a longer name would need the prefix field
BLOCK = 512
RECORD = 10240  # a tar ends on a multiple of this


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar: its extension after the key, where its `size` bytes start, and the CRC-32 of them."""

    ext: str
    offset: int
    size: int
    crc32: int

    def holds(self, data: bytes) -> bool:
        """Whether `data` is what was written."""
        return len(data) == self.size and zlib.crc32(data) == self.crc32


class TarWriter:
    """Appends members to `file`, which it neither opens nor closes; `close` writes the end of the archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0  # bytes so far

    def add(self, key: str, ext: str, data: bytes) -> Member:
        """Writes `<key>.<ext>` and tells where; the same bytes whenever and wherever it is called."""
        head = header(f"{key}.{ext}", len(data))
        member = Member(ext, self.size + len(head), len(data), zlib.crc32(data))
        padding = -len(data) % BLOCK
        self._file.write(head)
        self._file.write(data)
        self._file.write(bytes(padding))
        self.size += len(head) + len(data) + padding
        return member

    def close(self) -> int:
        """Writes the end marker; returns the size of the whole tar in bytes."""
        self.size += self._file.write(ending(self.size))
        return self.size


def ending(size: int) -> bytes:
    """What follows the last member of a tar that has `size` bytes so far: its padding, and zeros to the end."""
    end = size + -size % BLOCK + 2 * BLOCK
    return bytes(end + -end % RECORD - size)


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member: those of an empty one, with name, size and sum filled in.

    To have tarfile make each takes as long as hashing 50 KB, and a frame store has dozens of members a sample.
    """
    written = name.encode("utf-8", "surrogateescape")
    if len(written) > MAX_NAME:  # it is split in two, or refused
        return _made(name, size)
    digits = b"%011o" % size
    head = bytearray(_BLANK)
    head[: len(written)] = written
    head[124:135] = digits
    head[148:154] = b"%06o" % (int(_BLANK[148:154], 8) + sum(written) + sum(digits) - 11 * ord("0"))
    return bytes(head)


def _made(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o444
    header.mtime = 0
    header.uname = header.gname = "bigdata"  # WebDataset's own habit
    return header.tobuf(tarfile.USTAR_FORMAT)


_BLANK = _made("", 0)
