"""The tars of a directory, open for reading by offset: those used last stay open, up to a number of them."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from vtr.errors import DataError

OPEN_FILES = 64


class TarFiles:
    """The files below `root` by name; several threads may read at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: OrderedDict[str, _File] = OrderedDict()

    def read(self, name: str, size: int, offset: int) -> bytes:
        """`size` bytes at `offset` of `name`, fewer only where it ends. Raises DataError when it cannot be opened."""
        return self._file(name).read(size, offset)

    def _file(self, name: str) -> _File:
        try:
            self._open.move_to_end(name)
            return self._open[name]
        except KeyError:  # not open, or closed by another thread just now
            file = self._open[name] = _File(self.root / name)
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
            return file


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
        """One read of the system may return less than was asked."""
        data = os.pread(self.handle, size, offset)
        while len(data) < size and (more := os.pread(self.handle, size - len(data), offset + len(data))):
            data += more
        return data

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
