"""Files that appear under their name only when whole, and a lock that keeps a second writer out."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vtr.errors import BusyError, DataError, InputError, WorkError

AHEAD = 8 << 20  # bytes
POLL_S = 0.1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def replacing(path: Path, aside: Path | None = None, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A new binary file that takes the name `path` when the block ends well, and leaves nothing when it does not.

    It is written in the folder `aside` (else beside `path`; the same file system either way), synced, then renamed.
    Without `sync` it is not waited for the disk: for what a power cut may undo, and whoever reads it then notices.
    """
    folder = path.parent if aside is None else aside
    temporary = _beside(folder / path.name)
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link that lies there
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # a full disk does not say what it has no room for
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        sync_folder(path.parent)


@contextlib.contextmanager
def replacing_all(paths: Sequence[Path], remove: Sequence[Path] = ()) -> Iterator[list[Path]]:
    """Names to write to, one beside each of `paths`; when all are written and on disk they take the names, in order.

    `remove` goes just before, so that an older, longer set of files leaves none behind. After an error neither is
    touched and nothing stays aside. Raises WorkError: the disk is full.
    """
    temporary = [_beside(path) for path in paths]
    folders = {path.parent for path in paths}
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path in temporary:
            path.unlink(missing_ok=True)  # a link that lies there would be written through
        yield temporary
        for path in temporary:
            _sync(path)
        for old in remove:
            old.unlink(missing_ok=True)
        for new, path in zip(temporary, paths, strict=True):
            new.replace(path)
    except OSError as error:
        raise WorkError(
            f"cannot write {paths[0]}: {error.strerror or error}", "is the disk full, or may you not write there?"
        ) from error
    finally:
        for path in temporary:
            with contextlib.suppress(OSError):  # nothing was begun, or the folder cannot even be looked into
                path.unlink()
    for folder in folders:
        sync_folder(folder)


def check_writable(path: Path, *, make: bool = False) -> Path:
    """Where a file for `path` is to be written, links followed: to be asked before the work that it is for.

    `make`: folders that are missing will be made then. Raises InputError: nothing can be written there, or what is
    there is no plain file.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.is_dir():
            raise InputError(f"{path} is a directory, a file is to be written there", "name a file")
        if place.exists() and not place.is_file():
            raise InputError(f"{path} is no plain file, so none can take its place", "name a file")
        folder = place.parent
        while make and not folder.exists():
            folder = folder.parent
        temporary = _beside(folder / place.name)
        temporary.unlink(missing_ok=True)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        missing = not make and not os.path.lexists(place.parent)
        why = f"{path.parent} is not there" if missing else error.strerror
        raise InputError(f"{path} cannot be written: {why}", "name a file in a folder where you may write") from error
    return place


class Syncing:
    """Has what is written to `file` go to the disk meanwhile, so that the sync at the end finds little left to do."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._begun = file, 0
        self._range = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None

    def upto(self, size: int) -> None:
        """`size` bytes are written: what is new of them may go, once that is worth a call."""
        if self._range is not None and size - self._begun >= AHEAD:
            sync_file_range_write = 2
            start, count = ctypes.c_int64(self._begun), ctypes.c_int64(size - self._begun)
            self._range(self._file.fileno(), start, count, sync_file_range_write)  # a wish: that it fails costs nothing
            self._begun = size

    def end(self) -> None:
        """Waits until all of it outlasts a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file at once, by way of `replacing`."""
    with replacing(path) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` outlast a power cut; a no-op where folders cannot be synced."""
    with contextlib.suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    # The process id keeps two writers of one file apart: a killed run's last worker and its successor, say.
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def refuse_links(folder: Path, *names: str) -> None:
    """Raises DataError where one of `names` in `folder`, which may be of anybody, is a link: work would go through it.

    For what vtr itself makes there, and nobody has a reason to link.
    """
    for path in (folder / name for name in names):
        if path.is_symlink():
            raise DataError(f"{path} is a link, and what is written or removed there would be elsewhere", "remove it")


def remove_leftovers(folder: Path) -> None:
    """Removes what writers that were killed had begun; call it only under the lock."""
    for path in folder.glob("*.tmp-*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


@contextlib.contextmanager
def locked(path: Path, what: str, *, shared: bool = False, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the lock file `path`; the kernel drops it however the process ends. The last removes it.

    Raises BusyError when another process holds it and does not let go within `wait_s`; `what` names the thing that is
    locked. WorkError where a link lies in its place: what it leads to would be made, or held.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP and path.is_symlink():
                raise WorkError(f"{path} is a link, a lock is a file", "remove it") from error
            raise
        try:
            if not _try_lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
                if time.monotonic() < end:
                    time.sleep(POLL_S)
                    continue
                raise BusyError(
                    f"{what} is being written by another process", "wait until it ends, or write somewhere else"
                )
            if not _is_same_file(handle, path):
                continue  # its holder ended, and removed it, between our open and our lock: this lock guards nothing
            try:
                yield
            finally:
                if not shared or _is_last(handle, path):
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(handle)


def _try_lock(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_last(handle: int, path: Path) -> bool:
    """Whether nobody shares this lock any more; it is then held alone. The kernel lets go in between, so look again."""
    return _try_lock(handle, fcntl.LOCK_EX) and _is_same_file(handle, path)


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def explain_os_error(error: OSError, what: str, folder: Path) -> WorkError:
    """The WorkError for a failed write; a full disk is called that. `what` reads like "while writing 000003.tar"."""
    if error.errno in NO_ROOM:
        return WorkError(
            f"no room left in {folder} {what} ({error.strerror})",
            "make room and run the same command again: it continues; finished files are kept",
        )
    return WorkError(f"{error.strerror or error} {what} in {folder}", "mend that and run the same command again")
