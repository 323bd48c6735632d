"""A small model and a batch of noise, alike in every process."""

from __future__ import annotations

from dataclasses import replace

import torch

from vtr.models.dual import DualEncoder
from vtr.models.joint import UnifiedEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.video import VideoEncoder
from vtr.types import Batch

MASK_ID, PAD, CLS, SEP = 4, 0, 2, 3


def model(attention: str = "divided", tubelet: int = 1, *, learn_temperature: bool = False) -> DualEncoder:
    """4 frames of 16 x 16 in patches of 4 (16 cells); every weight random, so that nothing starts at zero."""
    torch.manual_seed(0)
    video = VideoEncoder(
        width=24, depth=2, heads=3, patch=4, tubelet=tubelet, frames=4, size=16, attention=attention, time_init="proj"
    )
    return randomised(DualEncoder(video, TextEncoder(small_text(60, 24, 2, 4, 16)), 16, 0.1, learn_temperature))


def unified(tubelet: int = 2, *, learn_temperature: bool = False, **given: object) -> UnifiedEncoder:
    """One encoder for the same clips and captions, without dropout; every weight random."""
    torch.manual_seed(0)
    encoder = UnifiedEncoder(
        60, 24, 2, 3, 4, tubelet, 4, 16, dropout=0.0, temperature=0.1, learn_temperature=learn_temperature, **given
    )
    return randomised(encoder)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """The same module, its weights drawn anew, all but norms and temperatures."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" not in name.lower() and name != "log_temperature":
                parameter.copy_(torch.randn_like(parameter) * 0.15)
    return module


def batch(size: int = 8, length: int = 12) -> Batch:
    """Samples 100, 107, .. with captions of 0 to `length - 2` words."""
    g = torch.Generator().manual_seed(1)
    clips = torch.randint(0, 256, (size, 4, 3, 16, 16), dtype=torch.uint8, generator=g)
    words = (torch.arange(size) * 3) % (length - 1)
    place = torch.arange(length)[None]
    maskable = (place >= 1) & (place <= words[:, None])
    ids = torch.randint(5, 60, (size, length), generator=g)
    ids = torch.where(maskable, ids, PAD)
    ids[:, 0] = CLS
    ids[place == words[:, None] + 1] = SEP
    ok = torch.ones(size, dtype=torch.bool)
    return Batch(clips, ids, ids != PAD, maskable, 100 + 7 * torch.arange(size), ok)


def unreadable() -> tuple[Batch, Batch]:
    """A batch, and the same with two clips that could not be read."""
    whole = batch()
    ok = torch.tensor([True, False, True, True, True, False, True, True])
    return whole, replace(whole, clips=whole.clips * ok[:, None, None, None, None], ok=ok)


def rows(whole: Batch, own: torch.Tensor | slice) -> Batch:
    """Some rows of a batch, with no more padding than they need."""
    need = int(whole.attention[own].sum(1).max())
    return Batch(
        whole.clips[own],
        whole.ids[own, :need],
        whole.attention[own, :need],
        whole.maskable[own, :need],
        whole.samples[own],
        whole.ok[own],
    )
