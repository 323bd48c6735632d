"""Which frames make a clip, and how they are cropped to its size.

Letters: T frames, H W pixels. A video of n frames is cut into T equal segments in the closed interval, so one frame is
enough: n=10, T=4 -> segments [0 1 2][2 3 4][5 6 7][7 8 9].
Source: Frozen in Time (arXiv:2104.00650), section 3.3 for segments; its released code for crops.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vtr.data.stored import Pictures


def segment_frames(count: int, frames: int, rng: np.random.Generator | None = None) -> npt.NDArray[np.int64]:
    """(T,) ascending frame numbers below `count`: a random one of each segment, or the middle one without `rng`.

    A video shorter than T gives all of its frames and repeats the last one.
    Differs from the paper: the released code pads a short clip with black.
    """
    if count < frames:
        return _all_of(count, frames)
    first, end = _segments(count, frames)
    return (first + end - 1) // 2 if rng is None else rng.integers(first, end)


@lru_cache(maxsize=4096)  # clips of a frame store have few lengths, and this takes as long as reading the pictures
def _segments(count: int, frames: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(T,) the first frame of each segment, (T,) the one after its last."""
    edges = np.linspace(0, count, frames + 1)
    first = np.minimum(edges[:-1].astype(np.int64), count - 1)
    return first, np.maximum(np.ceil(edges[1:]).astype(np.int64), first + 1)


def dense_frames(
    count: int, frames: int, stride: int = 1, rng: np.random.Generator | None = None
) -> npt.NDArray[np.int64]:
    """(T,) frame numbers of a window, `stride` apart: it starts anywhere, or stands in the middle without `rng`.

    A video too short for the stride is seen whole, at a smaller one; shorter than T, it repeats its last frame.
    # n=10, T=3, stride 2 -> a span of 5 frames: [0 2 4] ... [5 7 9]; without rng [2 4 6]
    """
    if count < frames:
        return _all_of(count, frames)
    span = (frames - 1) * stride + 1
    if span > count:
        return np.linspace(0, count - 1, frames).round().astype(np.int64)
    room = count - span
    start = room // 2 if rng is None else int(rng.integers(room + 1))
    return start + stride * np.arange(frames, dtype=np.int64)


def frame_numbers(
    sampler: str, count: int, frames: int, stride: int = 1, rng: np.random.Generator | None = None
) -> npt.NDArray[np.int64]:
    """(T,) frame numbers below `count` by `sampler`: "segments" or "dense"."""
    if sampler == "dense":
        return dense_frames(count, frames, stride, rng)
    return segment_frames(count, frames, rng)


def _all_of(count: int, frames: int) -> npt.NDArray[np.int64]:
    """(T,) all of fewer than T frames, the last one repeated: n=2, T=4 -> [0 1 1 1]."""
    return np.minimum(np.arange(frames, dtype=np.int64), count - 1)


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the shorter one at `short_side`, in the same proportion."""
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))


def to_short_side(frames: npt.NDArray[np.uint8], short_side: int) -> npt.NDArray[np.uint8]:
    """(T,H,W,3) uint8 -> (T,H',W',3) uint8."""
    size = resized_size(frames.shape[1], frames.shape[2], short_side)
    if size == frames.shape[1:3]:
        return frames
    return np.ascontiguousarray(_resize(_planes(frames), size).permute(0, 2, 3, 1).numpy())


def evaluation_crop(frames: npt.NDArray[np.uint8], resize: int, size: int, fit: str = "centre") -> Tensor:
    """(T,H,W,3) uint8 -> (T,3,size,size) uint8: short side to `resize`, then the centre.

    `fit` is one of `vtr.config.FITS`: "crop-MODE" rounds as image processors of transformers do, "squeeze-MODE" keeps
    the whole picture and not its proportion; MODE is bicubic or bilinear.
    """
    planes = _planes(frames)
    if fit != "centre":
        way, mode = fit.split("-")
        return _squeezed(planes, size, mode) if way == "squeeze" else _cropped(planes, resize, size, mode)
    wanted = resized_size(frames.shape[1], frames.shape[2], resize)
    if wanted != tuple(planes.shape[-2:]):
        planes = _resize(planes, wanted)
    top, left = (wanted[0] - size) // 2, (wanted[1] - size) // 2
    return planes[..., top : top + size, left : left + size]


def _squeezed(planes: Tensor, size: int, mode: str) -> Tensor:
    return _resize(planes, (size, size), mode)


def _cropped(planes: Tensor, resize: int, size: int, mode: str) -> Tensor:
    height, width = planes.shape[-2:]
    short = min(height, width)
    planes = _resize(planes, (resize * height // short, resize * width // short), mode)  # cut, not rounded
    top, left = (planes.shape[-2] - size) // 2, (planes.shape[-1] - size) // 2
    return planes[..., top : top + size, left : left + size]


def training_crop(frames: Pictures, size: int, crop_min: float, flip: bool, rng: np.random.Generator) -> Tensor:
    """T of (H,W,3) uint8 -> (T,3,size,size) uint8: one random crop and flip for the whole clip.

    The crop covers `crop_min` to 1 of the picture, in a proportion of 3:4 to 4:3 (RandomResizedCrop).
    """
    height, width = frames[0].shape[:2]
    top, left, h, w = _random_box(height, width, crop_min, rng)
    cut = np.empty((len(frames), h, w, 3), np.uint8)
    for row, frame in zip(cut, frames, strict=True):
        row[:] = frame[top : top + h, left : left + w]
    planes = _resize(_planes(cut), (size, size))
    return planes.flip(-1) if flip and rng.random() < 0.5 else planes


def _random_box(height: int, width: int, crop_min: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = height * width * rng.uniform(crop_min, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
    side = min(height, width)  # a very long picture: its middle square, as torchvision falls back
    return (height - side) // 2, (width - side) // 2, side, side


def _planes(frames: npt.NDArray[np.uint8]) -> Tensor:
    # A (T,3,H,W) view of channels-last memory, which torch resizes fastest.
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def _resize(planes: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    if tuple(planes.shape[-2:]) == size:
        return planes
    # What torchvision's resize calls for such tensors, without the seconds that importing torchvision takes.
    return F.interpolate(planes, size=size, mode=mode, antialias=True)
