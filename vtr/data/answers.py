"""HTTP answers of strangers' servers, read no further than what was asked for, and not waited for without end."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.http import HttpProcessingError

from vtr import bounds
from vtr.data import remote
from vtr.errors import WorkError


class Answer(aiohttp.ClientResponse):
    """An answer whose body is as long as the range that was asked for, or `remote.MOST`: the rest is never read."""

    async def read(self) -> bytes:
        """The bytes as they were sent; none of an error's page.

        Raises WorkError for more than were asked for or for others, TimeoutError for what comes too slowly: only bytes
        of the body count, not what a server may put between and behind them without end.
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
        most, body = _size(asked) if asked else bounds.at_most(remote.MOST), bytearray()
        wanted = enough = remote.SILENT_S * remote.SLOWEST
        try:
            async with asyncio.timeout(remote.SILENT_S) as patience:
                async for piece in self.content.iter_any():
                    body += piece
                    if len(body) > most:
                        raise remote.longer(where, most) if asked is None else remote.came_whole(where)
                    if len(body) >= enough:
                        enough = len(body) + wanted
                        patience.reschedule(_now() + remote.SILENT_S)
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
            "timeout": aiohttp.ClientTimeout(total=None),
            "trace_configs": [*(given.get("trace_configs") or []), _until_it_begins()],
        }
    )


def cause_of(error: Exception) -> Exception:
    """What went wrong where fsspec gave `error`: it calls a file missing whatever happened when it was asked for."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
    if not isinstance(cause, aiohttp.ClientResponseError):
        return cause if isinstance(cause, Exception) else error
    if isinstance(cause.__cause__, HttpProcessingError):
        said = cause.message.strip().splitlines() or ["no HTTP"]
        return aiohttp.ClientPayloadError(f"its server's answer cannot be understood: {said[0].rstrip(':')}")
    if cause.status in (401, 403):
        return PermissionError(cause.status, cause.message)
    return FileNotFoundError(cause.status, cause.message) if cause.status in (404, 410) else cause


def _until_it_begins() -> aiohttp.TraceConfig:
    """Ends a request with a TimeoutError that has no answer's head after `remote.SILENT_S`.

    That is the time of all together that comes before a body: names, connections, ciphers, redirects, interim answers,
    headers; only not that of waiting until requests of our own have left a connection free.
    """

    async def begin(_: object, about: Any, __: object) -> None:
        about.patience = asyncio.timeout(remote.SILENT_S)
        await about.patience.__aenter__()

    async def pause(_: object, about: Any, __: object) -> None:
        about.left = about.patience.when() - _now()
        about.patience.reschedule(None)

    async def go_on(_: object, about: Any, __: object) -> None:
        about.patience.reschedule(_now() + about.left)

    async def end(_: object, about: Any, __: object) -> None:
        await about.patience.__aexit__(None, None, None)

    async def fail(_: object, about: Any, event: aiohttp.TraceRequestExceptionParams) -> None:
        error = event.exception
        await about.patience.__aexit__(type(error), error, error.__traceback__)  # the TimeoutError takes its place

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begin)
    trace.on_connection_queued_start.append(pause)
    trace.on_connection_queued_end.append(go_on)
    trace.on_request_end.append(end)
    trace.on_request_exception.append(fail)
    return trace


def _now() -> float:
    """Seconds, by the clock of what waits."""
    return asyncio.get_running_loop().time()


def _size(asked: str) -> int:
    """Bytes of the range `bytes=first-last`."""
    first, last = asked.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1
