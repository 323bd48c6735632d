"""The unified encoder: one ViT over the tubes of a clip, the words of a caption, or both together.

Letters: B batch, T frames, H W pixels, S slots, k visible cells of a slot, K = S*k tubes, L words, N tokens, D width.
Source: SimVTP (arXiv:2212.03490), section 3; VideoMAE (arXiv:2203.12602) for the ViT; parts carry VideoMAE's and BERT's
names, so that their weights load as they are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.errors import ConfigError
from vtr.models.attention import left_out
from vtr.models.block import Mlp
from vtr.models.dual import held_temperature
from vtr.models.patches import normalised, to_bytes, visible_patches
from vtr.models.positions import fit_space, fit_time
from vtr.models.video import IMAGENET_MEAN, IMAGENET_STD, init_linear

BERT_POSITIONS = 512


class JointAttention(nn.Module):
    """(B,N,D), (B,N) bool | None -> (B,N,D): every token looks at all that are `seen`. Keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = (self.qkv(x) + bias).view(*x.shape[:2], 3, self.heads, -1)
        q, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B,h,N,d) each
        out = F.scaled_dot_product_attention(q, key, value, None if seen is None else seen[:, None, None])
        return self.proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class JointBlock(nn.Module):
    """(B,N,D) -> (B,N,D): `y = x + Attn(norm1(x)); out = y + MLP(norm2(y))`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = JointAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path: nn.Module = nn.Identity()

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        y = x + self.drop_path(self.attn(self.norm1(x), seen))
        return y + self.drop_path(self.mlp(self.norm2(y)))  # type: ignore[no-any-return]


class WordEmbeddings(nn.Module):
    """(B,L) int64 -> (B,L,D): BERT's embedding layer alone: word + position + type, LayerNorm, dropout."""

    def __init__(self, vocabulary: int, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(BERT_POSITIONS, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        for table in (self.word_embeddings, self.position_embeddings, self.token_type_embeddings):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]]
        return self.dropout(self.LayerNorm(x + self.token_type_embeddings.weight[0]))  # type: ignore[no-any-return]


class UnifiedEncoder(nn.Module):
    """Clips and captions through the same blocks: `encode(tubes)`, `encode(words)` or `encode([tubes; words])`.

    A clip's or a caption's vector is the mean of its tokens after the final norm, without a projection: E = D.
    `pool_includes_pad` takes padding into a caption's mean.
    Differs from the paper: the released code does, so that a caption's vector changes with its neighbours' lengths.
    """

    mean: Tensor
    std: Tensor
    positions: Tensor

    def __init__(
        self,
        vocabulary: int,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        tubelet: int = 2,
        frames: int = 16,
        size: int = 224,
        dropout: float = 0.1,
        drop_path: float = 0.0,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        pool_includes_pad: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ConfigError(f"a width of {width} does not divide into {heads} heads", "choose heads that divide it")
        self.width = self.embed_dim = width
        self.patch, self.tubelet, self.pool_includes_pad = patch, tubelet, pool_includes_pad
        self.grid, self.slots = size // patch, frames // tubelet
        self.cells = self.grid**2
        self.patch_embed = nn.Linear(3 * tubelet * patch * patch, width)
        self.embeddings = WordEmbeddings(vocabulary, width, dropout)
        self.blocks = nn.ModuleList(JointBlock(width, heads) for _ in range(depth))
        self.drop_blocks(drop_path)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.learn_temperature = learn_temperature
        log = torch.tensor(math.log(temperature))
        self.log_temperature = nn.Parameter(log, requires_grad=learn_temperature)
        self.register_buffer("positions", sinusoids(self.slots * self.cells, width), persistent=False)
        self.register_buffer("mean", to_bytes(mean), persistent=False)
        self.register_buffer("std", to_bytes(std), persistent=False)
        self.apply(init_linear)

    def drop_blocks(self, rate: float) -> None:
        """Leaves the last block out of so many training steps, and the ones before it out of ever fewer."""
        for i, block in enumerate(self.blocks):
            block.drop_path = left_out(rate, i, len(self.blocks))

    def fit(self, frames: int, size: int) -> None:
        """Makes this an encoder for clips of `frames` x `size` x `size`: sines for as many tubes as they have."""
        self.grid, self.slots = size // self.patch, frames // self.tubelet
        self.cells = self.grid**2
        self.positions = sinusoids(self.slots * self.cells, self.width).to(self.positions.device)

    def tubes(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B,T,3,H,W) normalised float or uint8, (B,S,k) | None -> (B,K,D): tubes and positions, slot by slot."""
        rows, columns = clips.shape[-2] // self.patch, clips.shape[-1] // self.patch
        return self.embed_patches(visible_patches(clips, visible, self.patch, self.tubelet), rows, columns, visible)

    def embed_patches(self, patches: Tensor, rows: int, columns: int, visible: Tensor | None = None) -> Tensor:
        """(B,S,k,3*t*p*p) normalised float or uint8, of a grid of `rows` and `columns`, (B,S,k) | None -> (B,K,D)."""
        patches = normalised(patches, self.mean, self.std, self.patch_embed.weight.dtype)
        tubes: Tensor = self.patch_embed(patches.flatten(1, 2))
        return tubes + self.places(patches.shape[1], rows, columns, visible)

    def places(self, slots: int, rows: int, columns: int, visible: Tensor | None = None) -> Tensor:
        """(B,S,k) | None -> (B,S*k,D) | (1,S*n,D): the positions, fixed sines over all tubes of a clip in one line."""
        table = self.positions.view(self.slots, self.cells, self.width)
        by_cell = fit_space(table.transpose(0, 1).flatten(1), (self.grid, self.grid), (rows, columns))
        by_slot = by_cell.view(rows * columns, self.slots, self.width).transpose(0, 1).flatten(1)
        fitted = fit_time(by_slot, slots).view(slots, rows * columns, self.width)
        if visible is None:
            return fitted.flatten(0, 1)[None]
        return fitted[torch.arange(slots, device=visible.device)[:, None], visible].flatten(1, 2)

    def words(self, ids: Tensor) -> Tensor:
        """(B,L) int64 -> (B,L,D)."""
        return self.embeddings(ids)  # type: ignore[no-any-return]

    def encode(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B,N,D), (B,N) bool | None -> (B,N,D): the blocks and the final norm; padding is not `seen`."""
        for block in self.blocks:
            tokens = block(tokens, seen)
        return self.norm(tokens)  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B,N,D), (B,N) bool | None -> (B,D): the mean of the tokens, all or those that are `seen`."""
        return tokens.mean(1) if seen is None or self.pool_includes_pad else mean_of(tokens, seen)

    def encode_video(self, clips: Tensor) -> Tensor:
        """(B,T,3,H,W) normalised float or uint8 -> (B,E)."""
        return self.pool(self.encode(self.tubes(clips)))

    def encode_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B,L) int64, (B,L) bool -> (B,E)."""
        return self.pool(self.encode(self.words(ids), attention), attention)

    @property
    def temperature(self) -> Tensor:
        """() the temperature tau."""
        return held_temperature(self.log_temperature, self.learn_temperature)


def mean_of(tokens: Tensor, seen: Tensor) -> Tensor:
    """(B,N,D), (B,N) bool -> (B,D): the mean of the tokens that are `seen`."""
    weight = seen[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def sinusoids(places: int, width: int) -> Tensor:
    """(places, width): `sin, cos, sin, cos, ..` of place / 10000^(2i/width), as in Attention Is All You Need."""
    # reckoned on the CPU for the reason that `to_bytes` has
    frequency = 10_000.0 ** -(torch.arange(0, width, 2, device="cpu", dtype=torch.float64) / width)
    angle = torch.arange(places, device="cpu", dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float().to(torch.get_default_device())
