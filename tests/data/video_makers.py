"""Videos made on the fly for the decoder tests, and the plain loop that random access is held against."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np

from vtr.data import video


def make(
    codec: str = "libx264",
    container: str = "mp4",
    frames: int = 40,
    size: tuple[int, int] = (192, 128),
    pixels: str = "yuv420p",
    gop: int = 12,
    options: dict[str, str] | None = None,
    matrix: tuple[int, int, int, int] | None = None,
    muxer: dict[str, str] | None = None,
    path: Path | None = None,
) -> bytes:
    """A video of a texture that drifts under a block that moves: no two frames are alike."""
    width, height = size
    texture = np.random.default_rng(0).integers(30, 220, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    texture = texture.repeat(16, 0).repeat(16, 1)[:height, :width]
    buffer = io.BytesIO()
    with av.open(str(path) if path else buffer, "w", format=container, container_options=muxer or {}) as out:
        stream: Any = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        if matrix:
            a, b, c, d = matrix
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for i in range(frames):
            picture = np.roll(texture, 2 * i, axis=1)
            left = 5 * i % (width - width // 4)
            picture[height // 4 : height // 2, left : left + width // 4] = (255, 6 * i % 256, 0)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        out.mux(stream.encode())
    return path.read_bytes() if path else buffer.getvalue()


def in_order(data: bytes) -> np.ndarray:
    """Every frame as PyAV's own plain loop gives them, without a seek: what random access is held against."""
    with av.open(io.BytesIO(data)) as container:
        pictures = [f.to_ndarray(format="rgb24", interpolation="BICUBIC") for f in container.decode(video=0)]
    return np.stack(pictures)


def assert_random_access(data: bytes, frames: np.ndarray, decoder: str, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        indices = rng.integers(0, len(frames), rng.integers(1, 10))  # they repeat, and come in any order
        np.testing.assert_array_equal(video.read_frames(data, indices.tolist(), decoder), frames[indices])
