"""MILES: align, and predict behind the mask what a past copy of the encoder sees in the whole clip.

Letters: B batch, S slots, m hidden cells of a slot, D width, E joint embedding.
Source: MILES: Visual BERT Pre-training with Injected Language Semantics for Video-text Retrieval (arXiv:2204.12408).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.errors import ConfigError
from vtr.gather import gather
from vtr.losses import mean_of
from vtr.masking import cells_of, hidden_cells, known_mask, mask_words, visible_cells, visible_count
from vtr.models.dual import DualEncoder
from vtr.models.snapshot import Snapshot
from vtr.objectives.align import Align
from vtr.rng import fold_in, fold_in_rows
from vtr.types import Batch

SPACES, HEADS = ("joint", "tokens"), ("none", "linear", "mlp")


class MILES(nn.Module):
    """Contrast a clip with holes and its caption; at the holes, predict the snapshot's text-aligned features.

    `L = L_con + weight * L_mvm`, `L_mvm = mean over holes of (2 - 2 cos(head(v_i), s_i))`, v_i and s_i the student's
    and the snapshot's final tokens, in the `joint` space after `vid_proj` (text-aligned) or as `tokens`.

    The snapshot becomes a copy of the student every `every` steps; with `momentum` it follows at each step instead, the
    momentum rising to 1 over `steps`. With `wait`, nothing is predicted before the first `every` steps are over: the
    snapshot has not learnt yet what text says. Raises ConfigError for a mask that hides nothing or an unknown choice.
    """

    def __init__(
        self,
        model: DualEncoder,
        mask_id: int,
        mask_ratio: float = 0.38,
        word_ratio: float = 0.0,
        mask: str = "block",
        weight: float = 1.0,
        space: str = "joint",
        head: str = "none",
        every: int = 1000,
        momentum: float = 0.0,
        steps: int = 1,
        wait: bool = True,
        loss: str = "softmax",
    ) -> None:
        super().__init__()
        for name, value, known in (("space", space, SPACES), ("head", head, HEADS)):
            if value not in known:
                raise ConfigError(f"{name} {value!r} is unknown", f"choose one of: {', '.join(known)}")
        self.model, self.mask_id, self.word_ratio, self.mask = model, mask_id, word_ratio, known_mask(mask)
        self.weight, self.space, self.every, self.momentum, self.steps = weight, space, every, momentum, steps
        self.cells, self.align = model.video.cells, Align(loss)
        self.visible = visible_count(self.cells, mask_ratio)
        if self.visible == self.cells:
            raise ConfigError(f"a mask ratio of {mask_ratio} hides no patch", "MILES hides 0.38 of them")
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, model.video.width), std=0.02))
        width = model.embed_dim if space == "joint" else model.video.width
        self.head = _head(head, width)
        self.snapshot = Snapshot(model.video, model.vid_proj)
        self.predicts = not wait

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:
        """(B,...) -> {"contrastive": (), "masked_features": ()}; with `masked` False whole clips, and no prediction."""
        return self.losses(self.rows(batch, seed, masked))

    def rows(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:
        """(B,...) -> the vectors (B,E) of both, and "masked_features" (B,): each row's `L_mvm`."""
        model, ids, hidden = self.model, batch.ids, None
        if masked:
            slots = batch.clips.shape[1] // model.video.tubelet
            visible = visible_cells(fold_in_rows(seed, batch.samples), slots, self.cells, self.visible, self.mask)
            hidden = hidden_cells(visible, self.cells)  # (B,S,n)
            words = fold_in_rows(fold_in(seed, 1), batch.samples)
            ids = mask_words(ids, batch.maskable, self.mask_id, self.word_ratio, words)
        tokens = model.video(batch.clips, hidden=hidden, mask_token=self.mask_token)  # CLS sees the holes too
        return {
            "video": model.vid_proj(tokens[:, 0]),
            "text": model.encode_text(ids, batch.attention),
            "masked_features": self._behind(tokens[:, 1:], batch.clips, hidden),
            "ok": batch.ok,
            "samples": batch.samples,
        }

    def losses(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of all processes' rows; the prediction's comes with its weight."""
        behind, ok = gather(rows["masked_features"] * rows["ok"]), gather(rows["ok"])
        return {
            "contrastive": self.align(rows, self.model.temperature),
            "masked_features": self.weight * mean_of(behind, ok),
        }

    def _behind(self, tokens: Tensor, clips: Tensor, hidden: Tensor | None) -> Tensor:
        """(B,N,D), clips, (B,S,n) -> (B,): the mean of 2 - 2 cos over a clip's holes."""
        if hidden is None or not self.predicts:
            # Zero, with a gradient of zero for the head: processes that train together expect one.
            return tokens.new_zeros(len(tokens)) + 0 * sum(p.sum() for p in [*self.head.parameters(), self.mask_token])
        holes = cells_of(hidden.flatten(1), hidden.shape[1] * (self.cells - self.visible))[..., None]
        seen, wanted = (t.gather(1, holes.expand(-1, -1, t.shape[2])) for t in (tokens, self.snapshot(clips)))
        if self.space == "joint":
            seen, wanted = self.model.vid_proj(seen), self.snapshot.vid_proj(wanted)
        return (2 - 2 * F.cosine_similarity(self.head(seen).float(), wanted.detach().float(), dim=-1)).mean(1)

    def clip_tokens(self, masked: bool) -> int:  # noqa: ARG002
        """How many tokens a clip puts through the encoder that is trained."""
        return 1 + self.model.video.slots * self.cells

    def after_step(self, done: int) -> None:
        """Moves the snapshot after `done` steps, where its turn has come."""
        if self.momentum:
            rest = (1 - self.momentum) * (1 + math.cos(math.pi * min(1.0, done / self.steps))) / 2
            self.snapshot.follow(self.model.video, self.model.vid_proj, 1 - rest)
        elif done % self.every == 0:
            self.snapshot.follow(self.model.video, self.model.vid_proj)
        if done >= self.every:
            self.predicts = True

    def get_extra_state(self) -> Tensor:
        """Whether predictions have begun: with the snapshot itself, what a resumed run needs."""
        return torch.tensor(self.predicts)

    def set_extra_state(self, state: Tensor) -> None:
        """The reverse."""
        self.predicts = bool(state)


def _head(kind: str, width: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(width, width)
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
