"""The tars of a directory, open for reading by offset: those used last stay open, up to a number of them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from vtr.errors import DataError

OPEN_FILES = 64


def read_at(handle: int, size: int, offset: int) -> bytes:
    """`size` bytes at `offset` of an open file, fewer only where it ends.

    One read of the system may return less than was asked, and gives at most two gigabytes.
    """
    data = os.pread(handle, size, offset)
    while len(data) < size and (more := os.pread(handle, size - len(data), offset + len(data))):
        data += more
    return data


class TarFiles:
    """The files below `root` by name; several threads may read at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # lru_cache and no dictionary of ours: it stays whole when closing a file lets another thread run in the middle
        self._file = lru_cache(OPEN_FILES)(lambda name: _File(root / name))

    def read(self, name: str, size: int, offset: int) -> bytes:
        """`size` bytes at `offset` of `name`, fewer only where it ends. Raises DataError when it cannot be opened."""
        return self._file(name).read(size, offset)


class _File:
    """An open file that closes itself when the last one who reads from it lets go."""

    __slots__ = ("handle",)

    def __init__(self, path: Path) -> None:
        self.handle = -1
        try:
            self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror}", "put the shard back") from error

    def read(self, size: int, offset: int) -> bytes:
        return read_at(self.handle, size, offset)

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
