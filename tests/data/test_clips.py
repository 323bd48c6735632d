"""Which frames make a clip, and how they are cropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vtr.data.clips import (
    dense_frames,
    evaluation_crop,
    frame_numbers,
    resized_size,
    segment_frames,
    to_short_side,
    training_crop,
)
from vtr.rng import generator


def picture(height: int, width: int, frames: int = 2) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (frames, height, width, 3), np.uint8)


def test_the_middle_of_each_segment() -> None:
    assert segment_frames(8, 4).tolist() == [0, 2, 4, 6]
    assert segment_frames(10, 4).tolist() == [1, 3, 6, 8]
    assert segment_frames(300, 1).tolist() == [149]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 16, 299])
@pytest.mark.parametrize("frames", [1, 2, 4, 8, 16])
def test_frames_are_ascending_and_there(count: int, frames: int) -> None:
    for rng in (None, generator(0, count), generator(1, frames)):
        numbers = segment_frames(count, frames, rng)
        assert numbers.shape == (frames,)
        assert numbers.min() >= 0
        assert numbers.max() < count
        assert (np.diff(numbers) >= 0).all()
        if count >= 2 * frames:
            assert (np.diff(numbers) > 0).all()


def test_a_video_of_one_frame_repeats_it() -> None:
    assert segment_frames(1, 4).tolist() == segment_frames(1, 4, generator(0)).tolist() == [0, 0, 0, 0]


def test_a_short_video_gives_all_of_its_frames_and_repeats_the_last() -> None:
    for rng in (None, generator(0)):
        assert segment_frames(2, 4, rng).tolist() == [0, 1, 1, 1]
        assert segment_frames(3, 4, rng).tolist() == [0, 1, 2, 2]
        assert dense_frames(3, 8, 2, rng).tolist() == [0, 1, 2, 2, 2, 2, 2, 2]


def test_a_random_frame_may_be_any_of_its_segment() -> None:
    drawn = np.array([segment_frames(10, 4, generator(seed)) for seed in range(200)])
    # segments [0 1 2][2 3 4][5 6 7][7 8 9]
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1, 2], [2, 3, 4], [5, 6, 7], [7, 8, 9]]


def test_the_short_side_is_met_and_the_proportion_kept() -> None:
    assert resized_size(480, 640, 240) == (240, 320)
    assert resized_size(640, 480, 240) == (320, 240)
    assert resized_size(100, 1000, 36) == (36, 360)
    assert resized_size(37, 37, 37) == (37, 37)
    assert resized_size(3, 1000, 1)[0] == 1


def test_frames_of_the_right_size_are_not_touched() -> None:
    frames = picture(36, 50)
    assert to_short_side(frames, 36) is frames
    assert to_short_side(picture(72, 100), 36).shape == (2, 36, 50, 3)


@pytest.mark.parametrize(("height", "width"), [(36, 50), (50, 36), (36, 36), (72, 72), (20, 30), (37, 91)])
def test_evaluation_takes_the_centre(height: int, width: int) -> None:
    frames = picture(height, width)
    clip = evaluation_crop(frames, 36, 32)
    assert clip.shape == (2, 3, 32, 32)
    assert clip.dtype == torch.uint8
    if min(height, width) == 36:  # nothing is resized: it is a cut of the frames
        top, left = (height - 32) // 2, (width - 32) // 2
        cut = frames[:, top : top + 32, left : left + 32].transpose(0, 3, 1, 2)
        assert np.array_equal(clip.numpy(), cut)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 33), (32, 400), (500, 20), (8, 8)])
def test_a_training_crop_is_of_the_size_whatever_the_picture(height: int, width: int) -> None:
    frames = picture(height, width)
    for seed in range(20):
        clip = training_crop(frames, 32, 0.3, True, generator(seed))
        assert clip.shape == (2, 3, 32, 32)
        assert clip.dtype == torch.uint8


def test_a_training_crop_covers_the_share_that_was_asked_for() -> None:
    # Each pixel of the two-channel ramp names its place, so the corners of the crop are read from the pixels.
    ramp = np.zeros((1, 200, 200, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(200)[:, None], np.arange(200)
    shares = []
    for seed in range(100):
        clip = training_crop(ramp, 50, 0.5, False, generator(seed))[0].float()
        h, w = (clip[0, -1, 0] - clip[0, 0, 0]) * 50 / 49, (clip[1, 0, -1] - clip[1, 0, 0]) * 50 / 49
        shares.append(float(h * w) / 200**2)
        assert 0.7 < h / w < 1.4
    assert min(shares) > 0.45
    assert max(shares) < 1.02
    assert np.ptp(shares) > 0.3


def test_one_crop_and_one_flip_for_the_whole_clip() -> None:
    frames = np.repeat(picture(40, 50, 1), 4, axis=0)
    flips = 0
    for seed in range(40):
        clip = training_crop(frames, 32, 0.5, True, generator(seed))
        assert all(torch.equal(clip[0], frame) for frame in clip)
        straight = training_crop(frames, 32, 0.5, False, generator(seed))
        flips += not torch.equal(clip, straight)
        assert torch.equal(clip, straight) or torch.equal(clip, straight.flip(-1))
    assert 8 < flips < 32


def test_pictures_apart_are_cropped_as_those_in_one_array() -> None:
    frames = picture(40, 50, 3)
    for seed in range(20):
        apart = training_crop([np.asfortranarray(frame) for frame in frames], 32, 0.5, True, generator(seed))
        assert torch.equal(apart, training_crop(frames, 32, 0.5, True, generator(seed)))


def test_no_flip_unless_asked_for() -> None:
    """Captions say left and right."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, None, :, None], (1, 200, 200, 3))
    for seed in range(30):
        clip = training_crop(np.ascontiguousarray(ramp), 32, 0.5, False, generator(seed)).int()
        assert (clip[..., 1:] >= clip[..., :-1]).all()


def test_a_dense_window_in_the_middle_or_anywhere() -> None:
    assert dense_frames(10, 3, 2).tolist() == [2, 4, 6]
    assert dense_frames(10, 4).tolist() == [3, 4, 5, 6]
    starts = {int(dense_frames(10, 3, 2, generator(seed))[0]) for seed in range(200)}
    assert starts == set(range(6))
    for seed in range(20):
        assert np.diff(dense_frames(300, 16, 4, generator(seed))).tolist() == [4] * 15


def test_a_video_too_short_for_the_window_is_seen_whole() -> None:
    assert dense_frames(9, 4, 4, generator(0)).tolist() == [0, 3, 5, 8]
    assert dense_frames(1, 3, 4).tolist() == [0, 0, 0]
    assert dense_frames(13, 4, 4).tolist() == dense_frames(13, 4, 4, generator(1)).tolist() == [0, 4, 8, 12]


def test_a_sampler_by_its_name() -> None:
    assert frame_numbers("dense", 10, 3, 2).tolist() == [2, 4, 6]
    assert frame_numbers("segments", 10, 4, 2).tolist() == segment_frames(10, 4).tolist()


@pytest.mark.parametrize("shape", [(120, 160), (33, 47), (240, 135)])
@pytest.mark.parametrize("side", [32, 64, 200])
def test_resizing_is_torchvisions(shape, side):
    from torchvision.transforms.v2 import functional as V

    frames = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    size = resized_size(*shape, side)
    wanted = V.resize(torch.from_numpy(frames).permute(0, 3, 1, 2), list(size), antialias=True)
    np.testing.assert_array_equal(to_short_side(frames, side), wanted.permute(0, 2, 3, 1).numpy())
