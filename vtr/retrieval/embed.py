"""Captions to embeddings.

Letters: C captions, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.data.mixture import Samples
from vtr.data.tokenizer import CaptionTokenizer
from vtr.gather import in_turn
from vtr.models.embedder import Embedder

Vectors = NDArray[np.float32]


def embed_captions(
    embedder: Embedder, tokenizer: CaptionTokenizer, captions: list[str], batch: int = 256, *, together: bool = False
) -> Vectors:
    """(C,E) float32: the vector of each caption. `together`: the processes that train share the work, all get all."""

    def embed(starts: Iterable[int]) -> Iterator[Vectors]:
        for at in starts:
            tokens = tokenizer(captions[at : at + batch])
            ids, attention = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)
            yield embedder.embed_text(ids, attention).cpu().numpy()

    starts = range(0, len(captions), batch)
    return np.concatenate(in_turn(embed, starts) if together else list(embed(starts)))


def captions_of(index: Samples) -> list[str]:
    """All captions of `index`, in its order."""
    return [caption for i in range(len(index)) for caption in index.captions(i)]
