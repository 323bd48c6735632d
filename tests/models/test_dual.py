"""Two towers and their heads, and a temperature that stays where it belongs."""

from __future__ import annotations

import pytest
import torch

from vtr.models.dual import DualEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.video import VideoEncoder


def dual(**given) -> DualEncoder:
    torch.manual_seed(0)
    video = VideoEncoder(width=12, depth=1, heads=3, patch=4, frames=2, size=8)
    return DualEncoder(video, TextEncoder(small_text(50, 16, 1, 2, 8)), 6, **given)


def test_the_heads_are_as_released():
    model = dual()
    clips, ids = torch.randint(0, 256, (3, 2, 3, 8, 8), dtype=torch.uint8), torch.randint(5, 50, (3, 7))
    attention = torch.ones(3, 7, dtype=torch.bool)
    video, text = model.encode_video(clips), model.encode_text(ids, attention)
    assert video.shape == text.shape == (3, 6)
    assert model.embed_dim == 6
    assert torch.equal(video, model.vid_proj(model.video(clips)[:, 0]))
    states = model.text.model(input_ids=ids).last_hidden_state[:, 0]
    torch.testing.assert_close(text, model.txt_proj[1](states.clamp(min=0)))
    visible = torch.tensor([[0, 2], [1, 3]]).expand(3, -1, -1)
    assert torch.equal(model.encode_video(clips, visible), model.vid_proj(model.video(clips, visible)[:, 0]))


@pytest.mark.parametrize("tau", [0.05, 0.001, 1.0])
def test_a_fixed_temperature_is_what_was_given(tau):
    model = dual(temperature=tau)
    assert model.temperature.item() == pytest.approx(tau, rel=1e-6)
    assert not model.temperature.requires_grad
    assert not model.log_temperature.requires_grad


def test_a_learned_temperature_stops_at_its_floor_and_comes_back():
    model = dual(temperature=0.02, learn_temperature=True)
    assert model.temperature.item() == pytest.approx(0.02, rel=1e-6)
    optimizer = torch.optim.AdamW([model.log_temperature], lr=0.02, weight_decay=0.0)
    for wanted, reached, steps in ((0.001, 0.01, 100), (0.05, 0.05, 500)):
        for _ in range(steps):
            optimizer.zero_grad()
            (model.temperature - wanted).abs().backward()
            optimizer.step()
            assert model.temperature.item() >= 0.01 * (1 - 1e-6)
        assert model.temperature.item() == pytest.approx(reached, rel=0.05)


def test_what_is_saved_is_what_is_loaded():
    model, other = dual(temperature=0.07), dual(temperature=0.5)
    other.load_state_dict(model.state_dict())
    assert other.temperature.item() == pytest.approx(0.07, rel=1e-6)
