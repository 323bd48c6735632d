"""Decoded frames held in memory, one copy for all workers.

A small model sees each clip many times, and decoding costs more than its step: the frames are decoded once, brought to
the working size and kept. The memory is anonymous and shared, so forked workers fill and read the same pages.
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from vtr.data.clips import resized_size
from vtr.data.mixture import Samples

LONGEST = 1024  # frames; 40 seconds at 25 a second


class FrameCache:
    """Room for all frames of as many samples as fit into `limit_bytes`, at `short_side` pixels.

    Slots are laid out from the index before anything is decoded. Samples past the limit, and videos of more than
    LONGEST frames, of which a clip needs few, are decoded each time.
    """

    def __init__(self, index: Samples, short_side: int, limit_bytes: float) -> None:
        frames = index.facts("frames").astype(np.int64)
        sides = zip(index.facts("height").tolist(), index.facts("width").tolist(), strict=True)
        self.sizes = [resized_size(height, width, short_side) for height, width in sides]
        lengths = frames * np.array([h * w * 3 for h, w in self.sizes], np.int64)
        lengths[frames > LONGEST] = 0
        self._ends = np.cumsum(lengths)
        self._frames = frames
        self.held = int(np.searchsorted(self._ends, limit_bytes, side="right"))
        self._memory = mmap.mmap(-1, max(1, int(self._ends[self.held - 1]) if self.held else 1))
        self._full = mmap.mmap(-1, max(1, self.held))

    def has_room(self, i: int) -> bool:
        """Whether sample `i` is held, or will be once it is put."""
        return i < self.held and int(self._frames[i]) <= LONGEST

    def get(self, i: int) -> npt.NDArray[np.uint8] | None:
        """(n,H,W,3) uint8, or None where sample `i` is not held yet."""
        return self._view(i) if self.has_room(i) and self._full[i] else None

    def put(self, i: int, frames: npt.NDArray[np.uint8]) -> None:
        """Keeps all frames of sample `i`, where there is room and the index has told their size right."""
        if self.has_room(i) and frames.shape == (self._frames[i], *self.sizes[i], 3):
            self._view(i)[:] = frames
            # Set last: another worker may read the frames from now on.
            self._full[i] = 1

    def _view(self, i: int) -> npt.NDArray[np.uint8]:
        shape = (int(self._frames[i]), *self.sizes[i], 3)
        size = int(np.prod(shape))
        return np.frombuffer(self._memory, np.uint8, size, int(self._ends[i]) - size).reshape(shape)
