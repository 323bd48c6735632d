"""Pictures of a report as data: strips of a video's frames, and the heat map of similarities."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtr.data import stored
from vtr.data.apart import Decoder
from vtr.data.clips import segment_frames
from vtr.data.index import ShardIndex
from vtr.errors import VtrError
from vtr.retrieval.exact import Floats, tile_scores, widen

STRIP, HEIGHT = 3, 90  # frames a video, and how high they are in pixels
# Dark to bright and blue to yellow, so that it reads without colour too (after viridis, five anchors).
ANCHORS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64)


def strip(index: ShardIndex, sample: int, decode: Decoder) -> str | None:
    """Three frames of a video beside each other as a data URI, None where it cannot be read; images are one."""
    count = int(index.fact(sample, "frames"))
    try:
        numbers = segment_frames(count, min(STRIP, count)).tolist()
        frames = decode(stored.decode, stored.fetch(index, sample, numbers))
    except (VtrError, OSError):
        return None
    pictures = []
    for frame in frames:
        picture = Image.fromarray(frame)
        width = max(1, min(2 * HEIGHT, round(picture.width * HEIGHT / picture.height)))
        pictures.append(picture.resize((width, HEIGHT), Image.Resampling.BICUBIC))
    whole = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT))
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width
    return _uri(whole, "JPEG", quality=72)


def heat_map(text: Floats, video: Floats) -> tuple[str, float, float]:
    """The similarities of (A, E) texts, downwards, with (B, E) videos as a data URI; the lowest and highest of them.

    What is not a number is grey.
    """
    ok = [np.asarray(np.isfinite(rows).all(axis=1)) for rows in (text, video)]
    finite = ok[0][:, None] & ok[1][None, :]
    scores = tile_scores(widen(np.nan_to_num(text)), widen(np.nan_to_num(video)))
    low, high = (float(scores[finite].min()), float(scores[finite].max())) if finite.any() else (0.0, 0.0)
    colours = _colours((scores - low) / (high - low if high > low else 1))
    colours[~finite] = 128
    return _uri(Image.fromarray(colours), "PNG"), low, high


def scale() -> str:
    """The colours from lowest to highest, as a data URI."""
    return _uri(Image.fromarray(_colours(np.linspace(0, 1, 64)[None, :])), "PNG")


def _colours(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """0 to 1 -> RGB, one axis more."""
    at = np.linspace(0, 1, len(ANCHORS))
    return np.stack([np.interp(shares, at, ANCHORS[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def _uri(picture: Image.Image, kind: str, **how: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
