"""Masks: exact counts, each clip's own draw, words hidden in place."""

from __future__ import annotations

import math

import pytest
import torch

from vtr.errors import ConfigError
from vtr.masking import (
    MASKS,
    block_cells,
    hidden_cells,
    hidden_count,
    hidden_words,
    mask_words,
    visible_cells,
    visible_count,
)
from vtr.rng import fold_in_rows

ROWS = fold_in_rows(0, torch.arange(256))


@pytest.mark.parametrize(
    ("cells", "ratio", "visible"),
    [(196, 0.6, 78), (196, 0.5, 98), (196, 0.7, 58), (196, 0.75, 49), (196, 0.0, 196), (196, 0.9, 19), (64, 0.75, 16)]
    + [(196, 0.999, 1), (1, 0.6, 1)]
    + [(100, hidden / 100, 100 - hidden) for hidden in (10, 20, 29, 30, 57, 70, 80, 90)],
)
def test_counts(cells, ratio, visible):
    assert visible_count(cells, ratio) == visible


@pytest.mark.parametrize(
    ("cells", "ratio", "hidden"), [(196, 0.9, 176), (16, 0.75, 12), (196, 0.999, 195), (4, 0.0, 0)]
)
def test_counts_of_the_hidden(cells, ratio, hidden):
    """SimVTP rounds what it hides down, MAC what it shows: of 196 at 0.9, 20 and 19 stay visible."""
    assert hidden_count(cells, ratio) == hidden


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 60, float("nan")])
def test_a_wrong_ratio_is_refused(ratio):
    with pytest.raises(ConfigError, match=rf"ratio of {ratio}, it must be at least 0 and below 1"):
        hidden_count(196, ratio)
    with pytest.raises(ConfigError, match=rf"ratio of {ratio}, it must be at least 0 and below 1"):
        visible_count(196, ratio)


def test_an_unknown_mask_is_refused():
    with pytest.raises(ConfigError, match="mask 'rows' is unknown\n  hint: choose one of: per_frame, tube, block"):
        visible_cells(ROWS, 4, 196, 78, "rows")
    with pytest.raises(ConfigError, match="blocks in 8 cells, which are no square\n  hint: choose the mask tube"):
        visible_cells(ROWS, 4, 8, 3, "block")


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("slots", "cells", "visible"), [(4, 196, 78), (1, 196, 78), (8, 64, 16), (2, 9, 9), (3, 4, 1)])
def test_every_slot_shows_exactly_k_cells_in_order(mask, slots, cells, visible):
    kept = visible_cells(ROWS, slots, cells, visible, mask)
    assert kept.shape == (256, slots, visible)
    assert kept.dtype == torch.int64
    assert kept.min() >= 0
    assert kept.max() < cells
    assert (kept.diff(dim=-1) > 0).all(), "ascending, none twice"


def test_frames_differ_per_frame_and_agree_in_a_tube():
    for clip in visible_cells(ROWS, 4, 196, 78, "per_frame"):
        assert len({tuple(slot.tolist()) for slot in clip}) == 4
    for mask in ("tube", "block"):
        tube = visible_cells(ROWS, 4, 196, 78, mask)
        assert torch.equal(tube, tube[:, :1].expand(-1, 4, -1))
        assert len({tuple(clip[0].tolist()) for clip in tube}) == 256, "every clip has its own"


@pytest.mark.parametrize(
    ("side", "hidden"), [(14, 75), (14, 1), (14, 195), (14, 0), (7, 20), (4, 6), (2, 1), (24, 221)]
)
def test_blocks_hide_exactly_as_many_as_asked(side, hidden):
    """MILES hides 75 of 196 cells."""
    cells = block_cells(ROWS, side, hidden)
    assert cells.shape == (256, side * side)
    assert (cells.sum(1) == hidden).all()


def test_blocks_hang_together():
    """A hidden cell has 3.4 hidden neighbours of 4 on average; scattered ones would have 1.5."""

    def neighbours(hidden):
        grid = torch.nn.functional.pad(hidden.view(-1, 14, 14).float(), (1, 1, 1, 1))
        around = grid[:, :-2, 1:-1] + grid[:, 2:, 1:-1] + grid[:, 1:-1, :-2] + grid[:, 1:-1, 2:]
        return float(around[hidden.view(-1, 14, 14)].mean())

    scattered = hidden_cells(visible_cells(ROWS, 1, 196, 121, "tube"), 196)[:, 0]
    assert neighbours(block_cells(ROWS, 14, 75)) > 3
    assert neighbours(scattered) < 1.7


def test_blocks_come_everywhere_in_many_shapes():
    hidden = block_cells(fold_in_rows(3, torch.arange(2000)), 14, 75).view(-1, 14, 14)
    share = hidden.float().mean(0)
    assert share.min() > 0.03, "corners too"
    assert torch.allclose(share, share.flip(0), atol=0.08), "no side is preferred"
    tall, wide = (hidden.any(axis).sum(1).float() for axis in (2, 1))
    assert float((tall > wide).float().mean()) == pytest.approx(float((wide > tall).float().mean()), abs=0.1)


@pytest.mark.parametrize("mask", MASKS)
def test_the_hidden_are_all_but_the_visible(mask):
    visible = visible_cells(ROWS, 3, 16, 6, mask)
    hidden = hidden_cells(visible, 16)
    assert hidden.shape == (256, 3, 16)
    assert (hidden.sum(-1) == 10).all()
    assert not hidden.gather(2, visible).any()


@pytest.mark.parametrize("mask", ["per_frame", "tube"])
def test_all_cells_are_seen_equally_often(mask):
    rows = fold_in_rows(1, torch.arange(4000))
    seen = torch.zeros(4000, 4, 196).scatter_(2, visible_cells(rows, 4, 196, 78, mask), 1.0)
    share, sigma = 78 / 196, math.sqrt(78 / 196 * (1 - 78 / 196) / 4000)
    assert (seen.mean(0) - share).abs().max() < 5 * sigma
    # Two frames of a clip share as many cells as two draws would, or all of them.
    shared = (seen[:, 0] * seen[:, 1]).sum(-1).mean()
    assert shared == 78 if mask == "tube" else abs(float(shared) - 78 * share) < 0.5


@pytest.mark.parametrize("mask", MASKS)
def test_a_clip_is_masked_alike_in_any_batch(mask):
    samples = torch.tensor([41, 7, 1000003, 12, 7])
    kept = visible_cells(fold_in_rows(9, samples), 4, 196, 78, mask)
    order = torch.tensor([3, 0, 4, 2, 1])
    assert torch.equal(visible_cells(fold_in_rows(9, samples[order]), 4, 196, 78, mask), kept[order])
    assert torch.equal(visible_cells(fold_in_rows(9, samples[2:3]), 4, 196, 78, mask), kept[2:3])
    assert torch.equal(kept[1], kept[4]), "the same sample, the same mask"
    assert not torch.equal(visible_cells(fold_in_rows(10, samples), 4, 196, 78, mask), kept), (
        "another step, another mask"
    )


def test_nothing_touches_the_global_generator():
    before = torch.get_rng_state()
    visible_cells(ROWS, 4, 196, 78)
    mask_words(torch.ones(256, 8, dtype=torch.int64), torch.ones(256, 8, dtype=torch.bool), 4, 0.5, ROWS)
    assert torch.equal(torch.get_rng_state(), before)


def captions(batch: int = 2000, length: int = 20):
    """Ids 10, 11, .. with CLS 2 in front, SEP 3 after a varying number of words, padding 0."""
    ids = torch.arange(10, 10 + length).repeat(batch, 1)
    words = torch.arange(batch) % (length - 1)  # 0 to length - 2 words
    place = torch.arange(length)
    maskable = (place[None] >= 1) & (place[None] <= words[:, None])
    ids[:, 0] = 2
    ids[place[None] == words[:, None] + 1] = 3
    ids[place[None] > words[:, None] + 1] = 0
    return ids, maskable


@pytest.mark.parametrize("ratio", [0.15, 0.3, 0.5, 0.75])
def test_words_are_hidden_in_place_at_their_ratio(ratio):
    ids, maskable = captions()
    before = ids.clone()
    masked = mask_words(ids, maskable, 4, ratio, fold_in_rows(2, torch.arange(len(ids))))
    assert torch.equal(ids, before), "the caller's ids are left alone"
    assert masked.shape == ids.shape
    assert masked.dtype == torch.int64
    changed = masked != ids
    assert (masked[changed] == 4).all()
    assert not (changed & ~maskable).any(), "CLS, SEP and padding are never hidden"
    words = int(maskable.sum())
    assert abs(int(changed.sum()) / words - ratio) < 3 * math.sqrt(ratio * (1 - ratio) / words)


def test_the_words_hidden_are_those_that_are_masked():
    ids, maskable = captions(100)
    rows = fold_in_rows(2, torch.arange(100))
    assert torch.equal(mask_words(ids, maskable, 4, 0.5, rows) == 4, hidden_words(maskable, 0.5, rows))


def test_a_ratio_of_zero_hides_no_word():
    ids, maskable = captions(10)
    assert torch.equal(mask_words(ids, maskable, 4, 0.0, ROWS[:10]), ids)


def test_padding_and_company_do_not_change_the_words_hidden():
    ids, maskable = captions(50, 12)
    rows = fold_in_rows(2, torch.arange(50))
    whole = mask_words(ids, maskable, 4, 0.4, rows)
    longer, more = (torch.nn.functional.pad(t, (0, 8)) for t in (ids, maskable))
    assert torch.equal(mask_words(longer, more, 4, 0.4, rows)[:, :12], whole)
    assert torch.equal(mask_words(ids.flip(0), maskable.flip(0), 4, 0.4, rows.flip(0)), whole.flip(0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mask", MASKS)
def test_a_gpu_masks_the_same(mask):
    assert torch.equal(visible_cells(ROWS.cuda(), 4, 196, 78, mask).cpu(), visible_cells(ROWS, 4, 196, 78, mask))
