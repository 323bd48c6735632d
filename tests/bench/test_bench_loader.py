"""The loader's and the decoders' benchmarks run, on clips of a second, and measure what their goals name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtr.bench import run
from vtr.bench.clips import make_clips
from vtr.bench.decode import GOALS as DECODE
from vtr.bench.loader import GOALS as LOADER
from vtr.data import video


def test_clips_are_as_asked(tmp_path: Path) -> None:
    one, other = make_clips(tmp_path, 2, 0.5, (176, 144), 250)
    info = video.check(one.video.read_bytes())
    assert (info.frames, info.fps, info.width, info.height, info.codec) == (15, 30.0, 176, 144, "h264")
    assert one.video.read_bytes() != other.video.read_bytes()


def test_the_loader() -> None:
    result = run("loader", repeats=1, small=True)
    assert set(result["ratios"]) == set(LOADER)
    assert result["ratios"]["loader.frames_over_video"] > 0
    assert 0 < result["ratios"]["loader.efficiency"] < 10
    assert result["figures"]["frames_clips_per_s"] > 0


def test_the_decoders() -> None:
    pytest.importorskip("decord")
    result = run("decode", repeats=1, small=True)
    assert set(result["ratios"]) == set(DECODE)
    assert all(value > 0 for value in result["figures"].values())
