"""Contrast alone, on the full view."""

from __future__ import annotations

from dataclasses import replace

import torch
import toy

from vtr.losses import norm_softmax
from vtr.objectives.contrastive import Contrastive


def test_it_aligns_whole_clips_with_whole_captions():
    model, batch = toy.model(), toy.batch()
    terms = Contrastive(model)(batch, 0)
    expected = norm_softmax(model.encode_video(batch.clips), model.encode_text(batch.ids, batch.attention), 0.1)
    assert list(terms) == ["contrastive"]
    torch.testing.assert_close(terms["contrastive"], expected)


def test_nothing_is_drawn():
    objective, batch = Contrastive(toy.model()), toy.batch()
    a, b = objective(batch, 1)["contrastive"], objective(batch, 2, masked=False)["contrastive"]
    assert torch.equal(a, b)


def test_rows_that_could_not_be_read_are_out():
    objective, batch = Contrastive(toy.model()), toy.batch()
    ok = torch.arange(8) != 3
    torch.testing.assert_close(
        objective(replace(batch, ok=ok), 0)["contrastive"],
        objective(toy.rows(batch, ok), 0)["contrastive"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_clip_that_comes_twice_is_no_negative_of_itself():
    objective, batch = Contrastive(toy.model()), toy.batch()
    twice = replace(batch, samples=batch.samples[[0, 1, 2, 3, 4, 5, 0, 1]])
    video, text = objective.model.encode_video(batch.clips), objective.model.encode_text(batch.ids, batch.attention)
    expected = norm_softmax(video, text, 0.1, samples=twice.samples)
    torch.testing.assert_close(objective(twice, 0)["contrastive"], expected)
    assert expected < norm_softmax(video, text, 0.1) - 1e-3
