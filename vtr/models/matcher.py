"""Whether a clip and a caption belong together, seen in one pass of a unified encoder: SimVTP's matching.

Letters: B batch, T frames, H W pixels, K tubes, L text tokens, D width.
Source: SimVTP (arXiv:2212.03490), the matching loss; ALBEF (arXiv:2107.07651) for ordering the first results by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtr.errors import RunError
from vtr.models.joint import UnifiedEncoder, mean_of


class Matcher:
    """`encoder` with the matching head that was trained on it: log-odds of "they belong together".

    Differs from the training: nothing is masked, for at a test clips and captions are seen whole; and the mean is never
    of padding, which some models were trained with, for a pair's odds would depend on the captions beside it.
    """

    def __init__(self, encoder: UnifiedEncoder, head: nn.Linear, device: torch.device, dtype: torch.dtype) -> None:
        self.encoder, self.head = encoder, head.to(device).eval()
        self.device, self.dtype = device, dtype

    @torch.inference_mode()
    def log_odds(self, clip: Tensor, ids: Tensor, attention: Tensor) -> Tensor:
        """(1,T,3,H,W), (B,L) int64, (B,L) bool -> (B,) float32: one clip against B captions."""
        encoder, seen = self.encoder, attention.to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            words = encoder.words(ids.to(self.device))
            tubes = encoder.tubes(clip.to(self.device)).expand(len(ids), -1, -1)
            seen = torch.cat([torch.ones_like(seen[:, :1]).expand(-1, tubes.shape[1]), seen], dim=1)
            joint = encoder.encode(torch.cat([tubes, words], dim=1), seen)
            logits = self.head(mean_of(joint, seen)).float()
        odds: Tensor = logits[:, 1] - logits[:, 0]
        return odds


def head_of(state: dict[str, Tensor], where: str) -> nn.Linear:
    """The matching head among what a checkpoint keeps beside its model. Raises RunError: none, or of another shape."""
    try:
        weight, bias = state["match_head.weight"], state["match_head.bias"]
        head = nn.Linear(weight.shape[1], 2)
        head.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    except (KeyError, IndexError, RuntimeError) as error:
        raise RunError(f"{where} has no matching head", "pretraining by SimVTP makes one") from error
    return head
