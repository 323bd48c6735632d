"""NormSoftmax against its definition, its known values, and with rows that are out."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from vtr.footprint import keeping
from vtr.losses import norm_softmax, sigmoid


def pairs(batch: int, dim: int = 16, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, dim, generator=g).requires_grad_() for _ in range(2))


def by_definition(video, text, tau, samples=None):
    """The sum of both directions, pair by pair; rows of one sample do not meet."""
    video, text = video.detach().double(), text.detach().double()
    cos = [[float(v @ t / v.norm() / t.norm()) / tau for t in text] for v in video]
    n = len(cos)
    meet = [[i == j or samples is None or samples[i] != samples[j] for j in range(n)] for i in range(n)]
    rows = sum(math.log(sum(math.exp(cos[i][j]) for j in range(n) if meet[i][j])) - cos[i][i] for i in range(n)) / n
    columns = sum(math.log(sum(math.exp(cos[i][j]) for i in range(n) if meet[i][j])) - cos[j][j] for j in range(n)) / n
    return rows + columns


@pytest.mark.parametrize("tau", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_definition(batch, tau):
    video, text = pairs(batch)
    expected = pytest.approx(by_definition(video, text, tau), rel=1e-5, abs=1e-6)
    assert norm_softmax(video, text, tau).item() == expected
    assert norm_softmax(video, text, tau, torch.ones(batch, dtype=torch.bool)).item() == expected
    assert norm_softmax(text, video, tau).item() == expected, "both directions count alike"


@pytest.mark.parametrize("ok", [None, torch.ones(4, dtype=torch.bool)])
def test_identical_orthonormal_pairs(ok):
    pair = torch.eye(4, 32)
    expected = 2 * math.log(1 + 3 * math.exp(-20))
    # float32 holds 1 + 6e-9 as 1: the loss may fall to 0, but no further from the truth than that.
    assert norm_softmax(pair, pair, 0.05, ok).item() == pytest.approx(expected, abs=1e-7)
    warm = 2 * math.log(1 + 3 * math.exp(-2))
    assert norm_softmax(3 * pair, 0.2 * pair, 0.5, ok).item() == pytest.approx(warm, rel=1e-6), "cosines have no scale"


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_uniform_similarities(batch):
    same = torch.ones(batch, 8)
    assert norm_softmax(same, same, 0.05).item() == pytest.approx(2 * math.log(batch), rel=1e-5)


@pytest.mark.parametrize("out", [[0], [5], [1, 4], [0, 2, 3], [0, 1, 2, 3, 4]])
def test_rows_that_are_out_leave_the_loss_of_the_smaller_batch(out):
    video, text = pairs(6)
    ok = torch.ones(6, dtype=torch.bool)
    ok[out] = False
    loss = norm_softmax(video, text, 0.05, ok)
    loss.backward()
    small_video, small_text = (t.detach()[ok].requires_grad_() for t in (video, text))
    small = norm_softmax(small_video, small_text, 0.05)
    small.backward()
    torch.testing.assert_close(loss, small, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(video.grad[ok], small_video.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(text.grad[ok], small_text.grad, rtol=1e-5, atol=1e-6)
    assert not video.grad[~ok].any()
    assert not text.grad[~ok].any()


def test_what_stands_in_a_row_that_is_out_is_of_no_matter():
    video, text = (t.detach() for t in pairs(4))
    ok = torch.tensor([True, False, True, True])
    before = norm_softmax(video, text, 0.05, ok)
    video[1], text[1] = 0.0, 1e4
    assert torch.equal(norm_softmax(video, text, 0.05, ok), before)


def test_no_row_left_is_zero_with_finite_gradients():
    video, text = pairs(4)
    tau = torch.tensor(0.05, requires_grad=True)
    loss = norm_softmax(video, text, tau, torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    for grad in (video.grad, text.grad, tau.grad):
        assert torch.isfinite(grad).all()
        assert not grad.any()


@pytest.mark.parametrize("ok", [None, torch.ones(6, dtype=torch.bool)])
@pytest.mark.parametrize("numbers", [[7, 3, 7, 1, 2, 9], [5, 5, 5, 8, 0, 8], [4] * 6])
def test_a_sample_that_comes_twice_is_no_negative_of_itself(numbers, ok):
    video, text = pairs(6)
    loss = norm_softmax(video, text, 0.3, ok, torch.tensor(numbers))
    assert loss.item() == pytest.approx(by_definition(video, text, 0.3, numbers), rel=1e-5, abs=1e-6)
    assert loss < norm_softmax(video, text, 0.3, ok) - 0.01, "which would push a clip from its own caption"
    loss.backward()
    assert torch.isfinite(video.grad).all()
    assert torch.isfinite(text.grad).all()


@pytest.mark.parametrize("ok", [None, torch.ones(6, dtype=torch.bool), torch.arange(6) != 2])
def test_samples_that_differ_change_no_bit(ok):
    results = []
    for samples in (None, torch.tensor([7, 3, 8, 1, 2, 9])):
        video, text = pairs(6)
        loss = norm_softmax(video, text, 0.05, ok, samples)
        loss.backward()
        results.append((loss, video.grad, text.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_sample_that_comes_twice_and_could_not_be_read_once():
    """The bad one is out as ever, and the other has no twin left."""
    video, text = pairs(6)
    ok, samples = torch.arange(6) != 2, torch.tensor([7, 3, 7, 1, 2, 9])
    loss = norm_softmax(video, text, 0.3, ok, samples)
    torch.testing.assert_close(loss, norm_softmax(video[ok], text[ok], 0.3), rtol=1e-6, atol=1e-6)


def test_vectors_of_zeros_keep_the_loss_and_its_gradients_finite():
    video, text = torch.zeros(3, 8, requires_grad=True), torch.zeros(3, 8, requires_grad=True)
    loss = norm_softmax(video, text)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(3))
    assert torch.isfinite(video.grad).all()


def test_a_learned_temperature_gets_its_gradient():
    video, text = (t.detach() for t in pairs(5))
    tau = torch.tensor(0.3, requires_grad=True)
    norm_softmax(video, text, tau).backward()
    step = 1e-3
    slope = (by_definition(video, text, 0.3 + step) - by_definition(video, text, 0.3 - step)) / (2 * step)
    assert tau.grad.item() == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_float32_out(dtype):
    video, text = (F.normalize(t.detach(), dim=-1).to(dtype) for t in pairs(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = norm_softmax(video, text)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, norm_softmax(video.float(), text.float()))


def both_gradients(loss, video, text):
    video, text = video.detach().requires_grad_(), text.detach().requires_grad_()
    value = loss(video, text)
    value.backward()
    return value.detach(), video.grad, text.grad


@pytest.mark.parametrize("name", ["norm_softmax", "sigmoid"])
@pytest.mark.parametrize("chunk", [1, 29, 58, 29 * 28])
def test_chunks_give_the_loss_and_the_gradients_of_the_whole(name, chunk):
    """29 rows one at a time, two at a time (the last alone), and 28 then 1."""
    video, text = pairs(29)
    ok, samples = torch.arange(29) % 7 != 3, torch.arange(29) % 27
    given = {"temperature": 0.1, "ok": ok, "samples": samples}
    loss = partial(norm_softmax, **given) if name == "norm_softmax" else partial(sigmoid, bias=-3.0, **given)
    whole, chunked = (both_gradients(partial(loss, chunk=c), video, text) for c in (29 * 29, chunk))
    for a, b in zip(whole, chunked, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [norm_softmax, partial(sigmoid, bias=-3.0)])
def test_no_copy_is_kept_for_the_temperature(loss):
    """For its gradient softmax keeps the probabilities of both directions, sigmoid its logits and what torch adds."""
    video, text = pairs(512)
    temperature = torch.tensor(0.1, requires_grad=True)
    with keeping() as kept:
        value = loss(video, text, temperature)
    assert sum(kept.values()) < 3 * 4 * 512 * 512, "two matrices, and masks"
    assert value.isfinite()


@pytest.mark.parametrize("loss", [norm_softmax, partial(sigmoid, bias=-3.0)])
def test_a_large_batch_goes_in_chunks_unasked(loss):
    video, text = pairs(3000)
    with keeping() as kept:
        value = loss(video, text, 0.1)
    assert max(kept.values()) <= 4 * 3000 * 16
    assert value.isfinite()


def test_chunks_hold_no_more_than_they_say():
    """What the gradient keeps of a batch of 1024 is the vectors, not a million similarities."""
    video, text = pairs(1024)
    kept: list[int] = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        norm_softmax(video, text, 0.1, chunk=64 * 1024)
    assert max(kept) <= 1024 * 16
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        norm_softmax(video, text, 0.1)
    assert max(kept) >= 1024 * 1024


def test_sigmoid_by_its_definition():
    video, text = pairs(5)
    cos = F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T
    z = 2 * torch.eye(5) - 1
    expected = -torch.log(1 / (1 + torch.exp(-z * (10 * cos - 10)))).sum() / 5
    torch.testing.assert_close(sigmoid(video, text, 0.1, -10.0), expected)


def test_sigmoid_leaves_out_what_cannot_be_read_and_what_is_the_same_clip():
    video, text = pairs(6)
    ok = torch.tensor([True, False, True, True, False, True])
    expected = sigmoid(video[ok], text[ok], 0.1, -2.0)
    torch.testing.assert_close(sigmoid(video, text, 0.1, -2.0, ok), expected)
    assert sigmoid(video, text, 0.1, -2.0, torch.zeros(6, dtype=torch.bool)).item() == 0
    samples = torch.tensor([0, 1, 2, 3, 4, 0])
    logits = F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T / 0.1 - 2.0
    twice = -(F.logsigmoid(-logits[0, 5]) + F.logsigmoid(-logits[5, 0])) / 6
    torch.testing.assert_close(
        sigmoid(video, text, 0.1, -2.0) - sigmoid(video, text, 0.1, -2.0, samples=samples), twice
    )
