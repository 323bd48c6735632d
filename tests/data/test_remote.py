"""Shards at a URL: the same bytes, by ranges, kept on the disk within bounds; what fails is told of."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest
import torch

from vtr import api
from vtr.data import remote, tokenizer
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches
from vtr.data.manifest import warnings_of
from vtr.data.mixture import open_shards
from vtr.data.order import mixed_slots
from vtr.errors import DataError, InputError, VideoError, WorkError

pytest.importorskip("aiohttp", reason="the extra remote is not installed")
SHAPE = ClipShape(frames=4, size=32, resize=36, crop_min=0.5, decoder="pyav")


class Server(ThreadingHTTPServer):
    """Serves `folder` by ranges and counts the bytes; `failures` answers of 503 come first, `ranges` may be off."""

    folder: Path
    over: threading.Event
    sent = asked = failures = 0
    ranges = True
    manner = ""  # of a server that means ill, as `Handler.ill` has it


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def ill(self, body: bool) -> None:
        """Answers without end, or hardly at all."""
        manner = self.server.manner
        if manner == "silent":
            self.server.over.wait(5)
            return
        self.send_response(206 if manner == "more" else 200)
        if manner == "gzip":
            self.send_header("Content-Encoding", "gzip")
        if manner not in ("endless", "gzip"):
            self.send_header("Content-Length", str(10**15 if manner in ("told", "more") else 1000))
        self.close_connection = True
        self.end_headers()
        with contextlib.suppress(OSError):
            while body and not self.server.over.is_set():
                self.wfile.write(bytes(1 if manner == "trickle" else 1 << 16))
                self.server.sent += 1 if manner == "trickle" else 1 << 16
                if manner == "trickle":
                    self.server.over.wait(0.1)

    def answer(self, body: bool) -> None:
        self.server.asked += 1
        if self.server.manner:
            self.ill(body)
            return
        path = self.server.folder / self.path.lstrip("/")
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
            return
        if not path.is_file():
            self.send_error(404)
            return
        data, size = path.read_bytes(), path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if self.server.ranges else None
        if asked:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, size)
            data = data[begin:end]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        if body:
            self.server.sent += len(data)
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)
    made = Server(("127.0.0.1", 0), Handler)
    made.folder, made.over = shards, threading.Event()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()
    thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
class TestHttp:
    def test_only_the_bytes_that_are_needed_and_once(self, server: Server, shards: Path, tmp_path: Path) -> None:
        local, index = ShardIndex.open(shards), ShardIndex.open(url(server))
        assert (len(index), index.digest, index.where) == (24, local.digest, url(server))
        begun = server.sent
        assert begun == (shards / "index.parquet").stat().st_size
        assert index.read_video(5) == local.read_video(5)
        size = next(member.size for member in local.members(5) if member.ext == "mp4")
        assert server.sent - begun == size
        assert index.read_video(5) == local.read_video(5)
        assert index.read(7) == local.read(7)
        everything = sum(member.size for member in local.members(7))
        assert server.sent - begun == size + everything
        again = pickle.loads(pickle.dumps(index))
        assert ShardIndex.open(Path(url(server))).read(7) == again.read(7) == local.read(7), "a Path takes a slash"
        assert server.sent - begun == size + everything, "neither the index nor the bytes came again"

    def test_a_damaged_piece_of_the_cache_is_fetched_again(self, server: Server, shards: Path, tmp_path: Path) -> None:
        local, index = ShardIndex.open(shards), ShardIndex.open(url(server))
        whole = local.read_video(5)
        size = len(whole)
        for damage in (whole[:-7], b"", bytes([whole[0] ^ 1]) + whole[1:]):
            assert index.read_video(5) == whole
            [kept] = [path for path in (tmp_path / "cache").rglob("*-*") if path.stat().st_size == size]
            kept.write_bytes(damage)
            begun = server.sent
            assert index.read_video(5) == whole
            assert server.sent - begun == size, "once"
            assert kept.read_bytes() == whole

    def test_damage_at_the_source_is_blamed_after_a_second_look_and_not_kept(
        self, server: Server, shards: Path, tmp_path: Path
    ) -> None:
        server.folder = tmp_path / "copy"
        shutil.copytree(shards, server.folder)
        index = ShardIndex.open(url(server))
        member = next(one for one in index.members(5) if one.ext == "mp4")
        tar = server.folder / index.info(5).shard
        sound = tar.read_bytes()
        tar.write_bytes(sound[: member.offset] + b"?" + sound[member.offset + 1 :])
        begun = server.sent
        with pytest.raises(VideoError, match=r"in http://.*other bytes than were written"):
            index.read_video(5)
        assert server.sent - begun == 2 * member.size
        tar.write_bytes(sound)
        assert index.read_video(5) == ShardIndex.open(shards).read_video(5), "mended there, it is read"

    def test_a_damaged_index_in_the_cache_comes_again(self, server: Server, shards: Path, tmp_path: Path) -> None:
        digest = ShardIndex.open(url(server)).digest
        [kept] = (tmp_path / "cache").rglob("index.parquet")
        kept.write_bytes(kept.read_bytes()[:-20])
        assert ShardIndex.open(url(server)).digest == digest
        assert kept.read_bytes() == (shards / "index.parquet").read_bytes()

    def test_a_passing_failure_is_tried_again(self, server: Server, shards: Path) -> None:
        index = ShardIndex.open(url(server))
        server.failures = 2
        assert index.read_video(3) == ShardIndex.open(shards).read_video(3)
        server.failures = 1000
        with pytest.raises(WorkError, match=r"000000\.tar could not be read in 5 attempts: .*503(?s:.*)network"):
            index.read_video(4)

    def test_what_is_not_there(self, server: Server) -> None:
        with pytest.raises(DataError, match=r"/none/index\.parquet is not there\n.*shard directory"):
            ShardIndex.open(f"{url(server)}/none")

    def test_a_server_without_ranges_is_named(self, server: Server) -> None:
        index = ShardIndex.open(url(server))
        server.ranges = False
        with pytest.raises(WorkError, match="does not serve byte ranges"):
            index.read_video(3)

    def test_a_server_without_ranges_sends_no_tar_whole(self, server: Server, shards: Path) -> None:
        index = ShardIndex.open(url(server))
        server.ranges = False
        asked = server.asked
        with pytest.raises(WorkError, match="does not serve byte ranges"):
            index.read(3)
        assert server.asked == asked + 1, "once, not for each member"

    @pytest.mark.parametrize(
        ("manner", "words"),
        [
            ("endless", r"index\.parquet has more than 0\.001 GB\n.*--limits 10"),
            ("told", r"index\.parquet has more than 0\.001 GB\n.*--limits 10"),
            ("gzip", r"index\.parquet came compressed \(gzip\), though .*\n.*send shards as they are"),
            ("silent", r"could not be read in 1 attempt: no answer in 0\.5 s.*\n.*network"),
            ("trickle", r"1 attempt: no answer in 0\.5 s, or fewer than 1000 bytes of it in each\n.*network"),
        ],
    )
    def test_a_server_does_not_decide_what_is_read_or_waited_for(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, manner: str, words: str
    ) -> None:
        monkeypatch.setattr(remote, "MOST", 1_000_000)
        monkeypatch.setattr(remote, "SILENT_S", 0.5)
        server.manner = manner
        with pytest.raises(WorkError, match=words):
            ShardIndex.open(url(server))
        assert server.sent < 50_000_000, "what was under way"

    def test_a_range_is_no_longer_than_its_member(self, server: Server) -> None:
        index = ShardIndex.open(url(server))
        server.manner = "more"
        with pytest.raises(WorkError, match="does not serve byte ranges"):
            index.read_video(3)
        assert server.sent < 50_000_000

    def test_tars_by_their_numbers(self, server: Server, shards: Path) -> None:
        names = sorted(path.name for path in shards.glob("*.tar"))
        assert len(names) > 2
        begun = f"{url(server)}/{{000000..{len(names) - 1:06d}}}.tar"
        every, some = ShardIndex.open(begun), ShardIndex.open(f"{url(server)}/{{000001..000002}}.tar")
        local = ShardIndex.open(shards)
        assert every.digest == local.digest
        assert [every.key(i) for i in range(len(every))] == [local.key(i) for i in range(len(local))]
        known = ShardIndex.open(f"{shards}/{{000001..000002}}.tar")
        assert (some.digest, len(some)) == (known.digest, len(known))
        assert [some.read(i) for i in range(len(some))] == [known.read(i) for i in range(len(known))]
        one = ShardIndex.open(f"{url(server)}/{names[1]}")
        assert {one.info(i).shard for i in range(len(one))} == {names[1]}
        with pytest.raises(DataError, match=r"00000\d\.tar is not in the index of http") as caught:
            ShardIndex.open(f"{url(server)}/{{000000..000099}}.tar")
        assert caught.value.hint == "name only what it has"
        with pytest.raises(DataError, match=r"would need a listing(?s:.*)count the tars"):
            ShardIndex.open(f"{url(server)}/*.tar")
        with pytest.raises(DataError, match="names several directories"):
            ShardIndex.open(f"{url(server)}/{{a,b}}/000000.tar")

    def test_what_the_data_lack_is_told(self, server: Server, shards: Path, tmp_path: Path) -> None:
        server.folder = tmp_path / "copy"
        shutil.copytree(shards, server.folder)
        index, manifest = ShardIndex.open(url(server)), server.folder / "manifest.json"
        about = json.loads(manifest.read_text())
        for warnings in (["MSR-VTT test is not the whole official set"], []):
            manifest.write_text(json.dumps({**about, "census": {"warnings": warnings}}))
            assert warnings_of(index) == warnings == api.inspect_shards(url(server))["warnings"]
        assert api.inspect_shards(url(server))["path"] == url(server)
        manifest.write_text(json.dumps({**about, "census": {"warnings": ["partial"]}}))
        assert warnings_of(index) == ["partial"]
        manifest.unlink()
        assert warnings_of(index) == [], "tars of others have none"
        manifest.mkdir()
        [told] = warnings_of(ShardIndex.open(f"file://{server.folder}"))
        assert "manifest.json could not be read in 5 attempts" in told

    def test_training_reads_the_same_batches(self, server: Server, shards: Path) -> None:
        found = []
        for where in (str(shards), url(server)):
            index = open_shards(where)
            words = tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 24, 200)
            dataset = ClipDataset(index, SHAPE, training=True)
            slots = list(islice(mixed_slots(index.subsets(), 0, 8, 0), 4))
            found.append([batch for batch, _ in batches(dataset, slots, words, 2)])
        for one, other in zip(*found, strict=True):
            assert one.ok.all()
            assert torch.equal(one.clips, other.clips)


def test_any_file_system_of_fsspec(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/bucket/shards", recursive=True)
    try:
        index = ShardIndex.open("memory://bucket/shards")
        assert index.read(9) == ShardIndex.open(shards).read(9)
        memory.pipe("/bucket/shards/000001.tar", b"x" * 600)
        with pytest.raises(Exception, match=r"000001\.tar ends after|other bytes"):
            index.read(10)
    finally:
        memory.rm("/bucket", recursive=True)


def test_what_is_kept_stays_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for number in range(10):
        path = tmp_path / "a" / f"{number}-100"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    (tmp_path / "a" / "index.parquet").write_bytes(bytes(5000))
    remote.shrink(tmp_path, 1000)
    assert len(list(tmp_path.rglob("*-100"))) == 10
    remote.shrink(tmp_path, 600)
    assert sorted(path.name for path in tmp_path.rglob("*-100")) == [f"{n}-100" for n in range(5, 10)]
    assert (tmp_path / "a" / "index.parquet").exists()
    monkeypatch.setenv("VTR_CACHE_GB", "much")
    with pytest.raises(InputError, match="VTR_CACHE_GB is 'much', it should be a number"):
        remote.cache_bytes()


def test_a_scheme_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"nowhere://x cannot be opened: .*\n.*pip install '(fsspec>=|\.\[remote\]')"):
        ShardIndex.open("nowhere://x")
