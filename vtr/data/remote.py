"""Shards at a URL, read by byte ranges through fsspec: the index whole, of the tars the members that are asked for.

What was read is kept in a bounded folder, `VTR_CACHE_DIR` (at most `VTR_CACHE_GB`, 20 if unset), so that a second epoch
or another process reads from the disk. A file there appears whole, is named by the index's digest, and the oldest go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vtr import bounds
from vtr.atomic import replacing, write_bytes
from vtr.checkpoint import sha256
from vtr.data.tarwriter import Member
from vtr.errors import DataError, InputError, VtrError, WorkError
from vtr.optional import install
from vtr.plainfile import opened

T = TypeVar("T")
URL = re.compile(r"^([a-z0-9+]{2,}):/+")
ATTEMPTS, FIRST_WAIT_S = 5, 0.5
MOST = 1_000_000_000  # bytes of a file that is read whole: an index, or what says which videos shards lack
SILENT_S = 20.0  # that a server over HTTP may take to begin an answer, and then to send SILENT_S * SLOWEST bytes of it
SLOWEST = 1000  # bytes a second
# What tells one version of a file from another, in the words of the systems that fsspec speaks to.
VERSION = ("size", "ETag", "etag", "mtime", "LastModified", "updated", "created", "generation", "md5Hash")


def url_of(root: Path | str) -> str | None:
    """`root` as a URL, also where a Path has taken one of its slashes; None for a path on the disk."""
    match = URL.match(str(root))
    if match is None:
        return None
    slash = "/" if match[1] in ("file", "local") else ""  # paths on the disk have no host before them
    return f"{match[1]}://{slash}{str(root)[match.end() :].rstrip('/')}"


class Remote:
    """The shard directory at `url`. Pickles and forks: each process makes its own connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = url.startswith(("http://", "https://"))
        self._fs: tuple[int, Any, str] | None = None
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.folder = cache_folder() / name
        self._written = 0
        self._ranges = False  # whether its server has been seen to serve them

    def fetch_whole(self, name: str) -> None:
        """Brings the file `name` into `folder`, unless the very one is there. Raises DataError when there is none."""
        url, most = f"{self.url}/{name}", bounds.at_most(MOST)
        info = self._tried(url, lambda fs, path: fs.info(f"{path}/{name}"), name, patient=False)
        if (info.get("size") or 0) > most:
            raise longer(url, most)
        version = {key: str(info[key]) for key in VERSION if info.get(key) is not None}
        path, stamp = self.folder / name, self.folder / f"{name}.version"
        if version.keys() - {"size"} and path.is_file() and stamp.is_file():
            here = json.dumps({**version, "sha256": sha256(path)})  # bytes rot here, too
            if stamp.read_text(encoding="utf-8", errors="replace") == here:
                return
        data = self._tried(url, lambda fs, path: fs.cat_file(f"{path}/{name}"), name, patient=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        come = json.dumps({**version, "sha256": hashlib.sha256(data).hexdigest()})
        write_bytes(path, data)
        write_bytes(stamp, come.encode())

    def read(self, digest: str, shard: str, members: Sequence[Member]) -> list[bytes]:
        """The bytes of each of `members` of `shard`: from the disk, or all that is not there in one go.

        What is not as it was written, there or as it came, is fetched once again and never kept; after that it is
        handed out as it is, fewer bytes where the tar ends. Raises WorkError when they cannot be had after several
        attempts, or the server sends more than was asked for.
        """
        folder = self.folder / digest[:16] / shard
        found: dict[Member, bytes] = {}
        for one in members:
            path = folder / _piece(one)
            try:
                with opened(path) as file:  # a pipe that lies there would be waited for
                    data = file.read(one.size + 1)
            except OSError:
                continue
            if one.holds(data):
                found[one] = data
                with contextlib.suppress(OSError):
                    os.utime(path)  # the oldest go first
        for _ in range(2):  # the second time for what was damaged on its way
            missing = [one for one in dict.fromkeys(members) if one not in found or not one.holds(found[one])]
            if missing:
                found.update(zip(missing, self._fetch(shard, missing), strict=True))
                for one in missing:
                    if one.holds(found[one]):
                        self._keep(folder / _piece(one), found[one])
        return [found[one] for one in members]

    def _fetch(self, shard: str, members: Sequence[Member]) -> list[bytes]:
        """The bytes of `members` as they come from the URL."""
        url = f"{self.url}/{shard}"
        if not self._ranges and len(members) > 1:  # a server without ranges would send the tar once for each
            return [*self._fetch(shard, members[:1]), *self._fetch(shard, members[1:])]
        starts, ends = [one.offset for one in members], [one.offset + one.size for one in members]

        def ranges(fs: Any, path: str) -> list[bytes]:
            found = fs.cat_ranges([f"{path}/{shard}"] * len(members), starts, ends, on_error="raise")
            for one in found:
                if isinstance(one, Exception):  # as fsspec of 2024 hands them out, whatever it was asked for
                    raise one
            return list(found)

        got = self._tried(url, ranges, shard)
        for one, data in zip(members, got, strict=True):
            if len(data) > one.size:
                raise came_whole(url)
        self._ranges = True
        return got

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(data)
        except OSError:  # a full disk costs speed, not the run
            return
        self._written += len(data)
        limit = cache_bytes()
        if self._written > limit / 20:
            self._written = 0
            shrink(cache_folder(), limit)

    def _tried(self, what: str, work: Callable[[Any, str], T], missing: str, *, patient: bool = True) -> T:
        """`work(file system, path)`, again after a pause where that may help; of what hangs only if `patient`."""
        wait = FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return work(*self._open())
            except VtrError:
                raise
            except Exception as error:  # each file system has its own errors
                cause = self._cause(error)
                hangs = isinstance(cause, TimeoutError)
                if isinstance(cause, FileNotFoundError | PermissionError | NotADirectoryError):
                    why = "may not be read" if isinstance(cause, PermissionError) else "is not there"
                    raise DataError(f"{what} {why}", f"see that the URL is a shard directory with {missing}") from error
                if attempt == ATTEMPTS or (hangs and not patient):
                    slow = f"no answer in {SILENT_S:g} s, or fewer than {SLOWEST} bytes of it in each"
                    why = slow if hangs and self.http else f"{type(cause).__name__}: {cause}"
                    raise WorkError(
                        f"{what} could not be read in {attempt} attempt{'s' * (attempt > 1)}: {why}",
                        "see whether the network is well; the same command goes on where it stopped",
                    ) from error
                time.sleep(wait)
                wait *= 2
        raise AssertionError

    def _cause(self, error: Exception) -> Exception:
        if not self.http:
            return error
        from vtr.data.answers import cause_of

        return cause_of(error)

    def _open(self) -> tuple[Any, str]:
        if self._fs is None or self._fs[0] != os.getpid():
            try:
                from fsspec import asyn
                from fsspec.core import url_to_fs

                if asyn.iothread[0] is not None and not asyn.iothread[0].is_alive():
                    asyn.reset_lock()  # of a parent that forked, which fsspec of 2024 would wait for

                options = {}
                if self.http:
                    from vtr.data.answers import client

                    options["get_client"] = client
                fs, path = url_to_fs(self.url, skip_instance_cache=True, **options)
            except (ImportError, ValueError) as error:
                raise InputError(f"{self.url} cannot be opened: {error}", install("remote")) from error
            self._fs = os.getpid(), fs, path
        return self._fs[1], self._fs[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.url,)


def came_whole(url: str) -> WorkError:
    """What to say where more came than the range that was asked for."""
    return WorkError(f"{url} came whole: its server does not serve byte ranges", "copy the shards here")


def longer(url: str, most: int) -> WorkError:
    """What to say of a file, to be read whole, that has more than `most` bytes."""
    return WorkError(f"{url} has more than {most / 1e9:g} GB", bounds.HINT)


def _piece(member: Member) -> str:
    """The name of the file that keeps `member`."""
    return f"{member.offset}-{member.size}"


def cache_folder() -> Path:
    """Where remote bytes are kept: `VTR_CACHE_DIR`, else vtr/shards in the user's cache."""
    given = os.environ.get("VTR_CACHE_DIR")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vtr" / "shards"


def cache_bytes() -> float:
    """How much may be kept: `VTR_CACHE_GB`, in GB of 10^9 bytes. Raises InputError where it is no number."""
    given = os.environ.get("VTR_CACHE_GB", "20")
    try:
        return float(given) * 1e9
    except ValueError:
        raise InputError(f"VTR_CACHE_GB is {given!r}, it should be a number", "20 is the default") from None


def shrink(folder: Path, limit: float) -> None:
    """Removes what was used longest ago until `folder` holds at most 9/10 of `limit` bytes; below `limit`, nothing."""
    found = []
    for top, _, names in os.walk(folder):
        for name in names:
            if "-" in name:  # ranges alone: an index is in use as long as its run
                try:
                    stat = (path := Path(top) / name).stat()
                except OSError:  # another process was quicker
                    continue
                found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        path.unlink(missing_ok=True)
        total -= size
        if total <= 0.9 * limit:
            return
