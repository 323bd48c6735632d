"""CC3M: captions and addresses, images by the CRC of their address."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_text, warnings
from PIL import Image

from vtr.data.annotations import ReaderOptions, read
from vtr.data.index import ShardIndex
from vtr.data.shards import write_shards
from vtr.errors import DataError


def name(address: str) -> str:
    return str(zlib.crc32(address.encode()))


def test_images_by_the_crc_of_their_address(tmp_path: Path) -> None:
    a, b = "http://x.org/a.jpg", "http://x.org/b.jpg?w=1"
    put_text(tmp_path, **{"Train_GCC-training.tsv": f'a man\t{a}\n"quoted\t{b}\na man again\t{a}\n'})
    put_text(tmp_path, **{"Validation_GCC-1.1.0-Validation.tsv": f"the same\t{b}\n"})
    put(tmp_path, f"training/{name(a)}", f"validation/{name(b)}.jpg")
    samples = read("cc3m", str(tmp_path), ReaderOptions(split="train"))
    assert brief(samples) == [
        (name(b), "train", ('"quoted',)),
        (name(a), "train", ("a man", "a man again")),
    ]
    assert [sample.source for sample in samples] == [f"validation/{name(b)}.jpg", f"training/{name(a)}"]
    assert found(read("cc3m", str(tmp_path), ReaderOptions(split="val"))) == [True]
    assert "15840" in warnings("cc3m", tmp_path, split="val")[0]


def test_a_third_column_names_files(tmp_path: Path) -> None:
    put_text(tmp_path, **{"Train_GCC-training.tsv": "a man\thttp://x.org/a\t00000/000000001.jpg\n"})
    put(tmp_path, "images/00000/000000001.jpg")
    samples = read("cc3m", str(tmp_path), ReaderOptions(root=tmp_path / "images"))
    assert brief(samples) == [("00000_000000001", "train", ("a man",))]
    assert found(samples) == [True]
    put_text(tmp_path, **{"Train_GCC-training.tsv": "a man\thttp://x.org/a\t../../etc/x.jpg\n"})
    with pytest.raises(DataError, match=r"line 1 names a file outside of .*: \.\./\.\./etc/x\.jpg"):
        read("cc3m", str(tmp_path))


def test_one_name_for_two_images_is_reported(tmp_path: Path) -> None:
    first, second = colliding()
    put_text(tmp_path, **{"Train_GCC-training.tsv": f"one\t{first}\ntwo\t{second}\nthree\thttp://x.org/c\n"})
    (tmp_path / "training").mkdir()
    for address in (first, "http://x.org/c"):
        Image.new("RGB", (64, 48)).save(tmp_path / "training" / name(address), "JPEG")
    samples = read("cc3m", str(tmp_path), ReaderOptions(split="train"))
    assert len(samples) == 3
    out = tmp_path / "out"
    write_shards(samples, out, reader="cc3m", source=str(tmp_path), workers=1, max_skipped=0.9, store="frames")
    index = ShardIndex.open(out)
    assert [index.captions(i) for i in range(len(index))] == [["three"]]
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [(s["kind"], s["message"]) for s in skipped] == [
        ("missing", f"two addresses have the file name {name(first)}")
    ] * 2


def colliding() -> tuple[str, str]:
    """Two addresses with one CRC-32: by the birthday paradox some 77,000 are enough."""
    seen: dict[str, str] = {}
    for n in range(1_000_000):
        address = f"http://x.org/{hashlib.sha256(str(n).encode()).hexdigest()[:16]}.jpg"
        other = seen.setdefault(name(address), address)
        if other != address:
            return other, address
    raise AssertionError


def test_bad_lines(tmp_path: Path) -> None:
    put_text(tmp_path, **{"Train_GCC-training.tsv": "a man without an address\n"})
    with pytest.raises(DataError, match=r"line 1 has 1 fields, not 2 or 3\n  hint: they are: caption, address"):
        read("cc3m", str(tmp_path))
    with pytest.raises(DataError, match="has no Validation_GCC"):
        read("cc3m", str(tmp_path), ReaderOptions(split="val"))
