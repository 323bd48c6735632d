"""Videos made on the fly, read by both decoders; the files from the wild are in test_corpus.py."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from video_makers import assert_random_access, in_order, make

from vtr.data import decord_reader, video

HAS_DECORD = decord_reader.load() is not None
ONE = 1 << 16  # of a display matrix


@pytest.fixture(scope="module")
def closed() -> bytes:
    return make()


KINDS = {
    "vp8 with hidden frames": {
        "codec": "libvpx", "container": "webm", "frames": 60, "gop": 40,
        "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4", "b": "200k"},
    },
    "vp9": {"codec": "libvpx-vp9", "container": "webm", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "vp8 in ogg": {"codec": "libvpx", "container": "ogg", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "open GOP": {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3:b-pyramid=normal"}},
    "refresh without key frames": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "refresh in a stream": {"container": "mpegts", "options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "h264 in avi": {"container": "avi"},
    "h264 in flv": {"container": "flv"},
    "m2ts": {"container": "mpegts", "muxer": {"mpegts_m2ts_mode": "1"}},
    "interlaced": {"options": {"x264-params": "interlaced=1:tff=1"}},
    "10 bit": {"pixels": "yuv420p10le"},
    "odd size, 4:4:4": {"size": (161, 121), "pixels": "yuv444p"},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12", "preset": "ultrafast"}},
    "hevc layers": {
        "codec": "libx265", "options": {"x265-params": "log-level=none:temporal-layers=2", "preset": "ultrafast"}
    },
    "mpeg4 with B-frames, mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4 with B-frames, avi": {"codec": "mpeg4", "container": "avi", "options": {"bf": "2"}},
    "mpeg2 stream": {"codec": "mpeg2video", "container": "mpegts", "options": {"bf": "2"}},
    "mpeg2, no container": {"codec": "mpeg2video", "container": "mpeg2video", "options": {"bf": "2"}},
    "windows media": {"codec": "wmv2", "container": "asf"},
    "gif": {"codec": "gif", "container": "gif", "frames": 10, "pixels": "rgb8"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_frames_of_a_plain_loop(kind: str) -> None:
    data = make(**KINDS[kind])  # type: ignore[arg-type]
    frames = in_order(data)
    info = video.check(data)
    assert (info.frames, info.width, info.height) == (len(frames), frames.shape[2], frames.shape[1])
    assert len(video.frame_times(data)) == info.frames
    for decoder in {"pyav", info.decoder}:
        assert_random_access(data, frames, decoder)


def test_probe_measures(closed: bytes) -> None:
    info = video.probe(closed)
    assert (info.frames, info.fps, info.duration_s) == (40, 25.0, 1.6)
    assert (info.width, info.height, info.container, info.codec) == (192, 128, "mp4", "h264")
    np.testing.assert_allclose(video.frame_times(closed), np.arange(40) / 25, atol=1e-9)


@pytest.mark.skipif(not HAS_DECORD, reason="decord is not installed")
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_closed_gops_go_to_decord_and_give_the_same_pixels(container: str) -> None:
    data = make(container=container)
    assert video.check(data).decoder == "decord"
    assert_random_access(data, in_order(data), "decord")


@pytest.mark.parametrize(
    "kind",
    [
        {"size": (64, 64)},
        {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3"}},
        {"container": "mpegts"},
        {"pixels": "yuv420p10le"},
        {"options": {"x264-params": "sar=2/1"}},
        {"matrix": (0, ONE, -ONE, 0)},
        {"matrix": (ONE, 0, 0, -ONE)},  # a mirror image, which has no angle
    ],
    ids=["narrow", "open GOP", "stream", "10 bit", "anamorphic", "turned", "mirrored"],
)
def test_what_decord_would_get_wrong_goes_to_pyav(kind: dict[str, Any]) -> None:
    assert video.probe(make(**kind)).decoder == "pyav"


def test_false_key_frames_are_not_trusted() -> None:
    data = make(gop=48, frames=48, options={"x264-params": "scenecut=0:keyint=48"})
    frames = in_order(data)
    at = data.index(b"stss")  # without its table of key frames an mp4 says that each frame is one
    data = data[:at] + b"free" + data[at + 4 :]
    assert video.check(data).decoder == "pyav"
    assert_random_access(data, frames, "pyav")


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, ONE, -ONE, 0), lambda p: np.rot90(p, -1)),
        ((0, -ONE, ONE, 0), lambda p: np.rot90(p, 1)),
        ((-ONE, 0, 0, -ONE), lambda p: np.rot90(p, 2)),
        ((-ONE, 0, 0, ONE), lambda p: p[:, ::-1]),
        ((ONE, 0, 0, -ONE), lambda p: p[::-1]),
        ((0, ONE, ONE, 0), lambda p: p.transpose(1, 0, 2)),
    ],
    ids=["clockwise", "counterclockwise", "upside down", "mirrored", "flipped", "transposed"],
)
def test_frames_come_upright(matrix: tuple[int, int, int, int], upright: Any) -> None:
    data = make(frames=4, matrix=matrix)
    frames = np.stack([upright(picture) for picture in in_order(data)])
    info = video.check(data)
    assert (info.height, info.width) == frames.shape[1:3]
    np.testing.assert_array_equal(video.read_frames(data, [3, 0], info.decoder), frames[[3, 0]])


def test_pixels_are_squared() -> None:
    wide, tall = (make(frames=3, options={"x264-params": f"sar={sar}"}) for sar in ("2/1", "1/2"))
    assert (video.check(wide).width, video.check(wide).height) == (384, 128)
    assert video.read_frames(wide, [2]).shape == (1, 128, 384, 3)
    assert video.read_frames(tall, [2]).shape == (1, 128, 96, 3)
    plain = video.read_frames(make(frames=3), [2]).astype(int)
    assert np.abs(video.read_frames(wide, [2])[:, :, ::2].astype(int) - plain).mean() < 8


def test_a_rounded_width_is_not_resampled() -> None:
    data = make(frames=3, options={"x264-params": "sar=640/639"})
    np.testing.assert_array_equal(video.read_frames(data, range(3)), in_order(data))


def test_without_decord_pyav_reads(closed: bytes) -> None:
    # A child process in which decord cannot be imported, as where it has no wheels.
    script = (
        "import sys; sys.modules['decord'] = None\n"
        "from vtr.data import video\n"
        "data = sys.stdin.buffer.read()\n"
        "assert video.check(data).decoder == 'pyav'\n"
        "assert video.read_frames(data, [5, 1], 'decord').shape == (2, 128, 192, 3)\n"
    )
    subprocess.run([sys.executable, "-c", script], input=closed, check=True, timeout=60)


@pytest.mark.skipif(not HAS_DECORD, reason="decord is not installed")
def test_decord_is_told_to_give_up_at_the_end_of_a_file() -> None:
    script = (
        "from vtr.data import decord_reader as d, video; import os; d.load(); print(os.environ['DECORD_EOF_RETRY_MAX'])"
    )
    environment = {**os.environ, "DECORD_EOF_RETRY_MAX": "20480"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"512"]


def test_importing_does_not_import_decord() -> None:
    script = "import sys, vtr.data.video; sys.exit('decord' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_info_crosses_processes(closed: bytes) -> None:
    info = video.probe(closed)
    assert pickle.loads(pickle.dumps(info)) == info
