"""The dual encoder: a clip and a caption, each to one vector in a joint space.

Letters: B batch, T frames, H W pixels, L text tokens, S slots, k visible cells, E joint embedding.
Source: Frozen in Time (arXiv:2104.00650), section 3; the heads as released.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vtr.models.text import TextEncoder
from vtr.models.video import VideoEncoder


class DualEncoder(nn.Module):
    """`encode_video` takes the clip's CLS through `vid_proj`; `encode_text` the caption's vector through `txt_proj`.

    A `text_head` of "linear" leaves out the ReLU in front of `txt_proj`, as CLIP does. Neither normalises: the loss
    takes cosines. `temperature` is a fixed number, or learned when `learn_temperature`.
    """

    def __init__(
        self,
        video: VideoEncoder,
        text: TextEncoder,
        embed_dim: int = 256,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        text_head: str = "relu",
    ) -> None:
        super().__init__()
        self.video, self.text, self.embed_dim = video, text, embed_dim
        self.vid_proj = nn.Linear(video.width, embed_dim)
        self.txt_proj = nn.Sequential(
            nn.ReLU() if text_head == "relu" else nn.Identity(), nn.Linear(text.width, embed_dim)
        )
        self.learn_temperature = learn_temperature
        # Held as a logarithm, so that no step can make it negative.
        log = torch.tensor(math.log(temperature))
        self.log_temperature = nn.Parameter(log, requires_grad=learn_temperature)

    def encode_video(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B,T,3,H,W) normalised float or uint8, (B,S,k) | None -> (B,E)."""
        return self.vid_proj(self.video(clips, visible)[:, 0])  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B,L) int64, (B,L) bool -> (B,E)."""
        return self.txt_proj(self.text(ids, attention))  # type: ignore[no-any-return]

    @property
    def temperature(self) -> Tensor:
        """() the temperature tau; a learned one stays at 0.01 or above, as CLIP has it."""
        return held_temperature(self.log_temperature, self.learn_temperature)


def held_temperature(log: Tensor, learned: bool) -> Tensor:
    """() logarithm -> () temperature; a learned one stays at 0.01 or above, as CLIP has it."""
    if learned:
        # A clamp has no gradient below its floor: a temperature that fell there would never come up again.
        log = log + (log.clamp(min=math.log(0.01)) - log).detach()
    return log.exp()
