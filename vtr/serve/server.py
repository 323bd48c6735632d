"""The page served on this machine alone, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from vtr.errors import InputError
from vtr.finder import Finder
from vtr.optional import install
from vtr.retrieval.media import Media

HOST = "127.0.0.1"
GRACE_S = 1  # for answers under way at Ctrl-C: a browser may hold a video open for hours


def serve(finder: Finder, title: str, port: int, tell: Callable[[str], None], media: Media) -> None:
    """Serves until it is stopped; `tell` hears the address once it answers. Port 0 takes a free one.

    Raises InputError: the port is taken, or fastapi and uvicorn are not installed.
    """
    with _bound(port) as listener:
        import uvicorn

        from vtr.serve.app import make_app

        config = uvicorn.Config(
            make_app(finder, title, media), log_level="warning", access_log=False, lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        listener.listen(128)
        tell(f"http://{HOST}:{listener.getsockname()[1]}")
        with contextlib.suppress(KeyboardInterrupt):
            _server(uvicorn.Server, media)(config).run(sockets=[listener])


def _server(base: Any, media: Media) -> Any:
    """uvicorn's server, one that at Ctrl-C waits for no picture of a video that hangs."""

    class Server(base):  # type: ignore[misc]
        def handle_exit(self, number: int, frame: FrameType | None) -> None:
            media.refuse()
            super().handle_exit(number, frame)

    return Server


def check(port: int) -> None:
    """Raises InputError as `serve` would: to be called before the work that the page is to show."""
    with _bound(port):
        pass


@contextlib.contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"--serve needs {error.name}, which is not installed", install("serve")) from error
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "is taken" if taken else f"cannot be used: {error}"
            raise InputError(f"port {port} {why}", "give another --port, or --port 0 for any free one") from error
        yield listener
