"""Stored samples to batches: read, decode, sample frames, crop, tokenize.

Letters: B batch, T frames. Every draw is addressed by (seed, epoch, sample), so a batch is the same whoever makes it.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vtr.data import stored, video
from vtr.data.cache import FrameCache
from vtr.data.clips import evaluation_crop, segment_frames, to_short_side, training_crop
from vtr.data.index import ShardIndex
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import VideoError, VtrError, WorkError
from vtr.rng import generator
from vtr.types import Batch

# (key, kind, message) of each sample of a batch that could not be read.
Errors: TypeAlias = list[tuple[str, str, str]]


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
            return Item(self._clip(i, rng), caption, i, self.index.key(i))
        except VideoError as failure:
            error = failure.kind, failure.message
        except OSError as failure:  # the disk, not the video; to training it is the same
            error = "corrupt", f"{self.index.key(i)} in {self.index.root} cannot be read: {failure.strerror}"
        # The slot stays, as a row that the loss leaves out: nothing else takes its place.
        clip = torch.zeros(self.shape.frames, 3, self.shape.size, self.shape.size, dtype=torch.uint8)
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
    """Items -> (Batch, errors): clips stacked, captions tokenized; or the first of `found` that is an error."""

    tokenizer: CaptionTokenizer

    def __call__(self, found: list[Item | VtrError]) -> tuple[Batch, Errors] | VtrError:
        items = [item for item in found if isinstance(item, Item)]
        if len(items) < len(found):
            return next(item for item in found if isinstance(item, VtrError))
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
) -> Iterator[tuple[Batch, Errors]]:
    """(Batch, errors) of each of `slots`, lists of (epoch, sample); workers decode ahead, one thread each.

    Raises what reading a sample raises beside VideoError; use it inside `workers_watched`.
    """
    # The cache is anonymous memory, which only forked children share.
    fork = multiprocessing.get_context("fork") if workers and dataset.cache is not None else None
    with warnings.catch_warnings():
        # As many as were asked for, be it more than there are processors: reading waits on disks too.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = DataLoader(
            _Telling(dataset),
            batch_sampler=slots,
            collate_fn=Collate(tokenizer),
            num_workers=workers,
            pin_memory=pin,
            multiprocessing_context=fork,
            worker_init_fn=_settle,
            prefetch_factor=3 if workers else None,
        )
        rows = iter(loader)
    for found in rows:
        if isinstance(found, VtrError):
            raise found
        yield found


@contextmanager
def workers_watched() -> Iterator[None]:
    """Around the use of `batches`: a worker that dies, of which torch tells by a signal, becomes a WorkError."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkError(
            f"a decoding process ended: {str(error).splitlines()[0]}",
            "run the same command again; if memory ran out, use fewer --workers or less data.cache_gb",
        ) from error


class _Telling(Dataset[Any]):
    """`dataset`, handing out its errors as values: raised in a worker, torch would bury them in a traceback."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, address: tuple[int, int]) -> Item | VtrError:
        try:
            return self.dataset[address]
        except VtrError as error:
            return error


def _settle(worker: int) -> None:  # noqa: ARG001
    torch.set_num_threads(1)
    # A forked worker has its parent's handlers. Ctrl-C reaches the whole group of processes, and the parent decides
    # what becomes of it; but when the parent ends its workers, they must end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Ends this process with its parent: until then it would hold the lock of the run, which a fork inherits."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGKILL)
