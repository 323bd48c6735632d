"""Nothing let in, of servers: what one answers in the place of shards, and what lies in the cache of them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from door_helpers import HTML, payloads, tried

from vtr import api, checkpoint
from vtr.data import remote
from vtr.data.index import ShardIndex
from vtr.data.index_file import META, NAME, read_whole
from vtr.data.manifest import warnings_of
from vtr.errors import DataError, VtrError
from vtr.evaluation.lost import left_out

pytest.importorskip("aiohttp", reason="the extra remote is not installed")
TAR = "000000.tar"
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


class Server(ThreadingHTTPServer):
    """Answers with `folder`, but for the names in `planted`: bytes to send, or an address to go to instead."""

    folder: Path
    planted: dict[str, bytes | str]
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        found = self.server.planted.get(name)
        if isinstance(found, str):
            self.send_response(302)
            self.send_header("Location", found)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if found is None and not (self.server.folder / name).is_file():
            self.send_error(404)
            return
        data = (self.server.folder / name).read_bytes() if found is None else found
        size, asked = len(data), self.headers.get("Range", "").removeprefix("bytes=").split("-")
        if len(asked) == 2:
            data = data[int(asked[0]) : int(asked[1]) + 1]
        self.send_response(206 if len(asked) == 2 else 200)
        if len(asked) == 2:
            self.send_header("Content-Range", f"bytes {asked[0]}-{int(asked[0]) + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{size}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(test_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.001)
    with Server(("127.0.0.1", 0), Handler) as made:
        made.folder, made.planted, made.asked = test_shards, {}, []
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def used(address: str) -> None:
    """All that is read of shards at a URL; whatever is wrong with it is said in words of ours."""
    for act in (
        lambda: ShardIndex.open(address).read(0),
        lambda: warnings_of(ShardIndex.open(address)),
        lambda: left_out(ShardIndex.open(address)),
        lambda: api.inspect_shards(address),
    ):
        tried(act)


@pytest.mark.parametrize("name", [NAME, TAR, "manifest.json", "skipped.jsonl"])
def test_bytes_of_a_server(mark: Path, outside: Path, name: str, server: Server, tmp_path: Path) -> None:
    for payload in payloads(mark).values():
        server.planted = {name: payload}
        used(url(server))
    for address in (f"file://{outside}/notes.txt", f"pipe:touch {mark}", "../../../../etc/passwd"):
        server.planted = {name: address}
        used(url(server))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert b"mine: notes" not in kept, "a file of this machine was taken for the server's"
    if name in (NAME, TAR):
        with pytest.raises(VtrError):
            ShardIndex.open(url(server)).read(0)
    server.planted = {}
    assert len(ShardIndex.open(url(server)).read(0)) > 1, "nothing of it was kept"


def test_names_in_the_index_of_a_server(mark: Path, outside: Path, server: Server, tmp_path: Path) -> None:
    """Those that lead elsewhere, on the disk or in the net: the server itself is asked, or nobody."""
    import pyarrow.parquet as pq

    _, table = read_whole(server.folder / NAME)
    meta = json.loads(table.schema.metadata[META])
    begun = len(server.asked)
    for name in (f"../{'../' * 8}{outside}/notes.txt", f"{outside}/notes.txt", f"file://{outside}/notes.txt",
                 f"x::file://{outside}/notes.txt", "http://127.0.0.1:1/a.tar", f"pipe:touch {mark}", HTML):  # fmt: skip
        other = table.set_column(1, table.schema.field(1), [[name] * len(table)])
        whole = meta | {"shards": [meta["shards"][0] | {"name": name}]}
        pq.write_table(other.replace_schema_metadata({META: json.dumps(whole)}), tmp_path / "i.parquet")
        server.planted = {NAME: (tmp_path / "i.parquet").read_bytes()}
        used(url(server))
        with pytest.raises(VtrError):
            ShardIndex.open(url(server)).read(0)
    assert len(server.asked) > begun


@pytest.mark.parametrize("kind", ["bytes", "link", "pipe", "endless"])
def test_what_lies_in_the_cache(mark: Path, outside: Path, kind: str, server: Server, tmp_path: Path) -> None:
    """Pieces of tars, the index, the note of its version: other bytes are fetched again, links never written to."""
    whole = ShardIndex.open(url(server)).read(0)
    warnings_of(ShardIndex.open(url(server)))
    cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(cached) == 4 + len(whole), "index, manifest, their versions, and the members"
    for payload in payloads(mark).values() if kind == "bytes" else [b""]:
        for path in cached:
            path.unlink()
            match kind:
                case "bytes":
                    path.write_bytes(payload)
                case "link":
                    path.symlink_to(outside / "notes.txt")
                case "pipe":
                    os.mkfifo(path)
                case "endless":
                    path.symlink_to("/dev/zero")
        assert ShardIndex.open(url(server)).read(0) == whole
        used(url(server))
    assert not any(path.is_symlink() for path in cached)


def test_a_pickle_that_the_cache_vouches_for(mark: Path, server: Server, tmp_path: Path) -> None:
    """The note of a version can be forged with it: the file is then used, and refused for what it is."""
    ShardIndex.open(url(server))
    [index] = (tmp_path / "cache").rglob(NAME)
    stamp = index.with_name(f"{NAME}.version")
    noted = json.loads(stamp.read_text())
    for payload in payloads(mark).values():
        index.write_bytes(payload)
        stamp.write_text(json.dumps(noted | {"sha256": checkpoint.sha256(index)}))
        with pytest.raises(DataError, match="is no shard index"):
            ShardIndex.open(url(server))
        used(url(server))
