"""The files that stay open: bounded, closed, and whole under many threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vtr.data.tarfiles import OPEN_FILES, TarFiles
from vtr.errors import DataError


@pytest.fixture
def impatient() -> Iterator[None]:
    """Lets threads take turns after every few instructions, where a half-made change would show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def written(root: Path, count: int) -> list[str]:
    names = [f"{i:06d}.tar" for i in range(count)]
    for name in names:
        (root / name).write_bytes(name.encode() * 3)
    return names


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_threads_read_more_files_than_stay_open(tmp_path: Path, impatient: None) -> None:
    names, files = written(tmp_path, 2 * OPEN_FILES + 9), TarFiles(tmp_path)

    def read_all(first: int) -> bool:
        order = names[first:] + names[:first]
        return all(files.read(name, 10, 10) == name.encode() for _ in range(20) for name in order)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read_all, [0, 0, 0, 0, 5, 5, 70, 70])) == [True] * 8


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_as_many_files_stay_open_as_it_says_and_none_after_it(tmp_path: Path) -> None:
    before, files = open_descriptors(), TarFiles(tmp_path)
    for name in written(tmp_path, 2 * OPEN_FILES):
        assert files.read(name, 4, 0) == name[:4].encode()
    assert open_descriptors() == before + OPEN_FILES
    del files
    assert open_descriptors() == before


def test_it_says_which_file_is_gone_and_reads_it_when_it_is_back(tmp_path: Path) -> None:
    files = TarFiles(tmp_path)
    with pytest.raises(DataError, match=r"000000\.tar cannot be opened: No such file"):
        files.read("000000.tar", 1, 0)
    written(tmp_path, 1)
    assert files.read("000000.tar", 99, 20) == b"000000.tar"
