"""Clips to measure with: as long, large and detailed as what is found on the web, made from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vtr.data.annotations.sample import Sample

FPS = 30


def make_clips(
    folder: Path, count: int, seconds: float = 10.0, size: tuple[int, int] = (854, 480), gop: int = 250
) -> Sequence[Sample]:
    """`count` H.264 files of `seconds` at 30 frames a second, one key frame in `gop`, as samples with a caption."""
    from vtr.data.annotations.sample import Sample

    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number in range(count):
        path = folder / f"{number:04d}.mp4"
        make_clip(path, number, round(seconds * FPS), size, gop)
        samples.append(Sample(f"clip-{number:04d}", path, (f"clip number {number}",), "train", {}, path.name))
    return samples


def make_clip(path: Path, seed: int, frames: int, size: tuple[int, int], gop: int) -> None:
    """One file: a detailed background that a camera pans over, and things that move before it."""
    import av
    import numpy as np

    rng = np.random.default_rng(seed)
    width, height = size
    margin = 64
    background = _texture(rng, height + margin, width + margin)
    things = [(_texture(rng, height // 4, width // 6), rng.uniform(0, 1, 2), rng.uniform(-1, 1, 2)) for _ in range(4)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size, stream.thread_count = gop, 1
        for t in range(frames):
            x, y = ((1 + np.sin(t / 60 + phase)) / 2 * margin for phase in (0, 1))
            picture = background[int(y) : int(y) + height, int(x) : int(x) + width].copy()
            for thing, start, speed in things:
                h, w = thing.shape[:2]
                top, left = ((start + speed * t / 150) % 1 * (height - h, width - w)).astype(int)
                picture[top : top + h, left : left + w] = thing
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def _texture(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8: noise of every size, the larger the stronger, as natural pictures have it."""
    import numpy as np
    from PIL import Image

    total = np.zeros((height, width, 3), np.float32)
    for scale in (8, 16, 32, 64, 128):
        small = rng.normal(0, 1, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        planes = [
            np.asarray(Image.fromarray(small[..., c]).resize((width, height), Image.Resampling.BICUBIC))
            for c in range(3)
        ]
        total += np.stack(planes, -1) * scale**0.5
    return np.asarray((128 + 40 * total / total.std()).clip(0, 255), np.uint8)
