"""Batches from a worker to its parent through memory that both keep: a fresh page for each would cost more than a copy.

    worker: stacks clips into a free place, marks it busy, sends (place, shape, the small rest)
    parent: sees the place as a tensor; when nobody holds that any more, the place is free again
Where no place is free, since somebody keeps batches, the clips travel as torch sends them.

Clips are (B,T,3,H,W), and in memory (B,T,H,W,3), as decoding and resizing leave them: to turn a clip's pixels into
planes takes a sixth of the time of decoding it, and whatever takes patches of it copies it anyway.
"""

from __future__ import annotations

import itertools
import mmap
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from vtr.data.reading import Reading
from vtr.types import Batch

PLACES = 5  # of a worker: what it may be ahead by, and what the parent holds meanwhile
SMALL = ("ids", "attention", "maskable", "samples", "ok")
_numbers = itertools.count()
_rings: weakref.WeakValueDictionary[int, Ring] = weakref.WeakValueDictionary()


class _Held(np.ndarray[Any, np.dtype[np.uint8]]):
    """An array that can be watched: when it goes, its place is free."""


class Ring:
    """`PLACES` pieces of `size` bytes for each of `workers` forked processes."""

    def __init__(self, workers: int, size: int) -> None:
        self.size, self.number = size, next(_numbers)
        self._memory = mmap.mmap(-1, max(1, workers * PLACES * size))
        self._busy = mmap.mmap(-1, max(1, workers * PLACES))
        _rings[self.number] = self

    def take(self, worker: int, size: int) -> int | None:
        """A free place of `worker` for `size` bytes, busy from now on; None where there is none."""
        if size > self.size:
            return None
        for place in range(worker * PLACES, (worker + 1) * PLACES):
            if not self._busy[place]:
                self._busy[place] = 1
                return place
        return None

    def view(self, place: int, shape: tuple[int, ...]) -> Tensor:
        """The uint8 tensor of `shape` in `place`, for the worker to fill."""
        return _planes(torch.from_numpy(self._array(place, shape)))

    def open(self, place: int, shape: tuple[int, ...]) -> Tensor:
        """The same for the parent: the place becomes free when the last tensor on it goes."""
        held = self._array(place, shape).view(_Held)
        weakref.finalize(held, _free, self._busy, place)
        return _planes(torch.from_numpy(held))

    def _array(self, place: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        batch, frames, channels, height, width = shape
        pixels = np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), place * self.size)
        return pixels.reshape(batch, frames, height, width, channels)


def _planes(pixels: Tensor) -> Tensor:
    """(B,T,H,W,3) -> (B,T,3,H,W), a view."""
    return pixels.permute(0, 1, 4, 2, 3)


def _free(busy: mmap.mmap, place: int) -> None:
    busy[place] = 0


@dataclass
class Parcel:
    """A batch under way. `clips` is their shape in `place` of a ring, or the clips themselves."""

    ring: int
    place: int | None
    clips: tuple[int, ...] | Tensor
    small: dict[str, Any]
    keys: tuple[str, ...]
    errors: list[tuple[str, str, str]]
    reading: Reading
    batch: Batch | None = None

    def open(self) -> tuple[Batch, list[tuple[str, str, str]], Reading]:
        """What was packed, in the parent."""
        if self.batch is None:
            clips = self.clips
            if not isinstance(clips, Tensor):
                assert self.place is not None  # noqa: S101  (of the two one is there)
                clips = _rings[self.ring].open(self.place, clips)
            small = {name: torch.from_numpy(value) for name, value in self.small.items()}
            self.batch = Batch(clips=clips, **small, keys=self.keys)
        return self.batch, self.errors, self.reading

    def pin_memory(self) -> Parcel:
        """Torch's loader calls it in a thread of its own."""
        batch, _, _ = self.open()
        self.batch = batch.pin_memory()
        return self


def pack(
    clips: list[Tensor], small: dict[str, Tensor], keys: tuple[str, ...], errors: list[tuple[str, str, str]],
    reading: Reading, ring: Ring | None,
) -> Parcel:  # fmt: skip
    """Clips (T,3,H,W) and what goes with them, as a parcel; through `ring` in a worker that has one."""
    shape = (len(clips), *clips[0].shape)
    worker: Any = get_worker_info()
    place = ring.take(worker.id, int(np.prod(shape))) if ring is not None and worker is not None else None
    stacked: tuple[int, ...] | Tensor
    if ring is None or place is None:
        stacked = _planes(torch.stack([clip.permute(0, 2, 3, 1) for clip in clips]))
    else:
        stacked = shape
        for row, clip in zip(ring.view(place, shape), clips, strict=True):
            row.copy_(clip)
    arrays = {name: value.numpy() for name, value in small.items()}
    return Parcel(-1 if ring is None else ring.number, place, stacked, arrays, keys, errors, reading)
