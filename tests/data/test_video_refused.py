"""What the video reader turns away: indices that are not there, limits, damage, files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from video_makers import make

from vtr.data import video
from vtr.data.video import Limits
from vtr.errors import ConfigError, VideoError


@pytest.fixture(scope="module")
def closed() -> bytes:
    return make()


def test_no_indices_give_no_frames(closed: bytes) -> None:
    assert video.read_frames(closed, []).shape == (0, 128, 192, 3)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("index", [40, -1])
def test_an_index_outside_is_an_error(closed: bytes, decoder: str, index: int) -> None:
    with pytest.raises(VideoError, match=f"frame {index} was asked for") as caught:
        video.read_frames(closed, [0, index], decoder)
    assert caught.value.kind == "no-frames"


def test_an_index_past_the_end_of_what_must_be_counted() -> None:
    with pytest.raises(VideoError, match="frame 40 was asked for, the video has 40"):
        video.read_frames(make(codec="mpeg4", container="avi", options={"bf": "2"}), [40])


def test_an_unknown_decoder_is_an_error(closed: bytes) -> None:
    with pytest.raises(ConfigError, match="no decoder 'opencv'"):
        video.read_frames(closed, [0], "opencv")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_bytes=1000), "bytes, over max_bytes = 1000"),
        (Limits(max_pixels=10_000), "192x128 = 24576 pixels, over max_pixels = 10000"),
        (Limits(max_packets=20), "packets or more, over max_packets = 20"),
        (Limits(max_gop=11), "the video has 12 frames without a key frame among them, over max_gop = 11"),
    ],
    ids=["bytes", "pixels", "packets", "gop"],
)
def test_limits_name_what_to_raise(closed: bytes, limits: Limits, message: str) -> None:
    with pytest.raises(VideoError, match=message) as caught:
        video.probe(closed, limits)
    assert caught.value.kind == "too-large"
    assert "shard it with a larger --max-" in caught.value.hint
    with pytest.raises(VideoError, match=message):
        video.read_frames(closed, [0], "pyav", limits)


def test_pixels_are_limited_as_they_are_shown() -> None:
    with pytest.raises(VideoError, match="shown as 19200x128"):
        video.probe(make(frames=2, options={"x264-params": "sar=100/1"}), Limits(max_pixels=1_000_000))


def test_a_limit_below_one_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_pixels is 0"):
        Limits(max_pixels=0)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_cut_mp4_is_an_error(keep: float, tmp_path: Path) -> None:
    data = make(muxer={"movflags": "faststart"}, path=tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match=r"the index promises 40 frames, [0-9]+ are there") as caught:
        video.probe(data[: int(len(data) * keep)])
    assert caught.value.kind == "truncated"


def test_a_damaged_index_never_reaches_decord() -> None:
    # The place of the first chunk of frames, moved past the end of the bytes: decord 0.6 crashes there.
    data = make()
    at = data.index(b"stco") + 12
    with pytest.raises(VideoError):
        video.check(data[:at] + b"\x7f" + data[at + 1 :])


def test_damaged_frames_are_errors_or_frames_and_never_crashes(closed: bytes) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(closed)
        for at in rng.integers(0, len(damaged), 8):
            damaged[at] ^= 1 << int(rng.integers(8))
        try:
            info = video.check(bytes(damaged))
        except VideoError as error:
            assert error.kind in ("corrupt", "truncated", "unsupported", "no-frames", "not-video", "too-large")
            assert error.hint
        else:
            assert info.frames > 0


def test_reading_is_silent(closed: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = closed[: len(closed) // 3] + bytes(len(closed) // 3) + closed[2 * len(closed) // 3 :]
    for data in (closed, damaged):
        try:
            video.check(data)
        except VideoError:
            assert data is damaged
    assert capfd.readouterr() == ("", "")


def test_read_file(tmp_path: Path, closed: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(closed)
    assert video.read_file(path) == closed
    with pytest.raises(VideoError, match=r"clip\.mp4 has [0-9]+ bytes, over max_bytes = 10") as caught:
        video.read_file(path, Limits(max_bytes=10))
    assert caught.value.kind == "too-large"
    path.write_bytes(b"")
    with pytest.raises(VideoError, match=r"clip\.mp4 has no bytes") as caught:
        video.read_file(path)
    assert caught.value.kind == "empty"
    with pytest.raises(VideoError, match=r"gone\.mp4 does not exist") as caught:
        video.read_file(tmp_path / "gone.mp4")
    assert caught.value.kind == "missing"
    with pytest.raises(VideoError, match="is not a file") as caught:
        video.read_file(tmp_path)
    assert caught.value.kind == "missing"
