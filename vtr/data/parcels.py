"""Batches from a worker to its parent through memory that both keep: a fresh page for each would cost more than a copy.

    worker: marks a free place busy, copies clips to it, sends (place, shape, the small rest)
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

    def free(self, place: int) -> None:
        """Nothing uses `place` any more."""
        self._busy[place] = 0

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
    errors: list[tuple[str, ...]]
    reading: Reading
    batch: Batch | None = None

    def open(self) -> tuple[Batch, list[tuple[str, ...]], Reading]:
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


class Packing:
    """A batch of `count` clips that is being made, each copied to its row while the processor's cache still has it.

    In a worker that has a `ring`, the rows are a free place of it.
    """

    def __init__(self, count: int, ring: Ring | None) -> None:
        self._count, self._ring = count, ring
        self._place: int | None = None
        self._clips: Tensor | None = None

    def put(self, row: int, clip: Tensor) -> None:
        """Copies a clip (T,3,H,W) uint8 to `row`; all clips of a batch have one shape."""
        if self._clips is None:
            self._clips = self._rows((self._count, *clip.shape))
        if clip.shape != self._clips.shape[1:]:  # copying would stretch an image to a clip
            raise ValueError(f"a clip of {tuple(clip.shape)} in a batch of {tuple(self._clips.shape[1:])}")
        self._clips[row].copy_(clip)

    def _rows(self, shape: tuple[int, ...]) -> Tensor:
        worker: Any = get_worker_info()
        if self._ring is not None and worker is not None:
            self._place = self._ring.take(worker.id, int(np.prod(shape)))
            if self._place is not None:
                return self._ring.view(self._place, shape)
        batch, frames, channels, height, width = shape
        return _planes(torch.empty(batch, frames, height, width, channels, dtype=torch.uint8))

    def drop(self) -> None:
        """Gives the place back: there will be no batch."""
        if self._ring is not None and self._place is not None:
            self._ring.free(self._place)

    def seal(
        self, small: dict[str, Tensor], keys: tuple[str, ...], errors: list[tuple[str, ...]], reading: Reading
    ) -> Parcel:
        """The batch with what goes with its clips, ready to be sent."""
        assert self._clips is not None  # noqa: S101  (a batch has a clip)
        arrays = {name: value.numpy() for name, value in small.items()}
        clips = self._clips if self._place is None else tuple(self._clips.shape)
        number = -1 if self._ring is None else self._ring.number
        return Parcel(number, self._place, clips, arrays, keys, errors, reading)
