"""Cutting a clip into patches is the first half of a convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vtr.errors import ConfigError
from vtr.masking import visible_cells
from vtr.models.patches import visible_patches
from vtr.rng import fold_in_rows


def clip(batch=2, frames=4, height=24, width=40, seed=0):
    return torch.randn(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_a_projection_of_patches_is_a_conv2d_per_frame():
    clips, weight = clip(), torch.randn(7, 3, 8, 8)
    conv = F.conv2d(clips.flatten(0, 1), weight, stride=8).flatten(2).transpose(1, 2).view(2, 4, 15, 7)
    ours = visible_patches(clips, None, 8) @ weight.flatten(1).T
    torch.testing.assert_close(ours, conv, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("tubelet", [1, 2, 4])
def test_a_projection_of_tubelets_is_a_conv3d(tubelet):
    clips, weight = clip(), torch.randn(7, 3, tubelet, 8, 8)
    conv = F.conv3d(clips.transpose(1, 2), weight, stride=(tubelet, 8, 8))  # (B,7,S,3,5)
    conv = conv.permute(0, 2, 3, 4, 1).flatten(2, 3)
    ours = visible_patches(clips, None, 8, tubelet) @ weight.flatten(1).T
    assert ours.shape == (2, 4 // tubelet, 15, 7)
    torch.testing.assert_close(ours, conv, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("tubelet", [1, 2])
@pytest.mark.parametrize("mask", ["per_frame", "tube"])
def test_visible_patches_are_those_of_the_whole(tubelet, mask):
    clips = clip()
    visible = visible_cells(fold_in_rows(0, torch.arange(2)), 4 // tubelet, 15, 6, mask)
    whole = visible_patches(clips, None, 8, tubelet)
    seen = visible_patches(clips, visible, 8, tubelet)
    for b in range(2):
        for s in range(4 // tubelet):
            for j, cell in enumerate(visible[b, s].tolist()):
                assert torch.equal(seen[b, s, j], whole[b, s, cell])


def test_all_cells_named_are_all_cells():
    everything = torch.arange(15).expand(2, 4, -1)
    assert torch.equal(visible_patches(clip(), everything, 8), visible_patches(clip(), None, 8))


def test_bytes_stay_bytes_and_layout_of_the_clip_is_free():
    clips = torch.randint(0, 256, (2, 4, 3, 24, 40), dtype=torch.uint8)
    patches = visible_patches(clips, None, 8)
    assert patches.dtype == torch.uint8
    channels_last = clips.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert torch.equal(visible_patches(channels_last, None, 8), patches)


@pytest.mark.parametrize(("patch", "tubelet"), [(16, 1), (8, 3), (5, 2)])
def test_a_clip_that_does_not_divide_is_refused(patch, tubelet):
    with pytest.raises(
        ConfigError,
        match=rf"4 frames of 24 x 40 does not divide into tubelets of {tubelet} x {patch} x {patch}\n  hint: choose",
    ):
        visible_patches(clip(), None, patch, tubelet)
