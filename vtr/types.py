"""The nouns that pass between the floors. Letters: B batch, T frames, H W pixels, L text tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B clips and a caption each.

    clips (B,T,3,H,W) uint8; ids (B,L) int64; attention (B,L) bool; maskable (B,L) bool: a word, not CLS, SEP, padding;
    samples (B,) int64: numbers in the index; ok (B,) bool: False where the video could not be read (its clip is empty).
    """

    clips: Tensor
    ids: Tensor
    attention: Tensor
    maskable: Tensor
    samples: Tensor
    ok: Tensor
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = {len(t) for t in (self.clips, self.ids, self.attention, self.maskable, self.samples, self.ok)}
        if len(rows) != 1 or self.clips.ndim != 5 or self.clips.shape[2] != 3:
            raise ValueError(f"a batch of clips {tuple(self.clips.shape)} and captions {tuple(self.ids.shape)}")

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; uint8 travels, normalising happens there."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, out of which `to` copies while the GPU works; torch's loader calls it.

        Without this method the loader hands a batch on unpinned, and says nothing.
        """
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        names = ("clips", "ids", "attention", "maskable", "samples", "ok")
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)
