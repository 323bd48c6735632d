"""`.pth` files read without running anything in them.

    zip (torch 1.6 on): name/data.pkl, name/data/0, name/data/1 ..., stored, not compressed
    legacy:             magic | protocol | system | object | storage keys | length and bytes of each storage

Sizes are checked against the file before memory is taken, and tensors are mapped from it, not read.
"""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vtr import bounds
from vtr.errors import DataError
from vtr.models.unpickle import Opaque, Refused, Storage, TooLarge, View, unpickle
from vtr.plainfile import opened

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SHARING = 4  # tensors may together be so many times larger than the file: tied weights share storage
WHY = "download it again, or check that it is the file you mean"


def read(path: Path) -> Any:
    """What `torch.save` wrote to `path`: tensors (mapped from the file) in plain containers, `Opaque` for the rest.

    Raises DataError for a file that is missing, torn, compressed, or larger unpacked than it can honestly be.
    """
    try:
        file = opened(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "give the path of a .pth file") from error
    try:
        with file:
            # A private copy, page by page where somebody writes: the file itself never changes.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            root, where = _read_zip(file, data) if data[:4] == b"PK\3\4" else _read_legacy(data)
        return _Tensors(data, where).fill(root)
    except (Refused, OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        todo = bounds.HINT if isinstance(error, TooLarge) else WHY
        raise DataError(f"{path} is no weights file that can be read: {error}", todo) from error
    except RecursionError as error:
        raise DataError(f"{path} is no weights file that can be read: it is nested too deep", WHY) from error


def _read_zip(file: BinaryIO, data: mmap.mmap) -> tuple[Any, Callable[[Storage], int]]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError) as error:
        raise Refused(f"torn ({error})") from error
    roots = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise Refused("it is a zip file that torch.save did not write")
    if sum(info.file_size for info in members.values()) > len(data):
        raise Refused("its parts are together larger than the file")
    prefix = roots[0].removesuffix("data.pkl")

    def place(name: str) -> tuple[int, int]:
        info = members.get(name)
        if info is None:
            raise Refused(f"{name} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Refused(f"{name} is compressed or encrypted, which torch.save never does")
        head = data[info.header_offset : info.header_offset + 30]
        if len(head) < 30 or head[:4] != b"PK\3\4":
            raise Refused(f"torn at {name}")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
        if start + info.file_size > len(data):
            raise Refused(f"torn at {name}")
        with memoryview(data) as whole, whole[start : start + info.file_size] as part:
            if zlib.crc32(part) != info.CRC:
                raise Refused(f"{name} is not what was written")
        return start, info.file_size

    order = members.get(f"{prefix}byteorder")
    if order is not None:
        start, size = place(order.filename)
        if data[start : start + size] != b"little":
            raise Refused("its numbers are big-endian")
    start, size = place(roots[0])
    root, end = unpickle(data, start)
    if end > start + size:
        raise Refused(f"torn at {roots[0]}")

    def where(storage: Storage) -> int:
        begin, length = place(f"{prefix}data/{storage.key}")
        if storage.numel * storage.dtype.itemsize != length:
            raise Refused(f"storage {storage.key} has {length} bytes, {storage.numel} {storage.dtype} were wanted")
        return begin

    return root, where


def _read_legacy(data: mmap.mmap) -> tuple[Any, Callable[[Storage], int]]:
    magic, at = unpickle(data, 0)
    if magic != MAGIC:
        raise Refused("torch.save did not write it, or a torch older than 0.2")
    protocol, at = unpickle(data, at)
    system, at = unpickle(data, at)
    if protocol != PROTOCOL or not isinstance(system, dict) or not system.get("little_endian", True):
        raise Refused("it is of another protocol, or its numbers are big-endian")
    storages: dict[str, Storage] = {}
    root, at = unpickle(data, at, storages)
    keys, at = unpickle(data, at)
    if not isinstance(keys, list):
        raise Refused("the list of its storages is missing")
    begin: dict[str, int] = {}
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or at + 8 > len(data):
            raise Refused(f"torn at storage {key[:80]!r}" if isinstance(key, str) else "a storage has no name")
        (numel,) = struct.unpack("<q", data[at : at + 8])
        if numel != storage.numel:
            raise Refused(f"storage {key} has {numel} values, {storage.numel} were wanted")
        begin[key] = at + 8
        at += 8 + numel * storage.dtype.itemsize
        if at > len(data):
            raise Refused(f"torn in storage {key}")

    def where(storage: Storage) -> int:
        if storage.key not in begin:
            raise Refused(f"storage {storage.key} is missing")
        return begin[storage.key]

    return root, where


class _Tensors:
    """Puts tensors where an object has `View`s, each container once, however often it is referred to."""

    def __init__(self, data: mmap.mmap, where: Callable[[Storage], int]) -> None:
        self.data, self.where = data, where
        self.flat: dict[tuple[str, torch.dtype], Tensor] = {}
        self.made: dict[int, tuple[Any, Any]] = {}  # by identity; the key's object is kept, so that its id stays its
        self.budget = bounds.at_most(SHARING) * len(data)

    def fill(self, value: Any) -> Any:
        if id(value) in self.made:
            return self.made[id(value)][1]
        if isinstance(value, View):
            made: Any = self.tensor(value)
        elif type(value) in (dict, OrderedDict, list):
            self.made[id(value)] = (value, value)
            for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
                value[key] = self.fill(item)
            return value
        elif type(value) is tuple:
            made = tuple(self.fill(item) for item in value)
        elif isinstance(value, Opaque):
            self.made[id(value)] = (value, value)
            value.args, value.state, value.items = (self.fill(x) for x in (value.args, value.state, value.items))
            return value
        else:
            return value
        self.made[id(value)] = (value, made)
        return made

    def tensor(self, view: View) -> Tensor:
        storage = view.storage
        self.budget -= math.prod(view.size) * storage.dtype.itemsize
        if self.budget < 0:
            raise TooLarge("its tensors are together far larger than the file")
        if 0 in view.size:
            return torch.empty(view.size, dtype=storage.dtype)
        named = (storage.key, storage.dtype)
        if named not in self.flat:
            self.flat[named] = self.values(storage)
        return self.flat[named].as_strided(view.size, view.stride, view.offset)

    def values(self, storage: Storage) -> Tensor:
        begin, size = self.where(storage), storage.dtype.itemsize
        if begin % size:  # a legacy file aligns nothing
            held: Any = bytearray(self.data[begin : begin + storage.numel * size])
            return torch.frombuffer(held, dtype=storage.dtype)
        return torch.frombuffer(self.data, dtype=storage.dtype, count=storage.numel, offset=begin)
