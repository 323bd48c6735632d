"""Hiding 60 % of the patches saves 60 % of the multiplications, counted by torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vtr.masking import visible_count
from vtr.models.text import TextEncoder, small_text
from vtr.models.video import VideoEncoder

FRAMES, CELLS, WIDTH, DEPTH, WORDS = 4, 196, 768, 12, 32


def flops(call) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def video():
    """ViT-B/16 with divided attention; on the meta device shapes alone are computed."""
    with torch.device("meta"):
        return VideoEncoder(WIDTH, DEPTH, 12, 16, frames=FRAMES)


def of_video(encoder, ratio: float | None) -> int:
    clips = torch.empty(1, FRAMES, 3, 224, 224, device="meta")
    k = 0 if ratio is None else visible_count(CELLS, ratio)
    visible = None if ratio is None else torch.zeros(1, FRAMES, k, dtype=torch.int64, device="meta")
    return flops(lambda: encoder(clips, visible))


def by_hand(k: int) -> int:
    """2 a multiplication and its addition: qkv and projection of time and space, MLP, scores and sums of values."""
    patches = FRAMES * k
    linear = (1 + patches) * (2 * (3 + 1) + 2 * 4) * WIDTH**2
    # CLS sees all, twice; a patch sees CLS and its frame, CLS and its place in all frames.
    pairs = 2 * (1 + patches) + patches * (1 + k) + patches * (1 + FRAMES)
    return 2 * (DEPTH * (linear + 2 * pairs * WIDTH) + patches * 3 * 16 * 16 * WIDTH)


@pytest.mark.parametrize(("ratio", "k"), [(None, 196), (0.6, 78), (0.5, 98), (0.7, 58)])
def test_the_count_is_that_of_the_formula(video, ratio, k):
    assert of_video(video, ratio) == by_hand(k)


def test_the_video_encoder_costs_two_fifths(video):
    assert of_video(video, 0.6) / of_video(video, None) == pytest.approx(0.3913, abs=1e-4)  # 0.400 +- 0.01


def test_the_dual_encoder_costs_two_fifths(video):
    """With a DistilBERT of 32 words, whose cost is the same in both: 0.4002, the 60 % that MAC reports."""
    text = TextEncoder(small_text(100, WIDTH, 6, 12, WORDS))  # the vocabulary is looked up, not multiplied
    ids, attention = torch.zeros(1, WORDS, dtype=torch.int64), torch.arange(WORDS)[None] < 20
    words = flops(lambda: text(ids, attention))
    assert words == 2 * 6 * (WORDS * 12 * WIDTH**2 + 2 * WORDS**2 * WIDTH)
    ratio = (of_video(video, 0.6) + words) / (of_video(video, None) + words)
    assert ratio == pytest.approx(0.4002, abs=1e-4)


def test_joint_attention_costs_less_a_step_under_the_mask(video):
    with torch.device("meta"):
        joint = VideoEncoder(WIDTH, DEPTH, 12, 16, frames=FRAMES, attention="joint")
    assert of_video(joint, 0.6) / of_video(video, 0.6) < 0.8
    assert of_video(joint, 0.6) / of_video(joint, None) < 0.4
