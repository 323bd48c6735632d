"""Losses as pure functions of tensors: no ranks, no devices, no state.

Letters: B batch, E joint embedding. Above `CHUNK` similarities, a loss goes over its rows in chunks whose similarities
are computed again for the gradient: the whole (B,B) never stands in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# So many float32 similarities, 32 MiB, are taken at once: all of a batch of 2896. A loss holds about four times that,
# with its gradient: two directions, each with its probabilities, and masks.
CHUNK = 2**23


def norm_softmax(
    video: Tensor,
    text: Tensor,
    temperature: float | Tensor = 0.05,
    ok: Tensor | None = None,
    samples: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """(B,E), (B,E), (B,) bool, (B,) int64 -> (): the *sum* of both directions' mean cross-entropy over cosines.

    `L = -mean_i log softmax_j(S_ij / tau)_i - mean_j log softmax_i(S_ij / tau)_j`, S in float32 whatever comes in.
    A row with `ok` False is out of the loss as a row and as a column; with no row left the loss is 0, not NaN.
    Rows of equal `samples` are no negatives of each other: each still has its own pair to find, among all others.
    Source: Frozen in Time (arXiv:2104.00650), section 3.3, and its released code (the sum, no half).
    """
    with torch.autocast(video.device.type, enabled=False):
        video, text = F.normalize(video.float(), dim=-1), F.normalize(text.float(), dim=-1)
        if ok is None:
            weight = torch.full_like(video[:, 0], 1 / len(video))
        else:
            weight = ok.to(video.dtype) / ok.sum().clamp(min=1)

        def rows(start: int, stop: int) -> Tensor:
            target = torch.arange(start, stop, device=video.device)
            # A pair that is out gets no probability; the pair itself stays, so that the (unused) row of a bad one is
            # finite.
            out = _no_negatives(start, stop, ok, samples, video)
            each = torch.zeros_like(weight[start:stop])
            for asking, asked in ((video, text), (text, video)):
                # One matrix at a time, and no second one for the temperature or the mask.
                logits = (asking[start:stop] / temperature @ asked.T).masked_fill_(out, float("-inf"))
                each = each + F.cross_entropy(logits, target, reduction="none")
                del logits
            return (weight[start:stop] * each).sum()

        return _in_chunks(rows, len(video), chunk)


def sigmoid(
    video: Tensor,
    text: Tensor,
    temperature: float | Tensor,
    bias: float | Tensor,
    ok: Tensor | None = None,
    samples: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """(B,E), (B,E), (B,) bool, (B,) int64 -> (): each pair on its own asked whether it is one; summed over all, by B.

    `L = -1/B sum_ij log sigmoid(z_ij (S_ij / tau + bias))`, z = 1 on the diagonal and -1 off it. `ok` and `samples` as
    in `norm_softmax`. Source: SigLIP (arXiv:2303.15343), section 3.2.
    """
    with torch.autocast(video.device.type, enabled=False):
        video, text = F.normalize(video.float(), dim=-1), F.normalize(text.float(), dim=-1)
        used = torch.ones_like(video[:, 0]) if ok is None else ok.to(video.dtype)
        weight = used / used.sum().clamp(min=1)

        def rows(start: int, stop: int) -> Tensor:
            logits = (video[start:stop] / temperature @ text.T + bias).neg_()
            logits.diagonal(start).neg_()  # the pairs
            asked = F.logsigmoid(logits).masked_fill_(_no_negatives(start, stop, ok, samples, video), 0.0)
            return -(weight[start:stop] * asked.sum(1)).sum()

        return _in_chunks(rows, len(video), chunk)


def _pairs(start: int, stop: int, like: Tensor) -> Tensor:
    every = torch.arange(len(like), device=like.device)
    return every[start:stop, None] == every[None, :]


def _no_negatives(start: int, stop: int, ok: Tensor | None, samples: Tensor | None, like: Tensor) -> Tensor:
    """(rows, B) bool: the places of some rows that the loss leaves out; never a row's own pair."""
    pair = _pairs(start, stop, like)
    out = torch.zeros_like(pair)
    if ok is not None:
        out |= ~ok[None, :]
    if samples is not None:
        out |= samples[start:stop, None] == samples[None, :]
    return out.masked_fill_(pair, False)


def _in_chunks(rows: Callable[[int, int], Tensor], count: int, chunk: int) -> Tensor:
    """The sum of `rows(start, stop)` over `count` rows, at most `chunk` similarities at a time."""
    size = max(1, chunk // count)
    if size >= count:
        return rows(0, count)
    parts = [
        checkpoint(rows, at, min(at + size, count), use_reentrant=False, preserve_rng_state=False)
        for at in range(0, count, size)
    ]
    return torch.stack(parts).sum()


def mean_of(sums: Tensor, counts: Tensor) -> Tensor:
    """(B,) sums over what each row has, (B,) how many that are -> (): the mean over all of them; of nothing it is 0."""
    return sums.float().sum() / counts.sum().clamp(min=1)
