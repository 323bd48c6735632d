"""Shards to embeddings: every clip's vector and every caption's.

Letters: N videos, C captions, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.data.index import IMAGE
from vtr.data.loader import ClipDataset, ClipShape, batches, workers_watched
from vtr.data.mixture import Samples
from vtr.data.order import evaluation_slots
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import WorkError
from vtr.gather import in_turn
from vtr.models.embedder import Embedder

Vectors = NDArray[np.float32]


def embed_videos(
    embedder: Embedder,
    index: Samples,
    shape: ClipShape,
    tokenizer: CaptionTokenizer,
    *,
    batch: int = 32,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Vectors:
    """(N,E) float32: the vector of each sample of `index`, in its order.

    Raises WorkError naming the first video that cannot be read: no vector takes its place.
    """
    rows = []
    dataset = ClipDataset(index, shape)
    slots = evaluation_slots(len(index), batch, index.facts("decoder") == IMAGE)
    with workers_watched():
        for clips, errors in batches(dataset, slots, tokenizer, workers):
            if errors:
                key, kind, message = errors[0]
                raise WorkError(
                    f"{key} in {index.where} cannot be read ({kind}): {message}",
                    "make the shards anew: this video is damaged",
                )
            rows.append(embedder.embed_video(clips.clips).cpu().numpy())
            if progress:
                progress(len(clips))
    return np.concatenate(rows)


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


def captions_of(index: Samples) -> tuple[list[str], NDArray[np.int64]]:
    """All captions of `index`, and the number of each one's video (C,)."""
    captions = [index.captions(i) for i in range(len(index))]
    flat = [caption for several in captions for caption in several]
    return flat, np.repeat(np.arange(len(index)), [len(several) for several in captions])
