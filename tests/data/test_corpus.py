"""The corpus of difficult files: each must have the outcome that its manifest names, in time and without a crash."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from typing import Any

import numpy as np
import pytest

from vtr.data import video
from vtr.data.video import Limits
from vtr.errors import VideoError

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
SECONDS = 20  # for one file; a slow machine takes 2
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus is not at {CORPUS}")


def entries(*expect: str) -> list[Any]:
    if not CORPUS.is_dir():
        return []
    files = json.loads((CORPUS / "manifest.json").read_text())["files"]
    return [pytest.param(e, id=e["file"]) for e in files if e["expect"] in expect and e["file"] != "still.jpg"]


def barcode(picture: np.ndarray) -> int:
    """The number in 16 cells across the top quarter: white, black, 12 bits, even parity, white. -1 if there is none."""
    height, width, _ = picture.shape
    centres = ((np.arange(16) + 0.5) * width / 16).astype(int)
    band = picture[height // 8 - 1 : height // 8 + 2].mean(axis=(0, 2))
    bits = [int(band[c - 1 : c + 2].mean() > 128) for c in centres]
    if bits[0] != 1 or bits[1] != 0 or bits[15] != 1 or sum(bits[2:15]) % 2:
        return -1
    return int("".join(map(str, bits[2:14])), 2)


def codes_of(entry: dict[str, Any]) -> list[int]:
    return entry.get("codes") or list(range(entry["first_code"], entry["first_code"] + entry["frames"]))


@pytest.mark.parametrize("entry", entries("decode"))
def test_healthy_files_decode(entry: dict[str, Any]) -> None:
    data = (CORPUS / entry["file"]).read_bytes()
    info = video.check(data)
    assert info.frames == entry["frames"]
    assert [info.width, info.height] == entry.get("display_size", entry["size"])
    frames = video.read_frames(data, range(info.frames))
    assert frames.shape == (info.frames, info.height, info.width, 3)
    if entry.get("barcode", True):
        assert [barcode(frame) for frame in frames] == codes_of(entry)
    if entry.get("barcode", True) and entry.get("color", True):  # upright and not mirrored: red left, blue right
        left, right = frames[0][-8:-4, 4:12].mean((0, 1)), frames[0][-8:-4, -12:-4].mean((0, 1))
        assert left[0] > 180 > 60 > left[2]
        assert right[2] > 180 > 60 > right[0]
    rng = np.random.default_rng(1)
    for decoder in {"pyav", info.decoder}:
        sets, most = (10, 12) if info.width < 1000 else (1, 4)
        for _ in range(sets):
            indices = rng.integers(0, info.frames, rng.integers(1, most))
            assert np.array_equal(video.read_frames(data, indices.tolist(), decoder), frames[indices]), indices


def test_the_right_files_go_to_decord() -> None:
    decord = pytest.importorskip("decord", reason="decord is not installed")
    assert decord is not None
    chosen = {
        entry.values[0]["file"]
        for entry in entries("decode")
        if video.probe((CORPUS / entry.values[0]["file"]).read_bytes()).decoder == "decord"
    }
    assert {"base_h264.mp4", "gop1.mp4", "gop250.mp4", "vp9.webm", "vfr.mp4", "audio_first.mp4"} <= chosen
    wrong = {"opengop.mp4", "hevc.mp4", "editlist_gop250.mp4", "mpeg4.avi", "mpeg2.mpg", "h264.ts", "tiny_16x16.mp4"}
    assert not chosen & wrong
    assert not chosen & {"rot90.mp4", "rot270.mp4", "sar2.mp4", "reschange.ts", "av1.mp4", "anim.gif", "live.mkv"}


KINDS = {
    "audio_only.mp4": "not-video",
    "cover_art.mp3": "not-video",
    "trunc_nomoov.mp4": "truncated",
    "moov_only.mp4": "truncated",
    "zero.mp4": "empty",
    "random.mp4": "not-video",
    "html.mp4": "not-video",
    "ftyp_only.mp4": "truncated",
    "unknown_codec.mp4": "corrupt",
    "no_samples.mp4": "not-video",
    "hls_local.mp4": "not-video",
    "concat_local.mp4": "not-video",
}


@pytest.mark.parametrize("entry", entries("error", "policy"))
def test_broken_files_are_errors_of_a_kind(entry: dict[str, Any]) -> None:
    with pytest.raises(VideoError) as caught:
        video.check((CORPUS / entry["file"]).read_bytes())
    assert caught.value.kind == KINDS[entry["file"]]
    assert caught.value.hint


@pytest.mark.parametrize("entry", entries("partial"))
def test_damaged_files_are_errors_or_right(entry: dict[str, Any]) -> None:
    with pytest.raises(VideoError) as caught:
        video.check((CORPUS / entry["file"]).read_bytes())
    assert caught.value.kind in ("truncated", "corrupt")


def test_a_still_image_is_not_a_video() -> None:
    with pytest.raises(VideoError, match=r"still image \(JPEG\)"):
        video.check((CORPUS / "still.jpg").read_bytes())


def test_bombs_are_refused_by_a_limit() -> None:
    with pytest.raises(VideoError, match="16000x16000 = 256000000 pixels, over max_pixels"):
        video.check((CORPUS / "bomb_16k.mp4").read_bytes())
    with pytest.raises(VideoError, match="30000 frames without a key frame among them, over max_gop = 10000"):
        video.check((CORPUS / "bomb_frames.mp4").read_bytes())
    with pytest.raises(VideoError, match="over max_packets = 20000"):
        video.check((CORPUS / "bomb_frames.mp4").read_bytes(), Limits(max_packets=20_000))


CHILD = """
import faulthandler, json, resource, sys
from pathlib import Path
from vtr.data import video
from vtr.errors import VideoError
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for path in map(Path, sys.argv[2:]):
    faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)  # also ends a hang in native code
    try:
        data = video.read_file(path)
        info = video.check(data)
        video.read_frames(data, [0, info.frames - 1], info.decoder)
        outcome = info.frames
    except VideoError as error:
        outcome = error.kind
    print(json.dumps([path.name, outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]), flush=True)
"""


def outcomes(*names: str) -> dict[str, tuple[int | str, int]]:
    """{file: (frames or kind of error, most MiB so far)} of files that one child process reads, each within SECONDS."""
    command = [sys.executable, "-c", CHILD, str(SECONDS), *(str(CORPUS / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {name: (outcome, size) for name, outcome, size in map(json.loads, done.stdout.splitlines())}


def test_every_file_in_a_child_within_its_time() -> None:
    found = outcomes(*(entry.values[0]["file"] for entry in entries("decode", "error", "partial", "policy", "limit")))
    for entry in entries("decode"):
        assert found[entry.values[0]["file"]][0] == entry.values[0]["frames"]
    for entry in entries("error", "policy"):
        assert found[entry.values[0]["file"]][0] == KINDS[entry.values[0]["file"]]
    for entry in entries("limit"):
        assert found[entry.values[0]["file"]][0] == "too-large"


def test_a_pixel_bomb_takes_no_memory() -> None:
    tiny, bomb = outcomes("tiny_16x16.mp4", "bomb_16k.mp4").values()
    assert bomb[1] - tiny[1] < 200  # MiB: its one picture is 768 as RGB


def test_no_playlist_makes_a_request() -> None:
    hits: list[bytes] = []

    class Listener(BaseRequestHandler):
        def handle(self) -> None:
            hits.append(self.request.recv(100))

    with TCPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/clip.ts"
        texts = (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile {url}\n",
            f"<?xml version='1.0'?><MPD><BaseURL>{url}</BaseURL></MPD>",
            f"[InternetShortcut]\nURL={url}\n",
        )
        for text in texts:
            for call in (video.probe, video.check, video.frame_times, lambda data: video.read_frames(data, [0])):
                with pytest.raises(VideoError) as caught:
                    call(text.encode())
                assert caught.value.kind == "not-video"
        server.shutdown()
    assert hits == []
