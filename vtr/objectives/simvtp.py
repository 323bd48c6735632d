"""SimVTP: restore hidden tubes and words from what is left of both; align and match the masked pair.

Letters: B batch, S slots, k visible and h hidden cells, K = S*k, M = S*h, L text tokens, D width, P pixels of a tube.
Source: SimVTP: Simple Video Text Pre-training with Masked Autoencoders (arXiv:2212.03490).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.errors import ConfigError
from vtr.gather import fetch, gather
from vtr.losses import CHUNK, mean_of
from vtr.masking import cells_of, hidden_cells, hidden_count, hidden_words, known_mask, visible_cells
from vtr.models.decoder import PixelDecoder
from vtr.models.joint import UnifiedEncoder
from vtr.models.patches import visible_patches
from vtr.objectives.align import Align
from vtr.rng import fold_in, fold_in_rows, uniform_pairs
from vtr.types import Batch

NEGATIVES = ("random", "hard")
PIXEL_FLOOR = 1e-6  # as released


class SimVTP(nn.Module):
    """`L = pixels + words + contrastive + matching`, all from masked clips and masked captions, always.

    `negatives` of the matching are another clip of all processes' rows, drawn at random (as published) or more often
    the more it resembles the caption (`hard`, as in ALBEF, arXiv:2107.07651).
    Differs from the paper: the true pairs of the matching are the joint pass that restores, and words and true tubes
    are embedded once for all passes; the released code encodes the true pairs again, at the same loss.
    Raises ConfigError for masks that hide nothing or an unknown choice.
    """

    def __init__(
        self,
        model: UnifiedEncoder,
        mask_id: int,
        mask_ratio: float = 0.9,
        word_ratio: float = 0.75,
        mask: str = "tube",
        negatives: str = "random",
        decoder_width: int = 384,
        decoder_depth: int = 4,
        decoder_heads: int = 6,
        loss: str = "softmax",
        pixel_floor: float = PIXEL_FLOOR,
    ) -> None:
        super().__init__()
        if negatives not in NEGATIVES:
            raise ConfigError(f"negatives {negatives!r} are unknown", f"choose one of: {', '.join(NEGATIVES)}")
        self.model, self.mask_id, self.word_ratio, self.mask = model, mask_id, word_ratio, known_mask(mask)
        self.negatives, self.visible = negatives, model.cells - hidden_count(model.cells, mask_ratio)
        self.align, self.pixel_floor = Align(loss), pixel_floor
        if self.visible == model.cells:
            raise ConfigError(f"a mask ratio of {mask_ratio} hides no tube", "SimVTP hides 0.9 of them")
        pixels = 3 * model.tubelet * model.patch**2
        self.decoder = PixelDecoder(
            model.width, model.cells, model.slots, pixels, decoder_width, decoder_depth, decoder_heads
        )
        self.word_head = nn.Linear(model.width, model.embeddings.word_embeddings.num_embeddings)
        self.match_head = nn.Linear(model.width, 2)

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:
        """(B,...) -> {"contrastive": (), "pixels": (), "words": (), "matching": ()}, means over all processes' rows."""
        return self.losses(self.rows(batch, seed, masked))

    def rows(
        self,
        batch: Batch,
        seed: int,
        masked: bool = True,  # noqa: ARG002
        partners: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """(B,...) -> the vectors (B,E) of both, and (B,) each row's sums over what it restores and matches.

        `partners` are those of `batch` where it is a piece of a larger one; without, they are drawn here.
        """
        model, ok, seen = self.model, batch.ok, batch.attention
        visible, hidden, lost = self.masks(batch, seed)
        tubes = model.tubes(batch.clips, visible)  # (B,K,D)
        words = model.words(torch.where(lost, self.mask_id, batch.ids))  # (B,L,D)
        video, text = model.pool(model.encode(tubes)), model.pool(model.encode(words, seen), seen)
        joint = self.together(tubes, words, seen)  # (B,K+L,D), which restores and is the true pair

        restored = self.decoder(joint[:, : tubes.shape[1]], visible, hidden)
        target = pixel_targets(batch.clips, hidden, model.patch, model.tubelet, self.pixel_floor)
        lost = lost & ok[:, None]
        if partners is None:
            (partners,) = self.partners([batch], seed, (video, text))
        rows, columns = (size // model.patch for size in batch.clips.shape[-2:])
        other = model.embed_patches(partners["patches"], rows, columns, partners["visible"])
        wrong, there = self.together(other, words, seen), partners["there"]
        return {
            "video": video,
            "text": text,
            "ok": ok,
            "samples": batch.samples,
            "pixels": (restored.float() - target).square().mean((1, 2)) * ok,
            "words": word_losses(self.word_head(joint[:, tubes.shape[1] :]), batch.ids, lost),
            "lost": lost.sum(1),
            "matching": self.match(joint, seen, 1) * ok + self.match(wrong, seen, 0) * there,
            "pairs": ok.long() + there.long(),
        }

    def losses(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of all processes' rows."""
        counts = {"pixels": "ok", "words": "lost", "matching": "pairs"}
        means = {name: mean_of(gather(rows[name]), gather(rows[count])) for name, count in counts.items()}
        return {"contrastive": self.align(rows, self.model.temperature), **means}

    @torch.no_grad()
    def partners(
        self, parts: Iterable[Batch], seed: int, vectors: tuple[Tensor, Tensor] | None = None
    ) -> list[dict[str, Tensor]]:
        """What each of a batch's pieces needs of the wrong clip of its rows: "patches" (B,S,k,P) of what is visible
        in it, "visible" (B,S,k) which these are, "there" (B,) bool whether there is one.

        They come from all pieces of all processes. Hard ones need the `vectors` (B,E) of the whole batch's clips and
        captions; where they are not given, they are made here.
        """
        found: dict[str, list[Tensor]] = {"patches": [], "samples": [], "ok": [], "video": [], "text": []}
        for part in parts:
            visible, _, lost = self.masks(part, seed)
            found["patches"].append(visible_patches(part.clips, visible, self.model.patch, self.model.tubelet))
            found["samples"].append(part.samples)
            found["ok"].append(part.ok)
            if self.negatives == "hard" and vectors is None:
                words = self.model.words(torch.where(lost, self.mask_id, part.ids))
                found["video"].append(self.model.pool(self.model.encode(self.model.tubes(part.clips, visible))))
                found["text"].append(self.model.pool(self.model.encode(words, part.attention), part.attention))
        patches, samples, ok = (torch.cat(found[name]) for name in ("patches", "samples", "ok"))
        if self.negatives == "hard" and vectors is None:
            vectors = torch.cat(found["video"]), torch.cat(found["text"])
        other, there = self.others(samples, ok, seed, vectors)
        drawn = fold_in_rows(seed, gather(samples)[other])
        whole = {
            "patches": fetch(patches, other),
            "visible": visible_cells(drawn, patches.shape[1], self.model.cells, self.visible, self.mask),
            "there": there,
        }
        sizes = [len(part) for part in found["ok"]]
        pieces = zip(*(torch.split(rows, sizes) for rows in whole.values()), strict=True)
        return [dict(zip(whole, piece, strict=True)) for piece in pieces]

    def clip_tokens(self, masked: bool) -> int:  # noqa: ARG002
        """How many tokens a clip puts through the encoder, each time."""
        return self.model.slots * self.visible

    def masks(self, batch: Batch, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """(B,S,k) visible cells, (B,S,h) hidden cells, (B,L) bool hidden words."""
        cells, slots = self.model.cells, batch.clips.shape[1] // self.model.tubelet
        visible = visible_cells(fold_in_rows(seed, batch.samples), slots, cells, self.visible, self.mask)
        hidden = cells_of(hidden_cells(visible, cells), cells - self.visible)
        words = hidden_words(batch.maskable, self.word_ratio, fold_in_rows(fold_in(seed, 1), batch.samples))
        return visible, hidden, words

    def together(self, tubes: Tensor, words: Tensor, seen: Tensor) -> Tensor:
        """(B,K,D), (B,L,D), (B,L) bool -> (B,K+L,D): one pass over both."""
        everything = torch.cat([torch.ones_like(seen[:, :1]).expand(-1, tubes.shape[1]), seen], dim=1)
        return self.model.encode(torch.cat([tubes, words], dim=1), everything)

    def match(self, joint: Tensor, seen: Tensor, answer: int) -> Tensor:
        """(B,K+L,D), (B,L) bool -> (B,): cross-entropy of "they belong together" (1) or not (0)."""
        tubes = torch.ones_like(seen[:, :1]).expand(-1, joint.shape[1] - seen.shape[1])
        logits = self.match_head(self.model.pool(joint, torch.cat([tubes, seen], dim=1))).float()
        return F.cross_entropy(logits, torch.full_like(seen[:, 0], answer, dtype=torch.int64), reduction="none")

    @torch.no_grad()
    def others(
        self, samples: Tensor, ok: Tensor, seed: int, vectors: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B,) of each process -> (B,) another clip's number among all processes' rows, (B,) bool whether there is one.

        A pair's chance follows from the two samples alone, so processes and pieces draw what one batch would.
        """
        every, readable = gather(samples), gather(ok)
        rows, columns = fold_in_rows(fold_in(seed, 2), samples), fold_in_rows(fold_in(seed, 3), every)
        if vectors is not None and self.negatives == "hard":
            video, text = (F.normalize(each.float(), dim=-1) for each in vectors)
            video = gather(video)
        found, step = [], max(1, CHUNK // len(every))
        for at in range(0, len(rows), step):
            part = slice(at, at + step)
            allowed = (samples[part, None] != every) & readable & ok[part, None]
            noise = uniform_pairs(rows[part], columns).clamp(1e-7, 1 - 1e-7)
            # Gumbel noise: the largest is a draw from the softmax of what it is added to.
            score = -torch.log(-torch.log(noise))
            if vectors is not None and self.negatives == "hard":
                score = score + text[part] @ video.T / self.model.temperature
            found.append((score.masked_fill(~allowed, float("-inf")).argmax(1), allowed.any(1)))
        other, there = zip(*found, strict=True)
        return torch.cat(other), torch.cat(there)


def pixel_targets(clips: Tensor, hidden: Tensor, patch: int, tubelet: int, floor: float = PIXEL_FLOOR) -> Tensor:
    """(B,T,3,H,W) uint8, (B,S,h) -> (B,M,P): RGB in [0,1], each tube and colour with mean 0 and unbiased deviation 1.

    `(x - mean) / (sqrt(var) + floor)` over the t*p*p values of a tube in one colour; pixel by pixel, colours together.
    With a `floor` far above 1e-6 the noise of flat tubes, which nobody can tell, stays near zero.
    """
    tubes = visible_patches(clips, hidden, patch, tubelet).flatten(1, 2)  # (B,M,3*t*p*p)
    rgb = tubes.view(*tubes.shape[:2], 3, -1).float() / 255
    rgb = (rgb - rgb.mean(-1, keepdim=True)) / (rgb.var(-1, keepdim=True).sqrt() + floor)
    return rgb.transpose(2, 3).flatten(2)


def word_losses(logits: Tensor, ids: Tensor, lost: Tensor) -> Tensor:
    """(B,L,V), (B,L) int64, (B,L) bool -> (B,): the sum of cross-entropies at the words that are `lost`."""
    losses = F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction="none").view_as(ids)
    return (losses * lost).sum(1)
