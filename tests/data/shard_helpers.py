"""Real little videos, and video makers that misbehave, for the shard tests; importable by worker processes."""

from __future__ import annotations

import os
import resource
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from vtr.data.annotations import Sample


def make_video(path: Path, seed: int = 0, frames: int = 8, size: tuple[int, int] = (176, 144)) -> Path:
    """An H.264 file of a block that moves, unless it is there; every seed gives other bytes, the same seed the same."""
    if path.exists():
        return path
    colour = np.random.default_rng(seed).integers(40, 255, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height = size
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for t in range(frames):
            picture = np.full((size[1], size[0], 3), 20, np.uint8)
            picture[40 + 4 * t : 80 + 4 * t, 10 + 8 * t : 60 + 8 * t] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def make_samples(folder: Path, count: int, **video: int) -> list[Sample]:
    """`count` samples with a video file each and one or two captions."""
    return [
        Sample(
            key=f"clip-{i:03}",
            video=make_video(folder / f"clip-{i:03}.mp4", i, **video),
            captions=(f"clip number {i}", "ein Würfel läuft")[: 1 + i % 2],
            split="test" if i % 5 == 4 else "train",
            meta={"n": i, "tags": ["a", None]},
            source=f"clip-{i:03}.mp4",
        )
        for i in range(count)
    ]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class Dies:
    """A video maker that ends its process by a signal, as a decoder that crashes (or a kernel out of memory) does."""

    signal: int = signal.SIGSEGV

    def __call__(self) -> bytes:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), self.signal)
        raise AssertionError


@dataclass(frozen=True)
class Hangs:
    """A video maker that never ends."""

    def __call__(self) -> bytes:
        time.sleep(1000)
        raise AssertionError


@dataclass(frozen=True)
class Fails:
    """A video maker with a bug."""

    def __call__(self) -> bytes:
        raise KeyError("no such thing")


@dataclass(frozen=True)
class Slow:
    """A video maker that takes its time and then reads a file."""

    path: str
    seconds: float = field(repr=False)  # no part of what it is

    def __call__(self) -> bytes:
        time.sleep(self.seconds)
        return Path(self.path).read_bytes()
