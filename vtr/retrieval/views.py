"""Shards to vectors for evaluation: each clip decoded once and embedded as it is, and with its order of time destroyed.

A model that does not use time scores the same on all views; that is what the temporal probe shows.
Letters: B batch, T frames, N videos, E joint embedding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vtr import bounds
from vtr.data.index import IMAGE, ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches, workers_watched
from vtr.data.order import evaluation_slots
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import InputError, WorkError
from vtr.gather import in_turn
from vtr.models.embedder import Embedder
from vtr.rng import fold_in_rows, uniform

TRUE = "true"
# (B,T,3,H,W) clips and the numbers (B,) of their samples -> clips of the same shape.
View = Callable[[Tensor, Tensor], Tensor]
Vectors = NDArray[np.float32]


def shuffled(clips: Tensor, samples: Tensor) -> Tensor:
    """Each clip's frames in a random order, the same one for the same sample in every evaluation."""
    order = uniform(fold_in_rows(0, samples), clips.shape[1]).argsort(dim=1)
    return clips.gather(1, order[:, :, None, None, None].expand_as(clips))


def reverse(clips: Tensor, samples: Tensor) -> Tensor:  # noqa: ARG001
    """The last frame first."""
    return clips.flip(1)


def one_frame(clips: Tensor, samples: Tensor) -> Tensor:  # noqa: ARG001
    """The middle frame in the place of all."""
    middle = clips.shape[1] // 2
    return clips[:, middle : middle + 1].expand_as(clips)


PROBES: Mapping[str, View] = {"shuffled": shuffled, "reversed": reverse, "one frame": one_frame}


@dataclass(frozen=True)
class Seen:
    """(N, E) of the videos that could be read, by view; `rows` (N,) are their numbers in the index."""

    vectors: dict[str, Vectors]
    rows: NDArray[np.int64]
    unread: list[tuple[str, str]]  # (key, kind) of the others
    encode_s: float  # seconds in the encoder


def embed_views(
    embedder: Embedder,
    index: ShardIndex,
    shape: ClipShape,
    tokenizer: CaptionTokenizer,
    *,
    probe: bool = False,
    leave_out: bool = False,
    batch: int = 32,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    together: bool = False,
) -> Seen:
    """The vectors of all samples of `index`, with `probe` of all views; with `leave_out` without unreadable ones.

    `together`: the processes that train share the work, batch by batch, and all get all.

    Raises WorkError: a video that cannot be read (unless `leave_out`), or none that can. InputError: a probe of one
    frame.
    """
    if probe and shape.frames < 2:
        raise InputError("clips of one frame have no order to probe", "leave out --probe")
    views: dict[str, View] = {TRUE: lambda clips, samples: clips, **(PROBES if probe else {})}  # noqa: ARG005

    def see(slots: Sequence[list[tuple[int, int]]]) -> Iterator[Seen]:
        for clips, errors in batches(ClipDataset(index, shape), slots, tokenizer, workers):
            if errors and not leave_out:
                key, kind, message = errors[0]
                longer = f"; {bounds.HINT}" if kind == "timeout" else ""
                raise WorkError(
                    f"{key} in {index.root} cannot be read ({kind}): {message}",
                    f"make the shards anew; `vtr eval --allow-partial` goes on, and says what is missing{longer}",
                )
            good, samples = clips.clips[clips.ok], clips.samples[clips.ok]
            begin = time.perf_counter()
            shown = views.items() if len(good) else ()
            vectors = {name: embedder.embed_video(view(good, samples)).cpu().numpy() for name, view in shown}
            spent = time.perf_counter() - begin
            yield Seen(vectors, samples.numpy(), [(key, kind) for key, kind, _ in errors], spent)
            if progress:
                progress(len(clips))

    slots = evaluation_slots(len(index), batch, index.facts("decoder") == IMAGE)
    with workers_watched():
        parts = in_turn(see, slots) if together else list(see(slots))
    read = [part for part in parts if len(part.rows)]
    if not read:
        raise WorkError(f"none of the {len(index)} videos of {index.root} can be read", "make the shards anew")
    return Seen(
        {name: np.concatenate([part.vectors[name] for part in read]) for name in views},
        np.concatenate([part.rows for part in read]),
        [one for part in parts for one in part.unread],
        sum(part.encode_s for part in parts),
    )
