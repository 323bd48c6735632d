"""A model in use: rows of length 1, whatever the arithmetic, and the same alone as in a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vtr import build

WORDS = ["a red circle moves left", "a blue star", "two dogs"]


def inputs(loaded: build.Loaded) -> tuple[torch.Tensor, ...]:
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tokens = loaded.tokenizer(WORDS)
    return clips, torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_are_of_length_1(run: Path, precision: str) -> None:
    loaded = build.load_model(run, "cpu", precision)
    clips, ids, attention = inputs(loaded)
    for rows in (loaded.embedder.embed_video(clips), loaded.embedder.embed_text(ids, attention)):
        assert rows.shape == (3, 16)
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_a_row_does_not_depend_on_its_batch(run: Path) -> None:
    loaded = build.load_model(run, "cpu", "fp32")
    clips, ids, attention = inputs(loaded)
    together = loaded.embedder.embed_video(clips)
    alone = torch.cat([loaded.embedder.embed_video(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    together = loaded.embedder.embed_text(ids, attention)
    each = [loaded.tokenizer([word]) for word in WORDS]  # padded less
    alone = torch.cat([
        loaded.embedder.embed_text(torch.from_numpy(t.ids), torch.from_numpy(t.attention)) for t in each
    ])  # fmt: skip
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_precisions_agree_nearly(run: Path) -> None:
    exact, fast = (build.load_model(run, "cpu", precision) for precision in ("fp32", "bf16"))
    clips, _, _ = inputs(exact)
    cosine = (exact.embedder.embed_video(clips) * fast.embedder.embed_video(clips)).sum(dim=1)
    assert cosine.min() > 0.99
