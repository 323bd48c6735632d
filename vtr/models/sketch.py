"""A DistilBERT to count on: what it computes and keeps, in plain torch, for transformers takes seconds to import.

Nothing is trained with it. Letters: B batch, L text tokens, D width, h heads, d head width.
Source: DistilBERT (arXiv:1910.01108); the parts carry transformers' names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Sketch:
    """The shape of a DistilBERT as `vtr.models.text.small_text` makes it, by the names of transformers."""

    vocabulary: int
    hidden_size: int
    num_hidden_layers: int
    heads: int
    length: int


class SketchedText(nn.Module):
    """(B,L) int64, (B,L) int64 -> last_hidden_state (B,L,D); every token sees all, padding too."""

    def __init__(self, config: Sketch) -> None:
        super().__init__()
        self.config = config
        width, heads = config.hidden_size, config.heads
        self.embeddings = _Embeddings(config.vocabulary, config.length, width)
        self.transformer = _Layers(_Layer(width, heads) for _ in range(config.num_hidden_layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:  # noqa: ARG002
        return SimpleNamespace(last_hidden_state=self.transformer(self.embeddings(input_ids)))


class _Layers(nn.Module):
    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class _Embeddings(nn.Module):
    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(length, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(places))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, key, value = (
            part(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in (self.q_lin, self.k_lin, self.v_lin)
        )  # (B,h,L,d) each
        out = F.scaled_dot_product_attention(q, key, value)
        return self.out_lin(out.transpose(1, 2).contiguous().flatten(2))  # type: ignore[no-any-return]


class _Feed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(x)))  # type: ignore[no-any-return]


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = _Attention(width, heads)
        self.sa_layer_norm = nn.LayerNorm(width, eps=1e-12)
        self.ffn = _Feed(width)
        self.output_layer_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sa_layer_norm(self.attention(x) + x)
        return self.output_layer_norm(self.ffn(y) + y)  # type: ignore[no-any-return]
