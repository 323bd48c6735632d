"""MILES: one block of holes for all frames, and a snapshot that moves when it should and asks nothing of anybody."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import toy
from torch.utils.flop_counter import FlopCounterMode

from vtr.errors import ConfigError
from vtr.losses import norm_softmax
from vtr.masking import block_cells, hidden_cells, visible_cells, visible_count
from vtr.models.dual import DualEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.video import VideoEncoder
from vtr.objectives.miles import MILES
from vtr.rng import fold_in_rows

TOWERS = [("divided", 1), ("joint", 2)]
HIDDEN = 7  # of 16 cells, at a ratio of 0.38


def miles(attention="divided", tubelet=1, **given) -> MILES:
    """Its snapshot differs from the student, as after some training."""
    objective = MILES(toy.model(attention, tubelet), toy.MASK_ID, **({"wait": False} | given))
    torch.manual_seed(7)
    toy.randomised(objective.snapshot)
    toy.randomised(objective.head)
    return objective


def test_the_published_mask_hides_75_of_196_cells_the_same_in_all_frames():
    assert 196 - visible_count(196, 0.38) == 75
    visible = visible_cells(fold_in_rows(0, torch.arange(20)), 4, 196, 121, "block")
    hidden = hidden_cells(visible, 196)
    assert (hidden.sum(-1) == 75).all()
    assert torch.equal(hidden, hidden[:, :1].expand(-1, 4, -1))


@pytest.mark.parametrize(("attention", "tubelet"), TOWERS)
@pytest.mark.parametrize("space", ["joint", "tokens"])
@pytest.mark.parametrize("head", ["none", "linear", "mlp"])
def test_the_terms_are_their_equations(attention, tubelet, space, head):
    objective, batch = miles(attention, tubelet, space=space, head=head, weight=0.5), toy.batch()
    model, slots = objective.model, 4 // tubelet
    terms = objective(batch, 5)
    assert list(terms) == ["contrastive", "masked_features"]

    holes = block_cells(fold_in_rows(5, batch.samples), 4, HIDDEN)  # (B,16)
    hidden = holes[:, None].expand(-1, slots, -1)
    tokens = model.video(batch.clips, hidden=hidden, mask_token=objective.mask_token)
    text = model.encode_text(batch.ids, batch.attention)
    torch.testing.assert_close(terms["contrastive"], norm_softmax(model.vid_proj(tokens[:, 0]), text, 0.1))

    whole = objective.snapshot.video(batch.clips)
    losses = []
    for i in range(len(batch)):
        for token in torch.arange(16 * slots)[hidden[i].flatten()].tolist():
            v, s = tokens[i, 1 + token], whole[i, 1 + token]
            if space == "joint":
                v, s = model.vid_proj(v), objective.snapshot.vid_proj(s)
            losses.append(2 - 2 * F.cosine_similarity(objective.head(v), s, dim=0))
    assert len(losses) == 8 * slots * HIDDEN
    torch.testing.assert_close(terms["masked_features"], 0.5 * torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)


def test_the_snapshot_has_no_gradient_and_stays_in_eval_mode():
    objective = miles(head="mlp").train()
    assert not objective.snapshot.training
    assert not any(module.training for module in objective.snapshot.modules())
    sum(objective(toy.batch(), 5).values()).backward()
    assert all(p.grad is None and not p.requires_grad for p in objective.snapshot.parameters())
    without = [name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert objective.mask_token.grad.any()
    assert objective.head[0].weight.grad.any()


def test_the_target_is_what_the_snapshot_sees_and_not_the_student():
    """Of the student's gradient, none comes through the target: a snapshot that is the student teaches the same."""
    objective, batch = miles(), toy.batch()
    objective.snapshot.follow(objective.model.video, objective.model.vid_proj)
    objective(batch, 5)["masked_features"].backward()
    grad = objective.model.vid_proj.weight.grad.clone()
    frozen = {name: value.clone() for name, value in objective.snapshot.state_dict().items()}
    objective.zero_grad()
    with torch.no_grad():
        objective.model.vid_proj.weight += 0.1
    assert all(torch.equal(frozen[name], value) for name, value in objective.snapshot.state_dict().items())
    objective(batch, 5)["masked_features"].backward()
    assert not torch.equal(objective.model.vid_proj.weight.grad, grad)


def shifted(objective: MILES, by: float = 0.1) -> None:
    with torch.no_grad():
        for parameter in objective.model.parameters():
            parameter.add_(by)


def weights(of: MILES) -> list[torch.Tensor]:
    return [p.detach().clone() for p in of.snapshot.parameters()]


def students(of: MILES) -> list[torch.Tensor]:
    return [p.detach().clone() for p in [*of.model.video.parameters(), *of.model.vid_proj.parameters()]]


def test_it_moves_only_at_its_update():
    objective = MILES(toy.model(), toy.MASK_ID, every=3)
    start = weights(objective)
    assert all(torch.equal(a, b) for a, b in zip(start, students(objective), strict=True)), "it begins as the student"
    for done in (1, 2):
        shifted(objective)
        objective.after_step(done)
        assert all(torch.equal(a, b) for a, b in zip(weights(objective), start, strict=True))
        assert not objective.predicts
    shifted(objective)
    objective.after_step(3)
    assert objective.predicts
    assert all(torch.equal(a, b) for a, b in zip(weights(objective), students(objective), strict=True))
    assert objective.snapshot.moves == 1
    shifted(objective)
    assert not torch.equal(weights(objective)[0], students(objective)[0]), "a copy, not the same tensors"


def test_a_moving_average_follows_each_step_and_stands_still_at_the_end():
    objective = MILES(toy.model(), toy.MASK_ID, every=5, momentum=0.9, steps=10)
    start, place = weights(objective)[0], []
    shifted(objective, 1.0)
    for done in range(1, 11):
        before = weights(objective)[0]
        objective.after_step(done)
        share = (weights(objective)[0] - before) / (start + 1 - before)
        place.append(float(share.mean()))
        assert objective.predicts == (done >= 5)
    # 1 - m: a cosine from 0.1 to 0
    expected = [0.1 * (1 + torch.cos(torch.tensor(torch.pi * done / 10)).item()) / 2 for done in range(1, 11)]
    assert place == pytest.approx(expected, abs=1e-4)


def test_before_its_first_turn_nothing_is_predicted_and_nothing_wasted():
    objective, batch = MILES(toy.model(), toy.MASK_ID, head="linear"), toy.batch()
    called = []
    objective.snapshot.register_forward_hook(lambda *a: called.append(1))
    terms = objective(batch, 5)
    assert terms["masked_features"] == 0
    assert called == []
    terms["masked_features"].backward()  # processes that train together expect gradients of all that is trained
    assert objective.head.weight.grad is not None
    assert not objective.head.weight.grad.any()
    objective.after_step(1000)
    assert objective(batch, 5)["masked_features"] > 0
    assert called == [1]


def test_what_a_resumed_run_needs_is_in_its_state():
    objective, other = miles(every=2, head="mlp", wait=True), MILES(toy.model(), toy.MASK_ID, every=2, head="mlp")
    shifted(objective)
    objective.after_step(2)
    shifted(objective)
    other.load_state_dict(objective.state_dict())
    assert other.predicts
    assert other.snapshot.moves == 1
    batch = toy.batch()
    for name, term in objective(batch, 5).items():
        assert torch.equal(other(batch, 5)[name], term)


def test_whole_clips_where_asked():
    objective, batch = miles(), toy.batch()
    terms = objective(batch, 5, masked=False)
    expected = norm_softmax(
        objective.model.encode_video(batch.clips), objective.model.encode_text(batch.ids, batch.attention), 0.1
    )
    torch.testing.assert_close(terms["contrastive"], expected, rtol=1e-6, atol=0)
    assert terms["masked_features"] == 0


def test_rows_that_could_not_be_read_are_out():
    batch, damaged = toy.unreadable()
    with_bad, without = miles(), miles()
    a, b = with_bad(damaged, 5), without(toy.rows(batch, damaged.ok), 5)
    sum(a.values()).backward()
    sum(b.values()).backward()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(with_bad.parameters(), without.parameters(), strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_a_batch_of_nothing_readable_teaches_nothing():
    objective, batch = miles(), toy.batch()
    terms = objective(replace(batch, clips=torch.zeros_like(batch.clips), ok=torch.zeros_like(batch.ok)), 5)
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values()).backward()
    assert not any(p.grad.any() for p in objective.parameters() if p.grad is not None)


def test_rows_of_parts_are_rows_of_the_whole():
    objective, batch = miles(), toy.batch()
    parts = [objective.rows(toy.rows(batch, slice(at, at + 4)), 5) for at in (0, 4)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name, term in objective(batch, 5).items():
        torch.testing.assert_close(objective.losses(joined)[name], term)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mask_ratio": 0.0}, "a mask ratio of 0.0 hides no patch"),
        ({"mask": "rows"}, "mask 'rows' is unknown"),
        ({"space": "pixels"}, "space 'pixels' is unknown\n  hint: choose one of: joint, tokens"),
        ({"head": "deep"}, "head 'deep' is unknown\n  hint: choose one of: none, linear, mlp"),
    ],
)
def test_a_wrong_choice_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        MILES(toy.model(), toy.MASK_ID, **given)


def test_a_step_costs_a_third_more_than_frozen():
    """Forward and backward of the student count three, the snapshot's forward one: 4 / 3, text aside."""
    with torch.device("meta"):
        dual = DualEncoder(VideoEncoder(192, 2, 3, frames=4), TextEncoder(small_text(60, 24, 1, 4, 16)), 64)
        objective = MILES(dual, toy.MASK_ID, wait=False)
        clips = torch.zeros(2, 4, 3, 224, 224, dtype=torch.uint8)
        hidden = torch.zeros(2, 4, 196, dtype=torch.bool)

    def flops(call) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops()

    frozen = flops(lambda: dual.video(clips))
    student = flops(lambda: dual.video(clips, hidden=hidden, mask_token=objective.mask_token))
    assert student == frozen, "nothing is saved: all positions stay"
    predicting = flops(lambda: objective._behind(dual.video(clips)[:, 1:], clips, hidden)) - student
    assert predicting == pytest.approx(frozen, rel=0.05), "the snapshot's pass; the projections of the holes are little"
    assert (3 * student + predicting) / (3 * frozen) == pytest.approx(4 / 3, abs=0.02)


def test_it_learns_to_pair_and_to_predict():
    batch = toy.batch()
    ids = batch.ids.clone()
    ids[:, 1] = torch.arange(8) + 10
    batch = replace(batch, ids=ids, attention=ids != toy.PAD)

    def end_of(weight: float) -> tuple[float, float]:
        objective = miles(weight=weight, every=1000)
        optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
        for step in range(60):
            optimizer.zero_grad()
            terms = objective(batch, step)
            sum(terms.values()).backward()
            optimizer.step()
        return terms["contrastive"].item(), objective.rows(batch, 0)["masked_features"].mean().item()

    paired, predicted = end_of(1.0)
    assert paired < 1.0
    assert predicted < 0.5 * end_of(0.0)[1]
