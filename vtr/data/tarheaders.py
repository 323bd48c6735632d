"""The headers of a tar, read one by one: names, places and sizes of its members, and all that is wrong on the way.

`tarfile` takes a damaged header for the end of the archive and inflates sparse members; this reader reports both and
goes on. It reads 512 bytes a member and never the data.

    | header 512 | data ... padded to 512 | header 512 | data ... | 0 x 512 | 0 x 512 |
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vtr import bounds
from vtr.errors import DataError

BLOCK = 512
MAX_MEMBER = 1 << 30
MAX_EXTENDED = 1 << 16
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
REFUSED = {"1": "link", "2": "link", "3": "device", "4": "device", "6": "device", "S": "sparse", "M": "sparse"}
PLAIN = ("0", "\0", "7")
AFTER_END = "after-end"
DAMAGE = ("truncated", "bad-header")  # problems that say that the tar is damaged


@dataclass(frozen=True, slots=True)
class Entry:
    """One plain file in a tar: its name, where its `size` bytes start, and whether damage lies just before it."""

    name: str
    offset: int
    size: int
    after_damage: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a tar. `kind` is a short word that reports count by; `name` is a member, a key or "".

    `count`: how many members it is about.
    """

    kind: str
    name: str
    message: str
    count: int = 1


def read_entries(path: Path, max_member: int = MAX_MEMBER) -> tuple[list[Entry], list[Problem]]:
    """The plain members of the tar at `path`, in order, and the problems with the rest.

    Problem kinds: `truncated` `bad-header` `link` `device` `sparse` `too-large`, and `after-end` for what follows the
    end marker, where no reader of tars looks. Folders are passed over.
    Raises DataError when the file is missing, no tar, compressed, or holds no member.
    """
    try:
        file: BinaryIO = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}", "check the path") from error
    problems: list[Problem] = []
    with file:
        size = os.fstat(file.fileno()).st_size
        _check_start(path, os.pread(file.fileno(), BLOCK, 0))
        entries = list(_walk(file.fileno(), size, max_member, problems))
    if not entries and not problems:
        raise DataError(f"{path} is an empty shard: a tar without members", "remove it")
    return entries, problems


def _check_start(path: Path, first: bytes) -> None:
    if not first:
        raise DataError(f"{path} is no tar: it has zero bytes", "copy it again")
    for magic, name in COMPRESSED.items():
        if first.startswith(magic):
            raise DataError(f"{path} is compressed ({name}), so nothing in it has a place", "unpack it to a plain .tar")
    if len(first) < BLOCK or (any(first) and not _is_sound(first)):
        raise DataError(f"{path} is no tar: it starts with {first[:16]!r}", "copy it again")


def _walk(handle: int, size: int, max_member: int, problems: list[Problem]) -> Iterator[Entry]:
    position = 0
    long_name, extended = "", dict[str, str]()
    damaged = ended = False
    while position + BLOCK <= size:
        head = os.pread(handle, BLOCK, position)
        ended = not any(head)
        if ended and not damaged:
            if not _zeros(handle, position, size):
                message = f"the tar ends at byte {position}, and more follows to byte {size}: is it several, joined?"
                problems.append(Problem(AFTER_END, "", message))
            return
        told = extended.get("size", "0")  # which counts instead of the header's own
        if ended or not _is_sound(head) or not re.fullmatch("[0-9]{1,20}", told):
            if not damaged:
                problems.append(Problem("bad-header", "", f"the header at byte {position} is damaged"))
            damaged, position = True, position + BLOCK  # the next sound header is some multiple of 512 from here
            long_name, extended = "", {}  # they were of this one
            continue
        kind, start, length = chr(head[156]), position + BLOCK, _number(head[124:136])
        name = long_name or extended.get("path") or _name(head)
        if kind in PLAIN and "size" in extended:
            length = int(told)
        position = start + length + -length % BLOCK
        if start + length > size:
            problems.append(Problem("truncated", name, f"{name} ends at byte {start + length}, the tar at {size}"))
            return
        if kind in "LKxg" and length > bounds.at_most(MAX_EXTENDED):
            problems.append(Problem("too-large", name, f"an extended header of {length} bytes ({bounds.HINT})"))
        elif kind == "L":
            long_name = os.pread(handle, length, start).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        elif kind == "x":
            extended = _pax(os.pread(handle, length, start))
        elif kind not in "Kg":
            sparse = any(field.startswith("GNU.sparse") for field in extended)
            refused = "sparse" if sparse else "too-large" if length > max_member else REFUSED.get(kind)
            if refused:
                over = f", over {max_member}: raise --max-bytes" if refused == "too-large" else ""
                problems.append(Problem(refused, name, f"{name} is refused: {refused}, {length} bytes{over}"))
            elif kind in PLAIN:
                yield Entry(name, start, length, damaged)
                damaged = False
            long_name, extended = "", {}
    if not ended:
        problems.append(Problem("truncated", "", f"it stops at byte {size} without an end marker"))


def _zeros(handle: int, start: int, end: int) -> bool:
    """Whether all bytes from `start` to `end` are zero; of what is not, little is read."""
    while start < end and (data := os.pread(handle, min(end - start, 1 << 20), start)):
        if any(data):
            return False
        start += len(data)
    return True


def _is_sound(head: bytes) -> bool:
    """Whether a header's checksum holds and its size is a number; the checksum counts its own field as spaces."""
    return _number(head[148:156]) == sum(head[:148]) + 8 * 32 + sum(head[156:]) and _number(head[124:136]) >= 0


def _number(text: bytes) -> int:
    """A tar number: octal digits, or big-endian binary after a first byte of 0x80; -1 when it is neither."""
    if text[0] == 0x80:
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0") or b"0"
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else -1


def _name(head: bytes) -> str:
    name, prefix = head[:100].split(b"\0", 1)[0], head[345:500].split(b"\0", 1)[0]
    whole = prefix + b"/" + name if prefix and head[257:263] == b"ustar\0" else name
    return whole.decode("utf-8", "surrogateescape")


def _pax(data: bytes) -> dict[str, str]:
    """The fields of an extended header, which are lines of `<length> <name>=<value>`."""
    fields: dict[str, str] = {}
    while match := re.match(rb"(\d{1,6}) ([^=]+)=", data):
        length = int(match[1])
        if not match.end() < length <= len(data):
            break
        fields[match[2].decode("utf-8", "replace")] = data[match.end() : length - 1].decode("utf-8", "surrogateescape")
        data = data[length:]
    return fields
