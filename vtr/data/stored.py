"""Frames of a stored sample by their numbers, whichever store it is in: only the bytes that are needed are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vtr.data import image, video
from vtr.data.index import ShardIndex
from vtr.data.limits import DEFAULT, Limits
from vtr.data.tar import IMAGE_EXTS
from vtr.errors import VideoError


def read_frames(index: ShardIndex, i: int, numbers: Sequence[int], limits: Limits = DEFAULT) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) uint8 RGB: the frames `numbers` of sample `i`, counted from 0 to `index.fact(i, "frames")`.

    Numbers may repeat and come in any order. Raises VideoError: `no-frames` for a number past the end, `corrupt` or
    `truncated` for bytes that are not those that were written, and what decoding raises.
    """
    stored, decoder = index.fact(i, "store"), index.fact(i, "decoder")
    if stored != "frames" and decoder != "image":
        return video.read_frames(index.read_video(i), numbers, decoder, limits)
    count = index.fact(i, "frames")
    for number in numbers:
        if not 0 <= number < count:
            raise VideoError(
                "no-frames", f"{index.key(i)} has {count} stored frames, number {number} was asked for", "ask for fewer"
            )
    if stored != "frames":
        ext = next(member.ext for member in index.members(i) if member.ext.rsplit(".", 1)[-1] in IMAGE_EXTS)
        return np.stack([decode_jpeg(index.read(i, [ext])[ext], limits)] * len(numbers))
    pictures = index.read(i, {f"{number:04d}.jpg" for number in numbers})
    decoded = {ext: decode_jpeg(data, limits) for ext, data in pictures.items()}
    return np.stack([decoded[f"{number:04d}.jpg"] for number in numbers])


def decode_jpeg(data: bytes, limits: Limits = DEFAULT) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a stored picture: a JPEG, PNG or WebP. Raises VideoError as `image.decode`."""
    return image.decode(data, limits)
