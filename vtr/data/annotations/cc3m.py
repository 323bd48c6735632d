r"""`cc3m`: Conceptual Captions 3M (images), from its tsv files without a header: caption, tab, address.

    DIR/Train_GCC-training.tsv   DIR/Validation_GCC-1.1.0-Validation.tsv
    DIR/training/<crc32 of the address>[.jpg]   DIR/validation/...

Splits: `train` `val`, both by default. Images are called by the CRC-32 of their address, in decimal, as the common
download script does; or a third column names each file, below DIR or `--root`. Two addresses with one CRC are two
images for one file name: neither is sharded, both are named in `skipped.jsonl` (kind `missing`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vtr.data.annotations.official import Benchmark, Files, Split, lines, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError, VideoError

FOLDERS = {"train": "training", "val": "validation"}

BENCHMARK = Benchmark(
    name="cc3m",
    title="CC3M",
    splits={
        "train": Split(("Train_GCC-training.tsv", "Train-GCC-training.tsv"), captions=3_318_333),
        "val": Split(("Validation_GCC-1.1.0-Validation.tsv",), captions=15_840),
    },
    default=("train", "val"),
    suffix="",
)


@dataclass(frozen=True)
class Unknown:
    """Stands for an image whose file cannot be told from that of another: asked for its bytes, it says so."""

    name: str

    def __call__(self) -> bytes:
        """Raises VideoError `missing`."""
        raise VideoError("missing", f"two addresses have the file name {self.name}", "name the files in a third column")


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of CC3M in the folder, or the tsv, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    names = np.fromiter((_crc32(address) for _, _, address, file in _rows(path) if not file), np.uint32)
    values, counts = np.unique(names, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    held: dict[int, list[tuple[str, str]]] = {}
    for where, caption, address, file in _rows(path):
        name = _crc32(address)
        if file:
            if file.startswith("/") or ".." in Path(file).parts:
                raise DataError(f"{where} names a file outside of {files.root}: {file}", "give paths below it")
            yield files.sample(split, file, [caption], at=file, key=str(Path(file).with_suffix("")))
        elif name in repeated:
            held.setdefault(name, []).append((address, caption))
        else:
            yield files.sample(split, str(name), [caption], folder=FOLDERS[split])
    for name, pairs in held.items():
        addresses = list(dict.fromkeys(address for address, _ in pairs))
        for n, address in enumerate(addresses):
            sample = files.sample(
                split,
                str(name),
                [caption for other, caption in pairs if other == address],
                folder=FOLDERS[split],
                key=str(name) if len(addresses) == 1 else f"{name}-{n}",
            )
            yield sample if len(addresses) == 1 else replace(sample, video=Unknown(str(name)))


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(where, caption, address, file or '') of each line."""
    for where, line in lines(path):
        fields = line.split("\t")
        if len(fields) not in (2, 3) or not fields[1].strip():
            raise DataError(
                f"{where} has {len(fields)} fields, not 2 or 3", "they are: caption, address, file, with a tab between"
            )
        yield where, fields[0], fields[1].strip(), fields[2].strip() if len(fields) == 3 else ""


def _crc32(address: str) -> int:
    return zlib.crc32(address.encode("utf-8", "surrogateescape"))
