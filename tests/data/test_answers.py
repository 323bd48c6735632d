"""Servers that go on without end where no body is: real sockets, of which each ends in an error after its time."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vtr.data import remote
from vtr.data.index import ShardIndex
from vtr.errors import DataError, WorkError

aiohttp = pytest.importorskip("aiohttp", reason="the extra remote is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

SILENT_S = 0.4
CHUNKED = b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What comes at once, and what comes again and again after that.
DRIPS = {
    "a header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "leave to go on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's size": (CHUNKED, b"0"),
    "a chunk's extension": (CHUNKED + b"5;a=", b"x"),
    "a chunk's extension after much": (CHUNKED + b"8000\r\n" + bytes(1 << 15) + b"\r\n5;a=", b"x"),
    "trailers": (CHUNKED + b"5\r\n01234\r\n0\r\n", b"X-A: b\r\n"),
    "a body": (b"HTTP/1.1 206 OK\r\nContent-Length: 100000\r\n\r\n", b"0"),
}
BODIES = [name for name, (first, _) in DRIPS.items() if b"\r\n\r\n" in first]


class Server:
    """Answers on 127.0.0.1, a thread for each connection; what `answer(method, path)` says comes at once, then drips.

    A drip ends after 10 s, for a test that fails.
    """

    def __init__(self, answer: Callable[[str, str], tuple[bytes, bytes, float]]) -> None:
        self.answer, self.over = answer, threading.Event()
        self.asked = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=self.socket.accept()[:1], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while asked := client.recv(1 << 16):
                self.asked += 1
                method, path, _ = (asked.decode("latin-1") + "  ").split(" ", 2)
                first, drop, wait = self.answer(method, path)
                if wait and not drop:
                    self.over.wait(wait)
                client.sendall(first)
                for _ in range(int(10 / wait) if drop else 0):
                    if self.over.wait(wait):
                        return
                    client.sendall(drop)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(remote, "SILENT_S", SILENT_S)
    made: list[Server] = []

    def begin(answer: Callable[[str, str], tuple[bytes, bytes, float]]) -> Server:
        made.append(Server(answer))
        return made[-1]

    yield begin
    for server in made:
        server.over.set()
        server.socket.close()


def plain(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@pytest.mark.parametrize("kind", DRIPS)
def test_a_drip_is_no_answer(serve: Callable[..., Server], kind: str) -> None:
    first, drop = DRIPS[kind]
    heads = plain(b"")

    def answer(method: str, _: str) -> tuple[bytes, bytes, float]:
        return (heads, b"", 0) if method == "HEAD" and kind in BODIES else (first, drop, 0.05)

    with pytest.raises(WorkError, match=r"1 attempt: no answer in 0\.4 s, or fewer than 1000 bytes of it in each\n"):
        ShardIndex.open(serve(answer).url)


def test_redirects_share_the_time_of_one_answer(serve: Callable[..., Server]) -> None:
    def answer(_: str, path: str) -> tuple[bytes, bytes, float]:
        return plain(b"", "302 Found", f"Location: {path}x\r\n"), b"", 0.15

    with pytest.raises(WorkError, match=r"1 attempt: no answer in 0\.4 s"):
        ShardIndex.open(serve(answer).url)


def test_a_handshake_without_end_is_no_answer(serve: Callable[..., Server]) -> None:
    server = serve(lambda *_: (b"", b"", 10.0))
    with pytest.raises(WorkError, match=r"1 attempt: no answer in 0\.4 s"):
        ShardIndex.open(server.url.replace("http", "https"))


def test_a_tar_that_drips_is_tried_as_often_as_is_told(serve: Callable[..., Server], shards: Path) -> None:
    index, first = (shards / "index.parquet").read_bytes(), DRIPS["a chunk's size"][0]

    def answer(method: str, path: str) -> tuple[bytes, bytes, float]:
        if path.endswith(".tar"):
            return first, b"0", 0.05
        return (plain(index).removesuffix(index) if method == "HEAD" else plain(index)), b"", 0

    server = serve(answer)
    opened = ShardIndex.open(server.url)
    before = server.asked
    with pytest.raises(WorkError, match=r"\.tar could not be read in 5 attempts: no answer in 0\.4 s"):
        opened.read_video(3)
    assert server.asked - before == remote.ATTEMPTS


def test_waiting_for_our_own_requests_does_not_count(serve: Callable[..., Server]) -> None:
    from vtr.data.answers import client

    server = serve(lambda *_: (plain(b"x"), b"", SILENT_S / 3))

    async def ask() -> list[bytes]:
        async with await client(connector=aiohttp.TCPConnector(limit=1)) as session:

            async def one() -> bytes:
                async with session.get(server.url) as answer:
                    return bytes(await answer.read())

            return await asyncio.gather(*[one() for _ in range(6)])

    assert asyncio.run(ask()) == [b"x"] * 6


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (b"\x93NUMPY\0 no HTTP\r\n\r\n", WorkError, "5 attempts: .*answer cannot be understood: "),
        (plain(b"", "503 Busy"), WorkError, "5 attempts: .*503"),
        (plain(b"", "403 Forbidden"), DataError, r"index\.parquet may not be read"),
        (plain(b"", "404 None"), DataError, r"index\.parquet is not there"),
    ],
)
def test_what_went_wrong_is_told(serve: Callable[..., Server], said: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ShardIndex.open(serve(lambda *_: (said, b"", 0)).url)


def test_a_server_that_is_not_there(serve: Callable[..., Server]) -> None:
    server = serve(lambda *_: (b"", b"", 0))
    server.socket.close()
    with pytest.raises(WorkError, match=r"5 attempts: .*Cannot connect(?s:.*)network"):
        ShardIndex.open(server.url)


@pytest.mark.parametrize("body", [b"", b"0123456789"])
def test_a_damaged_index_is_named_by_its_url(serve: Callable[..., Server], tmp_path: Path, body: bytes) -> None:
    server = serve(lambda method, _: (plain(body if method == "GET" else b""), b"", 0))
    with pytest.raises(DataError, match=rf"^{server.url}/index\.parquet is no shard index: ") as caught:
        ShardIndex.open(server.url)
    assert "made anew where the shards are" in caught.value.hint
    assert "copy them here" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)
