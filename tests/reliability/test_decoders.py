"""A decoder that hangs or dies takes no command with it, wherever pictures are decoded: one video goes without."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vtr import api
from vtr.data.dataset import ClipDataset, ClipShape
from vtr.data.feed import feed
from vtr.data.index import ShardIndex
from vtr.data.reading import frame_store_rate
from vtr.errors import VideoError

CPU = {"device": "cpu", "precision": "fp32"}
# Loaded before ffmpeg by the processes that are started with it in LD_PRELOAD.
LIBRARY = """
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
int avcodec_send_packet(void *context, const void *packet) {
    (void)context, (void)packet;
    if (getenv("DECODER_HANGS")) for (;;) sleep(1000);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    return raise(SIGSEGV);
}
"""


@pytest.fixture
def hangs(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every process that is started from now on."""
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("DECODER_HANGS", "1")


@pytest.fixture
def dies(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", str(library))


def took(act: Callable[[], Any]) -> float:
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def test_a_video_as_a_query(hangs: None, embeddings: Path, clip: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(clip)
    with pytest.raises(VideoError, match=r"a\.mp4: it was not decoded within 0\.5 s") as caught:
        api.search(embeddings, like=tmp_path / "a.mp4", device="cpu", time_limit_s=0.5)
    assert caught.value.kind == "timeout"


def test_a_sheet_of_samples(hangs: None, test_shards: Path, tmp_path: Path) -> None:
    """Of many that hang a few are waited for, and it is said how many were not."""
    begin = time.monotonic()
    found = api.inspect_shards(test_shards, sheet=tmp_path / "x.png", samples=12, time_limit_s=2.0)
    assert Path(found["sheet"]).read_bytes().startswith(b"\x89PNG")
    assert time.monotonic() - begin < 12 * 2.0
    told = "9 pictures were left out, since 3 videos before them hung or crashed the decoder"
    assert found["warnings"][-1] == told


def test_what_feeds_a_training(dies: None, test_shards: Path) -> None:
    found = feed(ShardIndex.open(test_shards), 1, 1)
    assert "of 1 samples tried 1 cannot be read" in found["problems"][0]
    assert "(crashed: the decoder died of it (SIGSEGV))" in found["problems"][0]


def test_a_page_of_hits(hangs: None, embeddings: Path, tmp_path: Path) -> None:
    hits = api.search(embeddings, "a red circle", k=1, device="cpu")
    groups: list[dict[str, Any]] = [{"query": str(n), "hits": hits} for n in range(3)]
    api.write_page(embeddings, groups, tmp_path / "p.html", time_limit_s=0.5)
    page = (tmp_path / "p.html").read_text()
    assert page.count("it was not decoded within 0.5 s") == 3
    groups = [{"query": "all", "hits": api.search(embeddings, "a red circle", k=9, device="cpu")}]
    assert api.write_page(embeddings, groups, tmp_path / "p.html", time_limit_s=0.5) == 6
    page = (tmp_path / "p.html").read_text()
    assert page.count("it was not decoded within 0.5 s") == 3
    assert page.count("not tried: 3 others hung or crashed the decoder before it") == 6
    assert "<p>6 pictures were left out, since 3 videos before them hung or crashed the decoder.</p>" in page


def test_a_page_that_is_served(hangs: None, embeddings: Path) -> None:
    """A video that hung once is not tried again, for any of its pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("fastapi", reason="the search page is an extra: pip install '.[serve]'")
        from fastapi.testclient import TestClient
    from vtr.finder import Finder
    from vtr.retrieval.media import Media
    from vtr.serve.app import make_app

    finder = Finder(embeddings, device="cpu")
    media = Media(finder.library.path, finder.library.rows, time_limit_s=2.0)
    client = TestClient(make_app(finder, "t", media), base_url="http://127.0.0.1")
    for number in range(3):
        found = client.get(f"/frame/0/{number}.jpg")
        assert (found.status_code, found.json()["error"]) == (400, "it was not decoded within 2 s")
    assert took(lambda: client.get("/frame/0/4.jpg")) < 1.5


@pytest.mark.slow
def test_ctrl_c_waits_for_no_picture(library: Path, embeddings: Path) -> None:
    """A page with several pictures under way, none of which will ever come, ends at once."""
    pytest.importorskip("uvicorn", reason="the search page is an extra: pip install '.[serve]'")
    command = [sys.executable, "-m", "vtr", "search", str(embeddings), "--serve", "--port", "0", "--json"]
    broken = {**os.environ, "LD_PRELOAD": str(library), "DECODER_HANGS": "1"}
    process = subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=broken
    )
    assert process.stdout is not None
    told = b""
    while b"}" not in told:
        told += process.stdout.read1()
        assert process.poll() is None
    address = json.loads(told)["address"]
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(answer, f"{address}/frame/{row}/0.jpg") for row in range(3)]
        time.sleep(4)
        assert not any(one.done() for one in asked)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 15
    assert b"Traceback" not in err, err
    assert process.returncode == 0


def answer(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=120) as found:
            return int(found.status)
    except (OSError, http.client.HTTPException):
        return 0


def test_a_report_of_a_result(dies: None, run: Path, test_shards: Path, tmp_path: Path, embeddings: Path) -> None:
    from vtr.data.apart import Decoder
    from vtr.retrieval import pictures

    with Decoder() as decode:
        assert pictures.strip(ShardIndex.open(test_shards), 0, decode) is None


def test_what_a_frame_store_would_give(dies: None, shards: Path) -> None:
    dataset = ClipDataset(ShardIndex.open(shards), ClipShape(4, 32, 36))
    assert frame_store_rate(dataset, samples=1) == 0.0
