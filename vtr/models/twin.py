"""Two copies of the unified encoder, one for clips and one for captions, which part while they are fine-tuned.

Letters: B batch, T frames, H W pixels, L text tokens, D width, E joint embedding.
Source: SimVTP (arXiv:2212.03490), section 3.4 (transfer to retrieval).
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from vtr.models.dual import held_temperature
from vtr.models.joint import UnifiedEncoder


class TwinEncoder(nn.Module):
    """Each vector is the mean of a copy's tokens after its last block, through a new LayerNorm: E = D.

    The new norm takes the place of the pretrained final one, which stood before the mean (as VideoMAE fine-tunes).
    """

    def __init__(self, unified: UnifiedEncoder) -> None:
        super().__init__()
        self.width = self.embed_dim = unified.width
        self.learn_temperature = unified.learn_temperature
        self.log_temperature = nn.Parameter(unified.log_temperature.detach().clone(), unified.learn_temperature)
        self.video, self.text = copy.deepcopy(unified), copy.deepcopy(unified)
        # What a tower does not use would be trained by nothing and kept for nothing.
        del self.video.embeddings, self.text.patch_embed
        for tower in (self.video, self.text):
            del tower.log_temperature
            tower.norm = nn.Identity()  # type: ignore[assignment]
        self.video_norm = nn.LayerNorm(self.width, eps=1e-6)
        self.text_norm = nn.LayerNorm(self.width, eps=1e-6)

    def encode_video(self, clips: Tensor) -> Tensor:
        """(B,T,3,H,W) normalised float or uint8 -> (B,E)."""
        return self.video_norm(self.video.encode_video(clips))  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B,L) int64, (B,L) bool -> (B,E)."""
        return self.text_norm(self.text.encode_text(ids, attention))  # type: ignore[no-any-return]

    @property
    def temperature(self) -> Tensor:
        """() the temperature tau."""
        return held_temperature(self.log_temperature, self.learn_temperature)
