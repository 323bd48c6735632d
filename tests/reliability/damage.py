"""Bytes in, damaged bytes out: by a seed, blindly or with an eye for what kind of file it is."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zlib
from typing import Any

NASTY = (
    b"\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"../../../etc/passwd", b"/dev/zero", b"nan",
    b"-1", b"1e999", b"99999999999999999999", b"9" * 5000, b"[" * 3000, b"{" * 3000, b"\xed\xa0\x80", b'"', b"'", b"\n",
    b"\r", b"\t", b",", b"null", b"true", b"pipe:touch x", b"\xe2\x80\xae", b"%s%n", b"\\ud800", b"",
)  # fmt: skip
WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, -0.5, "", "x", "\0", "../x", "/etc/passwd", "nan",
    "a" * 10_000, [], {}, [None], {"": None}, [[[[]]]], "\ud800", "9" * 100,
)  # fmt: skip
PICTURES = (".jpg", ".png", ".webp")
TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".toml", ".txt")


def damaged(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """`data` of a file that ends in `suffix`, with a few faults; never quite what it was."""
    for _ in range(10):
        if suffix == ".json" and rng.random() < 0.6:
            found = _tree(data, rng)
        elif suffix == ".parquet" and rng.random() < 0.6:
            found = _table(data, rng) if rng.random() < 0.7 else _footer(data, rng)
        elif suffix == ".tar" and rng.random() < 0.5:
            found = _member(data, rng)
        elif suffix in PICTURES and rng.random() < 0.4:
            found = _exif(data, suffix, rng)
        elif suffix == ".safetensors" and rng.random() < 0.5:
            found = _header(data, rng)
        elif suffix in TEXTS and rng.random() < 0.6:
            found = _words(data, rng)
        else:
            found = _blind(data, rng)
        if found != data:
            return found
    return data + b"\0"


def _blind(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 40))):
        # Headers stand at the start or at the end: half of all faults hit one of them.
        size = len(out)
        at = rng.randrange(size + 1) if rng.random() < 0.5 else min(size, rng.randrange(256))
        at = max(0, size - at) if rng.random() < 0.3 else at
        length = rng.choice((1, 1, 2, 4, 8, 64, 512, rng.randrange(size + 1)))
        match rng.randrange(9):
            case 0 if at < size:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < size:
                out[at] = rng.randrange(256)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + min(length, 4096)]
            case 4:
                out[at : at + length] = bytes(min(length, size - at))
            case 5:
                del out[at:]
            case 6:
                out[at:at] = rng.choice(NASTY)
            case 7:
                order, kind = rng.choice("<>"), rng.choice("HIQ")
                edge = rng.choice((0, 1, 0x7F, 0xFF, (1 << (8 * struct.calcsize(kind))) - 1, 1 << 31, 1 << 20))
                value = edge & ((1 << (8 * struct.calcsize(kind))) - 1)
                out[at : at + struct.calcsize(kind)] = struct.pack(order + kind, value)
            case 8:
                other = rng.randrange(size + 1)
                out[at : at + length] = out[other : other + length]
    return bytes(out)


def _words(data: bytes, rng: random.Random) -> bytes:
    """A token, a line or a number exchanged."""
    parts = re.findall(rb"\s+|[A-Za-z0-9_.+-]+|.", data, re.DOTALL)
    if not parts:
        return rng.choice(NASTY)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                parts[at] = rng.choice(NASTY)
            case 1:
                parts[at] = rng.choice(parts)
            case 2:
                parts[at] = b""
            case 3:
                parts[at] = parts[at] * rng.choice((2, 3, 1000))
            case 4:
                parts[at] = str(rng.choice(WRONG)).encode("utf-8", "replace")
    return b"".join(parts)


def _tree(data: bytes, rng: random.Random) -> bytes:
    """A value, a key or an item of a JSON file exchanged."""
    try:
        root = json.loads(data)
    except ValueError:
        return _words(data, rng)
    root = _changed(root, rng)
    return json.dumps(root).encode()


def _changed(root: Any, rng: random.Random) -> Any:
    places: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (dict, list)):
            for key in list(node) if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                waiting.append(node[key])
    if not places or rng.random() < 0.02:
        return rng.choice(WRONG)
    for _ in range(rng.choice((1, 1, 2))):
        node, key = rng.choice(places)
        if (isinstance(node, list) and key >= len(node)) or (isinstance(node, dict) and key not in node):
            continue
        match rng.randrange(4):
            case 0 if isinstance(node, dict):
                del node[key]
            case 1 if isinstance(node, dict):
                node[str(rng.choice(WRONG))] = node.pop(key)
            case 2:
                node[key] = [node[key]]
            case _:
                node[key] = rng.choice(WRONG)
    return root


def _table(data: bytes, rng: random.Random) -> bytes:
    """A column dropped, renamed, of another type or with other values; or the metadata changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        at = rng.randrange(table.num_columns)
        field = table.schema.field(at)
        match rng.randrange(7):
            case 0:
                table = table.remove_column(at)
            case 1:
                table = table.rename_columns([f"{n}x" if i == at else n for i, n in enumerate(table.column_names)])
            case 2:
                other = rng.choice((pa.string(), pa.int64(), pa.float32(), pa.binary(), pa.list_(pa.int8())))
                table = table.set_column(at, field.name, pa.nulls(len(table), other))
            case 3:
                rows = [row for row in table.to_pylist() if rng.random() < 0.5]
                table = pa.Table.from_pylist(rows, schema=table.schema)
            case 4:
                table = table.set_column(at, field.name, _foreign(len(table), rng))
            case 5:
                column = table.column(at).to_pylist()
                if column:
                    column[rng.randrange(len(column))] = _changed({"v": column[0]}, rng).get("v")
                table = table.set_column(at, field, pa.array(column, field.type))
            case _:
                meta = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
                for key in rng.sample(sorted(meta), min(len(meta), 1)):
                    text = meta[key].encode()
                    changed = _tree(text, rng) if text[:1] in b"{[" else rng.choice(NASTY)
                    meta[key] = changed.decode("utf-8", "replace")
                table = table.replace_schema_metadata(meta)
        file = io.BytesIO()
        pq.write_table(table, file)
        return file.getvalue()
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError, OSError):
        return _blind(data, rng)


def _footer(data: bytes, rng: random.Random) -> bytes:
    """Numbers of a footer exchanged for others that take as many bytes: counts, sizes, places, encodings, types."""
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if start < 4:
        return _blind(data, rng)
    out, told = bytearray(data), data[start:-8]
    for _ in range(rng.choice((1, 1, 2, 4))):
        # Thrift's numbers: all bytes but the last have their highest bit set; zeros may fill them up.
        long = [found.span() for found in re.finditer(rb"[\x80-\xff]+[\0-\x7f]", told)]
        first, last = rng.choice(long) if long and rng.random() < 0.7 else (at := rng.randrange(len(told)), at + 1)
        value = rng.choice((0, 1, 2, 3, 200, 1 << 20, 1 << 31, 1 << 40, (1 << 62) - 1))
        groups = [value >> (7 * n) & 127 for n in range(last - first)]
        out[start + first : start + last] = bytes([*(group | 128 for group in groups[:-1]), groups[-1]])
    return bytes(out)


def _foreign(count: int, rng: random.Random) -> Any:
    """`count` values of a type that no column of ours has, of which Python has some and others not."""
    import pyarrow as pa

    far = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**62, -(2**62)))
    unit = rng.choice(("s", "ms", "us", "ns"))
    kinds = (
        pa.timestamp(unit), pa.timestamp(unit, tz="UTC"), pa.timestamp(unit, tz="Nowhere/Such"), pa.date32(),
        pa.date64(), pa.duration(unit), pa.time64("us"), pa.time64("ns"), pa.int64(), pa.float16(),
        pa.decimal128(38, 2), pa.bool_(),
    )  # fmt: skip
    kind = rng.choice(kinds)
    if kind == pa.date32():
        far = max(-(2**31), min(far, 2**31 - 1))
    own = {64: pa.int64(), 32: pa.int32()}.get(kind.bit_width)  # unchecked, as a file may have it
    column = pa.nulls(count, kind) if own is None else pa.array([far] * count, own).view(kind)
    match rng.randrange(4):
        case 0:
            return pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), column)
        case 1:
            return pa.StructArray.from_arrays([column], ["x"])
        case 2:
            return column.dictionary_encode()
    return column


FIELDS = ((0, 100), (100, 108), (124, 136), (136, 148), (156, 157), (157, 257), (257, 265), (345, 500))  # of a header
NUMBERS = (b"00000000000", b"00000000777", b"77777777777", b"\x80" + bytes(10) + b"\xff", b"\x80" + b"\xff" * 11)
LETTERS = tuple(b"LKxgS1257")


def _member(data: bytes, rng: random.Random) -> bytes:
    """A field of a tar's header changed, or an extended header put before it; the checksums are right."""
    heads = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    if not heads:
        return _blind(data, rng)
    out, at = bytearray(data), rng.choice(heads)
    letters = (bytes([letter]) for letter in LETTERS)
    value = rng.choice((*NASTY, *NUMBERS, *letters, str(rng.choice(WRONG)).encode("utf-8", "replace")))
    if rng.random() < 0.4:
        record = b" " + rng.choice((b"size", b"path", b"linkpath", b"mtime", b"GNU.sparse.size")) + b"=" + value + b"\n"
        length = next(n for n in range(len(record), len(record) + 9) if n == len(record) + len(str(n)))
        record = str(length).encode() + record
        head = bytearray(out[at : at + 512])
        head[124:136], head[156:157] = b"%011o\0" % len(record), b"x"
        out[at:at] = _summed(head) + record + bytes(-len(record) % 512)
    else:
        first, last = rng.choice(FIELDS)
        out[at + first : at + last] = value[: last - first].ljust(last - first, b"\0")
        out[at : at + 512] = _summed(out[at : at + 512])
    return bytes(out)


def _summed(head: bytearray) -> bytearray:
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return head


def _header(data: bytes, rng: random.Random) -> bytes:
    """The JSON at the start of a safetensors file changed, its length with it."""
    size = int.from_bytes(data[:8], "little")
    header = _tree(data[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _exif(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """A picture with EXIF of its own: tags of any type, counts and places that cannot be, one directory in another."""
    order = rng.choice("<>")
    tags = rng.sample((0x0112, 0x0100, 0x010F, 0x8769, 0x8825, 0xA005, 0x0201, 0x0202, 0x9286, 0x927C, 0xFFFF), 4)
    out = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", rng.choice((42, 42, 42, 43, 0)), 8))
    out += struct.pack(order + "H", rng.choice((4, 4, 4, 0, 5, 65535)))
    for tag in sorted((0x0112, *tags[:3]) if rng.random() < 0.8 else tags):
        kind = rng.choice((1, 2, 3, 3, 3, 4, 5, 7, 9, 10, 11, 12, 13, 0, 99))
        count = rng.choice((1, 1, 1, 0, 2, 8, 1000, 1 << 20, (1 << 32) - 1))
        value = rng.choice((rng.randrange(1, 9), rng.randrange(1, 9) << 16, 0, 8, 26, 60, 1 << 31, (1 << 32) - 1))
        out += struct.pack(order + "HHII", tag, kind, count, value)
    out += struct.pack(order + "I", rng.choice((0, 8, 1 << 31))) + rng.choice((b"", bytes(64), rng.randbytes(200)))
    block = bytes(out[: rng.choice((len(out), len(out), rng.randrange(len(out))))])
    if suffix == ".jpg":
        body = rng.choice((b"Exif\0\0", b"Exif\0\0", b"Exif\0\0", b"Exif", b"")) + block
        return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]
    if suffix == ".png" and data[12:16] == b"IHDR":
        chunk = b"eXIf" + block
        made = len(block).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return data[:33] + made + data[33:]
    if suffix == ".webp" and data[8:12] == b"WEBP":
        return _in_webp(data, block)
    return _blind(data, rng)


def _in_webp(data: bytes, block: bytes) -> bytes:
    """The pictures of `fuzz_originals` are 48 x 32 pixels; the extended form of WebP is what may have EXIF."""
    size = (47).to_bytes(3, "little") + (31).to_bytes(3, "little")
    extended = b"VP8X" + (10).to_bytes(4, "little") + bytes([8, 0, 0, 0]) + size
    exif = b"EXIF" + len(block).to_bytes(4, "little") + block + bytes(len(block) % 2)
    chunks = b"WEBP" + extended + data[12:] + exif
    return b"RIFF" + len(chunks).to_bytes(4, "little") + chunks
