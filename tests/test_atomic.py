"""A file is whole or not there, and a lock lets one writer in."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from vtr.atomic import explain_os_error, locked, remove_leftovers, replacing, write_bytes
from vtr.errors import InputError


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"half of the n")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    aside = tmp_path / "aside"
    aside.mkdir()
    with replacing(path, aside) as file:
        file.write(b"new")
        assert len(list(aside.iterdir())) == 1
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert not list(aside.iterdir())
    (tmp_path / "b.tmp-1").touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == [path, aside]


def hold(path: Path, ready: Path) -> None:
    with locked(path, "it"):
        ready.touch()
        os.kill(os.getpid(), 9)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, "the house"):
        with (
            pytest.raises(InputError, match="the house is being written by another process"),
            locked(path, "the house"),
        ):
            pass
        with pytest.raises(InputError, match="another process"), locked(path, "the house", shared=True):
            pass
    assert not path.exists()
    with (
        locked(path, "it", shared=True),
        locked(path, "it", shared=True),
        pytest.raises(InputError, match="another process"),
        locked(path, "it"),
    ):
        pass
    with pytest.raises(FileNotFoundError), locked(path, "it"):
        raise FileNotFoundError  # what goes wrong inside is not taken for the lock's
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(path, tmp_path / "ready"))
    holder.start()
    holder.join(30)
    assert (tmp_path / "ready").exists()
    assert path.exists()
    with locked(path, "it"):  # a killed holder leaves the file, not the lock
        pass


def test_failed_writes_are_explained(tmp_path: Path) -> None:
    full = explain_os_error(OSError(errno.ENOSPC, "No space left on device"), "while writing x", tmp_path)
    assert "no room left in" in str(full)
    assert "while writing x (No space left on device)" in str(full)
    denied = explain_os_error(PermissionError(errno.EACCES, "Permission denied"), "while writing x", tmp_path)
    assert str(denied).startswith(f"Permission denied while writing x in {tmp_path}")
