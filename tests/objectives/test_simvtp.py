"""SimVTP: what it restores, what it compares, and that one pass serves two terms."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import toy
from torch.utils.flop_counter import FlopCounterMode

from vtr.errors import ConfigError
from vtr.losses import norm_softmax
from vtr.models.joint import UnifiedEncoder
from vtr.models.patches import visible_patches
from vtr.objectives.simvtp import SimVTP, pixel_targets, word_losses
from vtr.rng import fold_in

TERMS = ["contrastive", "pixels", "words", "matching"]


def simvtp(tubelet=2, *, learn_temperature=False, **given) -> SimVTP:
    """4 of 16 cells visible in every slot, half of the words hidden."""
    settings = {"mask_ratio": 0.75, "word_ratio": 0.5, "decoder_width": 12, "decoder_depth": 1, "decoder_heads": 3}
    objective = SimVTP(toy.unified(tubelet, learn_temperature=learn_temperature), toy.MASK_ID, **(settings | given))
    torch.manual_seed(7)
    toy.randomised(objective.decoder)
    toy.randomised(objective.word_head)
    toy.randomised(objective.match_head)
    return objective


def published(width: int = 24, heads: int = 3) -> SimVTP:
    """16 frames of 224 in tubelets of 2 x 16 x 16, narrow."""
    return SimVTP(UnifiedEncoder(60, width, 1, heads), toy.MASK_ID, decoder_width=12, decoder_depth=1, decoder_heads=3)


def test_the_published_counts():
    """1568 tubes, of which 160 are seen; the decoder gives (B,1408,1536)."""
    objective = published()
    small = toy.batch(2)
    batch = replace(small, clips=torch.zeros(2, 16, 3, 224, 224, dtype=torch.uint8))
    visible, hidden, _ = objective.masks(batch, 0)
    assert visible.shape == (2, 8, 20)
    assert hidden.shape == (2, 8, 176), "int(0.9 * 196) cells, the same in all eight slots"
    assert torch.equal(visible, visible[:, :1].expand(-1, 8, -1))
    assert torch.equal(torch.cat([visible, hidden], dim=-1).sort(-1).values, torch.arange(196).expand(2, 8, -1))
    tubes = objective.model.tubes(batch.clips, visible)
    assert tubes.shape == (2, 160, 24)
    assert objective.decoder(objective.model.encode(tubes), visible, hidden).shape == (2, 1408, 1536)
    assert pixel_targets(batch.clips, hidden, 16, 2).shape == (2, 1408, 1536)
    assert objective.model.positions.shape == (1568, 24)


def test_a_pixel_target_has_mean_0_and_unbiased_deviation_1_in_each_tube_and_colour():
    clips = toy.batch(3).clips
    hidden = torch.arange(16).expand(3, 2, -1)
    target = pixel_targets(clips, hidden, 4, 2).view(3, 32, 2 * 4 * 4, 3)
    torch.testing.assert_close(target.mean(2), torch.zeros(3, 32, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(2), torch.ones(3, 32, 3), atol=1e-4, rtol=0)
    # And it is the picture: pixel by pixel, frames first, then rows, columns, colours.
    tube = clips[1, 2:4, :, 4:8, 8:12].float() / 255  # slot 1, cell 6 = row 1, column 2
    expected = (tube - tube.mean((0, 2, 3), keepdim=True)) / (tube.std((0, 2, 3), keepdim=True) + 1e-6)
    torch.testing.assert_close(target[1, 16 + 6].view(2, 4, 4, 3), expected.permute(0, 2, 3, 1), atol=1e-4, rtol=1e-4)
    flat = torch.full_like(clips, 200)
    assert not pixel_targets(flat, hidden, 4, 2).any(), "a tube of one colour is zero, not NaN"


def test_a_floor_keeps_the_noise_of_flat_tubes_small():
    noisy = torch.full((2, 4, 3, 16, 16), 120, dtype=torch.uint8) + toy.batch(2).clips % 2
    hidden = torch.arange(16).expand(2, 2, -1)
    assert pixel_targets(noisy, hidden, 4, 2).std() > 0.9
    assert pixel_targets(noisy, hidden, 4, 2, 0.05).std() < 0.05
    assert pixel_targets(toy.batch(2).clips, hidden, 4, 2, 0.05).std() > 0.8, "what is drawn stays"


@pytest.mark.parametrize("tubelet", [1, 2])
def test_the_terms_are_their_equations(tubelet):
    objective, batch = simvtp(tubelet), toy.batch()
    model, terms = objective.model, objective(batch, 5)
    assert list(terms) == TERMS
    visible, hidden, lost = objective.masks(batch, 5)
    assert 0 < lost.sum() < batch.maskable.sum()
    ids = batch.ids.masked_fill(lost, toy.MASK_ID)

    def video_tokens(i):
        return model.tubes(batch.clips[i : i + 1], visible[i : i + 1])

    def word_tokens(i):  # without padding: nothing of it may have an influence
        return model.words(ids[i : i + 1, : int(batch.attention[i].sum())])

    video = torch.cat([model.encode(video_tokens(i)).mean(1) for i in range(8)])
    text = torch.cat([model.encode(word_tokens(i)).mean(1) for i in range(8)])
    torch.testing.assert_close(terms["contrastive"], norm_softmax(video, text, 0.1), rtol=1e-4, atol=1e-5)

    other, there = objective.others(batch.samples, batch.ok, 5)
    assert there.all()
    assert not (other == torch.arange(8)).any()
    pixels, words, matching = [], [], []
    for i in range(8):
        tubes = video_tokens(i)
        joint = model.encode(torch.cat([tubes, word_tokens(i)], dim=1))
        k = tubes.shape[1]
        restored = objective.decoder(joint[:, :k], visible[i : i + 1], hidden[i : i + 1])
        target = pixel_targets(batch.clips[i : i + 1], hidden[i : i + 1], 4, tubelet)
        pixels.append((restored - target).square().mean())
        for place in lost[i].nonzero().flatten().tolist():
            logits = objective.word_head(joint[0, k + place])
            words.append(-torch.log_softmax(logits, 0)[batch.ids[i, place]])
        wrong = model.encode(torch.cat([video_tokens(int(other[i])), word_tokens(i)], dim=1))
        matching.append(-torch.log_softmax(objective.match_head(joint.mean(1)), 1)[0, 1])
        matching.append(-torch.log_softmax(objective.match_head(wrong.mean(1)), 1)[0, 0])
    for name, each in (("pixels", pixels), ("words", words), ("matching", matching)):
        torch.testing.assert_close(terms[name], torch.stack(each).mean(), rtol=1e-4, atol=1e-5, msg=name)


def test_padding_counts_where_asked():
    """As in the released code, where a caption's vector depends on how long its neighbours are."""
    model, batch = toy.unified(pool_includes_pad=True), toy.batch()
    whole = model.encode_text(batch.ids, batch.attention)
    expected = model.encode(model.words(batch.ids), batch.attention).mean(1)
    assert torch.equal(whole, expected)
    assert not torch.allclose(model.encode_text(batch.ids[:4, :8], batch.attention[:4, :8]), whole[:4], atol=1e-4)


def test_captions_with_nothing_to_hide_give_a_word_loss_of_zero():
    objective, batch = simvtp(), toy.batch()
    terms = objective(replace(batch, maskable=torch.zeros_like(batch.maskable)), 5)
    assert terms["words"] == 0
    sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.requires_grad)


def test_wrong_pairs_are_other_clips_drawn_by_their_address():
    objective, batch = simvtp(), toy.batch()
    batch = replace(batch, samples=torch.tensor([1, 2, 3, 1, 5, 6, 7, 8]), ok=torch.arange(8) != 2)
    drawn = torch.stack([objective.others(batch.samples, batch.ok, seed)[0] for seed in range(600)])
    there = objective.others(batch.samples, batch.ok, 0)[1]
    assert there.tolist() == [True, True, False, True, True, True, True, True], "a bad row has no pair"
    assert not (drawn == 2).any(), "and is nobody's"
    assert not (drawn[:, 0] == 3).any(), "nor is the same clip, come twice"
    assert not (drawn == torch.arange(8)).any(dim=0)[there].any()
    counts = torch.bincount(drawn[:, 4], minlength=8)
    assert counts[3] == 0, "a clip that came twice counts once"
    for row in (0, 1, 5, 6, 7):
        assert counts[row].item() == pytest.approx(120, abs=5 * math.sqrt(120))
    assert torch.equal(objective.others(batch.samples, batch.ok, 9)[0], drawn[9])
    # Wherever a clip stands in the batch, it gets the same one.
    order = torch.tensor([4, 1, 7, 2, 0, 6, 3, 5])
    moved = objective.others(batch.samples[order], batch.ok[order], 9)[0]
    assert torch.equal(batch.samples[order][moved][there[order]], batch.samples[drawn[9]][order][there[order]])


def test_many_rows_are_drawn_for_in_chunks(monkeypatch):
    objective, batch = simvtp(), toy.batch()
    whole = objective.others(batch.samples, batch.ok, 5)
    monkeypatch.setattr("vtr.objectives.simvtp.CHUNK", 17)  # two rows of eight at a time
    for a, b in zip(objective.others(batch.samples, batch.ok, 5), whole, strict=True):
        assert torch.equal(a, b)


def test_hard_wrong_pairs_are_those_that_resemble():
    objective, batch = simvtp(negatives="hard"), toy.batch()
    video, text = F.normalize(torch.randn(8, 24), dim=1), F.normalize(torch.randn(8, 24), dim=1)
    drawn = torch.stack([objective.others(batch.samples, batch.ok, seed, (video, text))[0] for seed in range(2000)])
    row = 3
    odds = torch.softmax((text[row] @ video.T / 0.1).masked_fill(torch.arange(8) == row, float("-inf")), 0)
    share = torch.bincount(drawn[:, row], minlength=8) / 2000
    torch.testing.assert_close(share, odds, atol=0.05, rtol=0)
    assert odds.max() > 0.3, "the comparison is of something"


def test_one_clip_alone_has_no_wrong_pair():
    objective, batch = simvtp(), toy.rows(toy.batch(), slice(6, 7))
    terms = objective(batch, 5)
    visible, _, lost = objective.masks(batch, 5)
    ids = batch.ids.masked_fill(lost, toy.MASK_ID)
    joint = objective.together(objective.model.tubes(batch.clips, visible), objective.model.words(ids), batch.attention)
    torch.testing.assert_close(terms["matching"], objective.match(joint, batch.attention, 1)[0])
    assert all(torch.isfinite(term) for term in terms.values())


def test_rows_that_could_not_be_read_are_out():
    batch, damaged = toy.unreadable()
    terms = simvtp()(damaged, 5)
    without = simvtp()(toy.rows(batch, damaged.ok), 5)
    for name in ("contrastive", "pixels", "words"):  # the wrong pairs are another draw in a smaller batch
        torch.testing.assert_close(terms[name], without[name], rtol=1e-5, atol=1e-5, msg=name)
    other = simvtp()(replace(batch, clips=torch.full_like(batch.clips, 255), ok=torch.zeros_like(batch.ok)), 5)
    assert [term.item() for term in other.values()] == [0, 0, 0, 0]


def test_a_bad_row_has_no_gradient():
    """Whatever stands in the clip and the caption of a bad row, all gradients are the same."""
    batch, ok = toy.batch(), torch.arange(8) != 3
    grads = []
    for value in (0, 255):
        objective = simvtp(negatives="hard")
        clips, ids = batch.clips.clone(), batch.ids.clone()
        clips[3] = value
        ids[3, 1] = 10 + value % 7
        sum(objective(replace(batch, clips=clips, ids=ids, ok=ok), 5).values()).backward()
        grads.append([p.grad for p in objective.parameters() if p.requires_grad])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_every_parameter_learns():
    objective = simvtp(learn_temperature=True)
    sum(objective(toy.batch(), 5).values()).backward()
    idle = [
        name for name, p in objective.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert idle == []


def test_it_is_always_masked():
    objective, batch = simvtp(), toy.batch()
    for a, b in zip(objective(batch, 5).values(), objective(batch, 5, masked=False).values(), strict=True):
        assert torch.equal(a, b)


def test_a_step_draws_the_same_again_and_another_step_does_not():
    objective, batch = simvtp(), toy.batch()
    first, again, next_ = objective(batch, 5), objective(batch, 5), objective(batch, 6)
    assert all(torch.equal(first[name], again[name]) for name in TERMS)
    assert not any(torch.equal(first[name], next_[name]) for name in TERMS)


def flops(call) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_the_pass_that_restores_is_the_true_pair_of_the_matching():
    """A ViT-B step of 4 frames as released: another joint pass for the true pairs, 1.28 times the multiplications."""
    with torch.no_grad():
        model = UnifiedEncoder(30522, frames=4)
        objective = SimVTP(model, 103)
        small = toy.batch(1, 32)
        batch = replace(small, clips=torch.zeros(1, 4, 3, 224, 224, dtype=torch.uint8))
        ours = flops(lambda: objective(batch, 0))
        visible, hidden, _ = objective.masks(batch, 0)
        tubes = model.tubes(batch.clips, visible)
        words = model.words(batch.ids)
        joint = flops(lambda: objective.together(tubes, words, batch.attention))
        every_patch = flops(lambda: model.tubes(batch.clips))  # as released: all are embedded, then dropped
        embedded = flops(lambda: model.tubes(batch.clips, visible))
        video = flops(lambda: model.encode(tubes))
        apart = video + flops(lambda: model.encode(words, batch.attention))
        decoded = flops(lambda: objective.decoder(model.encode(tubes), visible, hidden)) - video
        heads = flops(lambda: objective.word_head(words)) + 2 * flops(lambda: objective.match_head(words[:, 0]))
        cosines = 2 * 2 * 768
    assert tubes.shape[1] == 40
    assert ours == 2 * joint + apart + decoded + heads + 2 * embedded + cosines, "of true and of wrong pairs"
    assert (ours + joint) / ours == pytest.approx(1.28, abs=0.02)
    assert (ours + joint + 2 * every_patch - embedded) / ours > 1.3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mask_ratio": 0.0}, "a mask ratio of 0.0 hides no tube"),
        ({"mask": "rows"}, "mask 'rows' is unknown"),
        ({"negatives": "easy"}, "negatives 'easy' are unknown\n  hint: choose one of: random, hard"),
    ],
)
def test_a_wrong_choice_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        simvtp(**given)


def test_word_losses_are_sums_over_the_lost():
    logits, ids, lost = torch.randn(2, 3, 7), torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[0, 1, 1], [0, 0, 0]])
    sums = word_losses(logits, ids, lost.bool())
    expected = -torch.log_softmax(logits, -1)[0, [1, 2], [2, 3]].sum()
    torch.testing.assert_close(sums, torch.stack([expected, torch.tensor(0.0)]))


def test_it_learns_all_four():
    """Clips of one colour each, a caption that names it: every loss falls by far."""
    torch.manual_seed(0)
    objective = SimVTP(toy.unified(), toy.MASK_ID, 0.75, 0.5, decoder_width=12, decoder_depth=1, decoder_heads=3)
    batch = toy.batch()
    slope = torch.linspace(0, 1, 16)
    shade = (torch.arange(8)[:, None, None, None, None] * 12 + 100 * slope[None, None, None, :, None]).expand(
        8, 4, 3, 16, 16
    )
    ids = torch.full((8, 8), 0)
    ids[:, 0], ids[:, 7] = toy.CLS, toy.SEP
    ids[:, 1:7] = torch.arange(8)[:, None] + 10
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    words = (ids != toy.CLS) & (ids != toy.SEP)
    batch = replace(batch, clips=shade.to(torch.uint8), ids=ids, attention=everywhere, maskable=words)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    seen = []
    for step in range(200):
        optimizer.zero_grad()
        terms = objective(batch, fold_in(0, step))
        sum(terms.values()).backward()
        optimizer.step()
        seen.append({name: term.item() for name, term in terms.items()})
    for name, below in (("contrastive", 0.5), ("pixels", 0.5), ("words", 0.5), ("matching", 0.9)):
        assert statistics.mean(terms[name] for terms in seen[-10:]) < below * seen[0][name], name


def test_visible_tubes_alone_are_embedded():
    model, batch = toy.unified(), toy.batch()
    objective = simvtp()
    visible, _, _ = objective.masks(batch, 0)
    patches = visible_patches(batch.clips, visible, 4, 2)
    assert patches.shape[1:3] == (2, 4)
    whole = model.tubes(batch.clips)
    places = (torch.arange(2)[:, None] * 16 + visible).flatten(1)
    expected = whole.gather(1, places[..., None].expand(-1, -1, 24))
    torch.testing.assert_close(model.tubes(batch.clips, visible), expected)
