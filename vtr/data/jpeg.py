"""Stored JPEGs by the shortest way: libjpeg-turbo through torchvision, whose pixels are PIL's.

SOI FFD8 | segment: FF marker, length 2, body | ... | SOF0..2: FF C0-C2, length, precision, height 2, width 2, parts
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vtr.data.limits import Limits

# Start of frame: baseline, extended, progressive. What else there is (lossless, arithmetic) is left to PIL.
FRAMES = (0xC0, 0xC1, 0xC2)
EXIF = 0xE1
RGB = 3  # torchvision.io.ImageReadMode.RGB


def decode(data: bytes, limits: Limits) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB of a plain JPEG of three colours, else None: let `image.decode` see it.

    None too for one that may be turned (EXIF) or that libjpeg refuses. Raises VideoError `too-large` before decoding.
    """
    size = plain_size(data)
    if size is None:
        return None
    height, width = size
    limits.check("max_pixels", height * width, f"a picture of {width}x{height}")
    operator = _operator()
    if operator is None:
        return None
    import torch

    try:
        # A bytearray, for torch warns of memory that it must not write to.
        picture = operator(torch.frombuffer(bytearray(data), dtype=torch.uint8), RGB)
    except RuntimeError:
        return None
    # It has decoded rows of pixels and shows them as planes: back to rows costs nothing.
    return np.asarray(picture.permute(1, 2, 0).numpy())


@cache
def _operator() -> Callable[[Any, int], Any] | None:
    """torchvision's operator itself: of a small picture, the function around it takes longer than the decoding.

    None where there is none: newer releases may leave pictures to another package.
    """
    try:
        import torch
        import torchvision.io  # noqa: F401  (registers it)

        operator: Callable[[Any, int], Any] = torch.ops.image.decode_jpeg.default
    except (ImportError, AttributeError, RuntimeError):
        return None
    return operator


def plain_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG of three colours without EXIF, from its header; None for anything else."""
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in FRAMES:
            height, width, colours = data[place + 5 : place + 7], data[place + 7 : place + 9], data[place + 9]
            size = int.from_bytes(height, "big"), int.from_bytes(width, "big")
            return size if colours == 3 and all(size) else None
        if marker == EXIF or not 0xC4 <= marker <= 0xFE or marker in (0xD8, 0xD9, 0xDA) or length < 2:
            return None
        place += 2 + length
    return None
