"""Frames made to fit as the image processors of CLIP and SigLIP do, against those of transformers, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vtr.config import FITS, DataConfig
from vtr.data.clips import evaluation_crop
from vtr.data.dataset import ClipShape
from vtr.errors import ConfigError

PIL = {"bilinear": 2, "bicubic": 3}


def frames(height, width):
    rng = np.random.default_rng(height * width)
    small = rng.integers(0, 256, (2, height // 4, width // 4, 3), dtype=np.uint8)
    return small.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (120, 90), (32, 32), (20, 36), (61, 97), (100, 33)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("way", ["crop", "squeeze"])
def test_pixels_are_those_of_the_image_processor(shape, mode, way):
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    given = frames(shape[0] // 4 * 4, shape[1] // 4 * 4)
    if way == "crop":
        theirs = CLIPImageProcessor(
            size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, resample=PIL[mode]
        )
    else:
        theirs = SiglipImageProcessor(size={"height": 32, "width": 32}, resample=PIL[mode])
    wanted = theirs(list(given), return_tensors="pt", do_normalize=False)["pixel_values"] * 255
    ours = evaluation_crop(given, 36, 32, f"{way}-{mode}")
    assert ours.shape == (2, 3, 32, 32)
    assert ours.dtype == torch.uint8
    assert (ours.float() - wanted).abs().max() < 0.01


def test_the_ways_differ_and_say_what_they_are():
    given = frames(44, 72)
    found = {fit: ClipShape(4, 32, 36, fit=fit) for fit in FITS}
    pixels = [shape.evaluation(given).numpy().tobytes() for shape in found.values()]
    assert len(set(pixels)) == len(FITS)
    assert len({shape.in_words for shape in found.values()}) == len(FITS)
    assert found["centre"].in_words == "short side 36, centre crop 32, middle frame of each segment"
    assert found["squeeze-bicubic"].in_words.startswith("squeezed to 32 x 32 (bicubic)")
    assert ClipShape(4, 32, 36, sampler="dense", stride=2).in_words.endswith("4 frames of the middle, 2 apart")
    # A JPEG decoded at a fraction of its size would not be what the image processor sees.
    assert (found["centre"].at_least, found["crop-bicubic"].at_least) == (37, 0)
    with pytest.raises(ConfigError, match=r"data.fit = 'stretch' is unknown"):
        DataConfig(fit="stretch")
