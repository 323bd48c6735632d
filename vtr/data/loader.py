"""Stored samples to batches: read, decode, sample frames, crop, tokenize.

Letters: B batch, T frames. Every draw is addressed by (seed, epoch, sample), so a batch is the same whoever makes it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vtr.data import stored, video
from vtr.data.cache import FrameCache
from vtr.data.clips import evaluation_crop, segment_frames, to_short_side, training_crop
from vtr.data.index import ShardIndex
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import VideoError
from vtr.rng import generator
from vtr.types import Batch


@dataclass(frozen=True)
class ClipShape:
    """How a clip is cut from a video: see `vtr.config.DataConfig` for each field."""

    frames: int
    size: int
    resize: int
    crop_min: float = 1.0
    flip: bool = False
    decoder: str = "auto"


@dataclass(frozen=True)
class Item:
    """One sample: clip (T,3,H,W) uint8, its caption, its number; `error` says why the clip is empty."""

    clip: Tensor
    caption: str
    sample: int
    key: str
    error: tuple[str, str] | None = None


class ClipDataset(Dataset[Item]):
    """`dataset[(epoch, sample)] -> Item`. `training` draws frames, crop and caption; else the middle and the first."""

    def __init__(
        self,
        index: ShardIndex,
        shape: ClipShape,
        *,
        training: bool = False,
        seed: int = 0,
        cache: FrameCache | None = None,
    ) -> None:
        self.index, self.shape, self.training, self.seed, self.cache = index, shape, training, seed, cache

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, address: tuple[int, int]) -> Item:
        epoch, i = address
        rng = generator(self.seed, epoch, i) if self.training else None
        captions = self.index.captions(i)
        # A caption is drawn first, so that it does not depend on what decoding draws.
        caption = captions[int(rng.integers(len(captions)))] if rng is not None else captions[0]
        try:
            clip, error = self._clip(i, rng), None
        except VideoError as failure:
            # The slot stays, as a row that the loss leaves out: nothing else takes its place.
            clip = torch.zeros(self.shape.frames, 3, self.shape.size, self.shape.size, dtype=torch.uint8)
            error = (failure.kind, failure.message)
        return Item(clip, caption, i, self.index.key(i), error)

    def _clip(self, i: int, rng: np.random.Generator | None) -> Tensor:
        shape = self.shape
        numbers = segment_frames(int(self.index.fact(i, "frames")), shape.frames, rng)
        frames = self._frames(i, numbers.tolist())
        if rng is None or shape.crop_min == 1.0:
            clip = evaluation_crop(frames, shape.resize, shape.size)
            return clip.flip(-1) if rng is not None and shape.flip and rng.random() < 0.5 else clip
        return training_crop(frames, shape.size, shape.crop_min, shape.flip, rng)

    def _frames(self, i: int, numbers: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if self.cache is None or i >= self.cache.held:
            return self._decode(i, numbers)
        held = self.cache.get(i)
        if held is None:
            held = to_short_side(self._decode(i, range(int(self.index.fact(i, "frames")))), self.shape.resize)
            self.cache.put(i, held)
        return held[numbers]

    def _decode(self, i: int, numbers: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if self.shape.decoder == "pyav" and self.index.fact(i, "decoder") == "decord":
            return video.read_frames(self.index.read_video(i), numbers, "pyav")
        return stored.read_frames(self.index, i, numbers)


@dataclass(frozen=True)
class Collate:
    """Items -> (Batch, errors): clips stacked, captions tokenized; errors are `(key, kind, message)`."""

    tokenizer: CaptionTokenizer

    def __call__(self, items: list[Item]) -> tuple[Batch, list[tuple[str, str, str]]]:
        tokens = self.tokenizer([item.caption for item in items])
        batch = Batch(
            clips=torch.stack([item.clip for item in items]),
            ids=torch.from_numpy(tokens.ids),
            attention=torch.from_numpy(tokens.attention),
            maskable=torch.from_numpy(tokens.maskable),
            samples=torch.tensor([item.sample for item in items]),
            ok=torch.tensor([item.error is None for item in items]),
            keys=tuple(item.key for item in items),
        )
        return batch, [(item.key, *item.error) for item in items if item.error is not None]


def batches(
    dataset: ClipDataset,
    slots: Iterable[list[tuple[int, int]]],
    tokenizer: CaptionTokenizer,
    workers: int,
    pin: bool = False,
) -> DataLoader[Any]:
    """A loader of (Batch, errors) over `slots`, lists of (epoch, sample); workers decode ahead, one thread each."""
    return DataLoader(
        dataset,
        batch_sampler=slots,
        collate_fn=Collate(tokenizer),
        num_workers=workers,
        pin_memory=pin,
        # The cache is anonymous memory, which only forked children share.
        multiprocessing_context=multiprocessing.get_context("fork") if workers and dataset.cache is not None else None,
        worker_init_fn=_one_thread,
        prefetch_factor=3 if workers else None,
    )


def _one_thread(worker: int) -> None:  # noqa: ARG001
    torch.set_num_threads(1)
