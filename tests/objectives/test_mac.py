"""MAC: masks by address, the unmasked baseline to the bit, and losses that stay finite."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import toy

from vtr.errors import ConfigError
from vtr.losses import norm_softmax
from vtr.masking import mask_words, visible_cells
from vtr.models.dual import DualEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.video import VideoEncoder
from vtr.objectives.contrastive import Contrastive
from vtr.objectives.mac import MAC
from vtr.rng import fold_in, fold_in_rows

TOWERS = [("divided", 1), ("divided", 2), ("joint", 1), ("joint", 2)]


def loss(objective, batch, seed=5, **given):
    terms = objective(batch, seed, **given)
    assert list(terms) == ["contrastive"]
    return terms["contrastive"]


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("attention", "tubelet"), TOWERS)
def test_the_loss_is_that_of_two_masked_views(attention, tubelet):
    model, batch = toy.model(attention, tubelet), toy.batch()
    visible = visible_cells(fold_in_rows(5, batch.samples), 4 // tubelet, 16, 6, "per_frame")
    words = fold_in_rows(fold_in(5, 1), batch.samples)
    ids = mask_words(batch.ids, batch.maskable, toy.MASK_ID, 0.3, words)
    expected = norm_softmax(model.encode_video(batch.clips, visible), model.encode_text(ids, batch.attention), 0.1)
    torch.testing.assert_close(loss(MAC(model, toy.MASK_ID, 0.6, 0.3), batch), expected)


@pytest.mark.parametrize("attention", ["divided", "joint"])
def test_the_encoder_sees_two_fifths_of_four_frames(attention):
    """4 frames of 196 cells at 0.6: CLS and 4 x 78 patches, in training and not under an unmasked tail."""
    video = VideoEncoder(width=12, depth=1, heads=3, patch=16, frames=4, size=224, attention=attention)
    mac = MAC(DualEncoder(video, TextEncoder(small_text(60, 24, 1, 4, 16)), 16), toy.MASK_ID, 0.6)
    seen = []
    video.register_forward_hook(lambda module, given, out: seen.append(out.shape[1]))
    batch = replace(toy.batch(2), clips=torch.zeros(2, 4, 3, 224, 224, dtype=torch.uint8))
    with torch.no_grad():
        loss(mac, batch)
        loss(mac, batch, masked=False)
    assert seen == [313, 785]


@pytest.mark.parametrize(("attention", "tubelet"), TOWERS)
def test_ratios_of_zero_are_the_baseline_to_the_bit(attention, tubelet):
    batch = toy.batch()
    mac = MAC(toy.model(attention, tubelet), toy.MASK_ID, 0.0, 0.0)
    baseline = Contrastive(toy.model(attention, tubelet))
    masked, whole = loss(mac, batch), loss(baseline, batch)
    masked.backward()
    whole.backward()
    assert torch.equal(masked, whole)
    for name, grad in gradients(mac).items():
        assert torch.equal(grad, gradients(baseline)[name]), name


def test_an_unmasked_tail_is_the_baseline_too():
    model, batch = toy.model(), toy.batch()
    assert torch.equal(loss(MAC(model, toy.MASK_ID, 0.6, 0.3), batch, masked=False), loss(Contrastive(model), batch))


@pytest.mark.parametrize("mask", ["per_frame", "tube"])
def test_a_step_draws_the_same_again_and_another_step_does_not(mask):
    mac, batch = MAC(toy.model(), toy.MASK_ID, 0.6, 0.3, mask), toy.batch()
    assert torch.equal(loss(mac, batch), loss(mac, batch))
    assert not torch.equal(loss(mac, batch), loss(mac, batch, seed=6))
    other = MAC(mac.model, toy.MASK_ID, 0.6, 0.3, "tube" if mask == "per_frame" else "per_frame")
    assert not torch.equal(loss(mac, batch), loss(other, batch))


def test_the_order_of_the_batch_is_of_no_matter():
    mac, batch = MAC(toy.model(), toy.MASK_ID, 0.6, 0.3), toy.batch()
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    torch.testing.assert_close(loss(mac, toy.rows(batch, order)), loss(mac, batch), rtol=1e-5, atol=1e-5)


def test_the_batch_is_left_as_it_was():
    batch = toy.batch()
    before = [t.clone() for t in (batch.clips, batch.ids, batch.attention, batch.maskable, batch.samples, batch.ok)]
    loss(MAC(toy.model(), toy.MASK_ID, 0.6, 0.5), batch).backward()
    after = [batch.clips, batch.ids, batch.attention, batch.maskable, batch.samples, batch.ok]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_captions_with_nothing_to_mask_have_a_finite_loss():
    batch = toy.batch()
    ids = torch.full_like(batch.ids, toy.PAD)
    ids[:, 0], ids[:, 1] = toy.CLS, toy.SEP
    empty = replace(batch, ids=ids, attention=ids != toy.PAD, maskable=torch.zeros_like(batch.maskable))
    mac = MAC(toy.model(), toy.MASK_ID, 0.6, 0.9)
    value = loss(mac, empty)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(grad).all() for grad in gradients(mac).values())


def test_rows_that_could_not_be_read_are_out():
    batch, damaged = toy.unreadable()
    with_bad, without = MAC(toy.model(), toy.MASK_ID), MAC(toy.model(), toy.MASK_ID)
    a = loss(with_bad, damaged)
    b = loss(without, toy.rows(batch, damaged.ok))
    a.backward()
    b.backward()
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for name, grad in gradients(with_bad).items():
        torch.testing.assert_close(grad, gradients(without)[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_clip_that_comes_twice_is_no_negative_of_itself():
    """Its masks are its sample's, alike both times; what else stands in the two rows may differ."""
    model, batch = toy.model(), toy.batch()
    batch = replace(batch, samples=batch.samples[[0, 1, 2, 3, 4, 5, 0, 1]])
    visible = visible_cells(fold_in_rows(5, batch.samples), 4, 16, 6)
    ids = mask_words(batch.ids, batch.maskable, toy.MASK_ID, 0.3, fold_in_rows(fold_in(5, 1), batch.samples))
    video, text = model.encode_video(batch.clips, visible), model.encode_text(ids, batch.attention)
    expected = norm_softmax(video, text, 0.1, samples=batch.samples)
    torch.testing.assert_close(loss(MAC(model, toy.MASK_ID, 0.6, 0.3), batch), expected)
    assert expected < norm_softmax(video, text, 0.1) - 1e-3


def test_a_batch_of_nothing_readable_teaches_nothing():
    batch = toy.batch()
    mac = MAC(toy.model(learn_temperature=True), toy.MASK_ID)
    value = loss(mac, replace(batch, clips=torch.zeros_like(batch.clips), ok=torch.zeros_like(batch.ok)))
    value.backward()
    assert value.item() == 0
    assert not any(grad.any() for grad in gradients(mac).values()), "zero, and so not NaN"


def test_a_ratio_that_hides_everything_is_refused():
    with pytest.raises(ConfigError, match=r"mask ratio of 1.0, it must be at least 0 and below 1"):
        MAC(toy.model(), toy.MASK_ID, 1.0)


def test_an_unknown_mask_is_refused_before_the_first_step():
    with pytest.raises(ConfigError, match="mask 'rows' is unknown"):
        MAC(toy.model(), toy.MASK_ID, mask="rows")


@pytest.mark.parametrize("attention", ["divided", "joint"])
def test_it_learns_to_pair_a_batch(attention):
    """A few steps on eight pairs, masked: the loss falls far below that of guessing, 2 log 8 = 4.16."""
    model, batch = toy.model(attention), toy.batch()
    mac, optimizer = MAC(model, toy.MASK_ID, 0.5, 0.1), torch.optim.AdamW(model.parameters(), lr=3e-3)
    ids = batch.ids.clone()
    ids[:, 1] = torch.arange(8) + 10  # a first word for each, that no mask hides
    maskable = batch.maskable & (torch.arange(ids.shape[1]) != 1)
    batch = replace(batch, ids=ids, attention=ids != toy.PAD, maskable=maskable)
    for step in range(60):
        optimizer.zero_grad()
        value = loss(mac, batch, fold_in(0, step))
        value.backward()
        optimizer.step()
    assert value.item() < 1.0
