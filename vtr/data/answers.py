"""HTTP answers of strangers' servers, read no further than what was asked for, and not waited for without end."""

from __future__ import annotations

import time
from typing import Any

import aiohttp

from vtr import bounds
from vtr.data import remote
from vtr.errors import WorkError


class Answer(aiohttp.ClientResponse):
    """An answer whose body is as long as the range that was asked for, or `remote.MOST`: the rest is never read."""

    async def read(self) -> bytes:
        """The bytes as they were sent; none of an error's page.

        Raises WorkError for more than were asked for or for others, TimeoutError for what comes too slowly to end.
        """
        if self.status >= 400:
            self.close()
            return b""
        asked = self.request_info.headers.get("Range")
        where = str(self.url)
        if asked and self.status == 200:
            self.close()
            raise remote.came_whole(where)
        if self.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
            self.close()
            raise WorkError(
                f"{where} came compressed ({self.headers['Content-Encoding'][:20]}), though its server was "
                f"asked for it as it is",
                "have the server send shards as they are, or copy them here",
            )
        most, body, begun = _size(asked) if asked else bounds.at_most(remote.MOST), bytearray(), time.monotonic()
        try:
            async for piece in self.content.iter_any():
                body += piece
                if len(body) > most:
                    raise remote.longer(where, most) if asked is None else remote.came_whole(where)
                if time.monotonic() - begun > remote.SILENT_S + len(body) / remote.SLOWEST:
                    raise TimeoutError(f"its server sends less than {remote.SLOWEST} bytes a second")
        except BaseException:
            self.close()
            raise
        return bytes(body)


async def client(**given: Any) -> aiohttp.ClientSession:
    """A session, with what the user has set for fsspec, whose answers are bounded."""
    return aiohttp.ClientSession(
        **{
            **given,
            "headers": {**(given.get("headers") or {}), "Accept-Encoding": "identity"},
            "auto_decompress": False,
            "response_class": Answer,
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=remote.SILENT_S, sock_read=remote.SILENT_S),
        }
    )


def _size(asked: str) -> int:
    """Bytes of the range `bytes=first-last`."""
    first, last = asked.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1
