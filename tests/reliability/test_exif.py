"""Pictures whose EXIF is damaged or made to do harm: it is worth nothing, and costs no picture."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest
from damage import _exif
from PIL import Image, ImageOps

from vtr.data import image

KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
WIDE, TALL = (32, 48, 3), (48, 32, 3)


def encoded(suffix: str, **how: object) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, WIDE, dtype=np.uint8)
    Image.fromarray(pixels).save(file, KINDS[suffix], **how)
    return file.getvalue()


@pytest.mark.parametrize("suffix", KINDS)
def test_damaged_exif_costs_no_picture(suffix: str) -> None:
    rng, plain = random.Random(suffix), encoded(suffix)
    found = [image.decode(_exif(plain, suffix, rng)).shape for _ in range(700)]
    assert set(found) == {WIDE, TALL}, "some are turned as it says, all are read"


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("turn", range(10))
def test_whole_exif_is_obeyed(suffix: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(suffix, exif=exif)
    with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    np.testing.assert_array_equal(image.decode(data), wanted)
