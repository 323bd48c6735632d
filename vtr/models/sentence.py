"""A model of sentence-transformers that takes videos, as an embedder has it: clips and token ids to a vector each.

Letters: B batch, T frames, H W pixels, L text tokens, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vtr.errors import InputError
from vtr.models.framewise import weights_sha256

FREE = {"video": {"do_sample_frames": False}}  # which frames a clip has was decided before


class SentenceModel(nn.Module):
    """`model` is a SentenceTransformer; a caption's forward pass also gets `zeros`, shaped like its ids, and `rest`."""

    def __init__(self, model: Any, zeros: Sequence[str], rest: Mapping[str, Any], embed_dim: int) -> None:
        super().__init__()
        self.model, self.zeros, self.rest, self.embed_dim = model, zeros, rest, embed_dim

    def encode_video(self, clips: Tensor) -> Tensor:
        """(B,T,3,H,W) uint8 -> (B,E). Raises InputError: normalised pixels, clips of a shape that it does not take."""
        if clips.is_floating_point():
            raise InputError(f"the clips are {clips.dtype}", "give this model uint8: it normalises them itself")
        given = [{"video": clip} for clip in clips.cpu()]
        try:
            found: Tensor = self.model.encode_document(
                given, batch_size=len(given), convert_to_tensor=True, show_progress_bar=False, processing_kwargs=FREE
            )
        except (RuntimeError, ValueError, IndexError) as error:
            if "memory" in str(error):  # told of by itself
                raise
            frames, _, height, width = clips.shape[1:]
            raise InputError(
                f"the model cannot embed clips of {frames} frames of {height} x {width} pixels: {error}",
                "leave out frames= and size=, or give what it was trained with: st:DIR,frames=16,size=288",
            ) from error
        return found.flatten(1)  # of some models (B,1,E)

    def encode_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B,L) int64, (B,L) bool -> (B,E)."""
        zeros = {name: torch.zeros_like(ids) for name in self.zeros}
        given = {**self.rest, **zeros, "input_ids": ids, "attention_mask": attention.long()}
        found: Tensor = self.model(given, task="query")["sentence_embedding"]
        return found.flatten(1)[:, : self.embed_dim]

    def weights_sha256(self) -> str:
        """SHA-256 over all weights."""
        return weights_sha256(self.model)
