"""The short way to a stored picture gives PIL's pixels, and leaves to PIL what it is not sure of."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vtr.data import image, jpeg, stored
from vtr.data.limits import DEFAULT, Limits
from vtr.errors import VideoError


def encoded(mode: str = "RGB", size: tuple[int, int] = (91, 64), **options: object) -> bytes:
    rows = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3)
    noise = np.random.default_rng(0).normal(0, 20, rows.shape)
    picture = Image.fromarray((rows + noise).clip(0, 255).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"quality": 90, "subsampling": "4:2:0"}, {"quality": 95, "subsampling": 0},
                                     {"progressive": True}], ids=str)  # fmt: skip
def test_the_pixels_are_those_of_pil(options: dict[str, object]) -> None:
    data = encoded(**options)
    assert jpeg.plain_size(data) == (64, 91)
    found = jpeg.decode(data, DEFAULT)
    assert found is not None, "torchvision has its operator where we look for it"
    assert found.shape == (64, 91, 3)
    assert (found == image.decode(data)).all()
    assert (stored.decode_jpeg(data) == found).all()


def test_what_is_not_plain_is_left_to_pil() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    rotated = encoded(exif=turned)
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    for data in (rotated, encoded("L"), encoded("CMYK"), png.getvalue(), b"\xff\xd8\xff", b"", b"\xff\xd8\xff\xe0\0\1"):
        assert jpeg.plain_size(data) is None
        assert jpeg.decode(data, DEFAULT) is None
    assert stored.decode_jpeg(rotated).shape == (91, 64, 3), "upright, as its note says"
    assert stored.decode_jpeg(encoded("L")).shape == (64, 91, 3)


def test_a_torn_picture_is_an_error_either_way() -> None:
    data = encoded()
    with pytest.raises(VideoError, match="cannot be decoded") as caught:
        stored.decode_jpeg(data[:200])
    assert caught.value.kind == "corrupt"


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bytearray(encoded())
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = (40_000).to_bytes(2, "big") * 2
    with pytest.raises(VideoError, match="a picture of 40000x40000, over max_pixels") as caught:
        stored.decode_jpeg(bytes(data))
    assert caught.value.kind == "too-large"
    with pytest.raises(VideoError, match="over max_pixels = 100"):
        stored.decode_jpeg(encoded(), Limits(max_pixels=100))


def test_a_large_photograph_is_decoded_at_a_fraction_of_its_size() -> None:
    data = encoded(size=(1200, 800), quality=90)
    whole = image.decode(data)
    assert [image.decode(data, at_least=n).shape[:2] for n in (0, 500, 400, 250, 200, 100, 30)] == [
        (800, 1200), (800, 1200), (400, 600), (400, 600), (200, 300), (100, 150), (100, 150)
    ]  # fmt: skip
    small = Image.fromarray(whole).resize((300, 200), Image.Resampling.BOX)
    difference = np.abs(image.decode(data, at_least=200).astype(int) - np.asarray(small))
    assert difference.mean() < 2
    turned = Image.Exif()
    turned[0x0112] = 6
    assert image.decode(encoded(size=(1200, 800), exif=turned), at_least=200).shape == (300, 200, 3)
