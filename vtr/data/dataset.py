"""A stored sample to an item of training or evaluation: read, decode, choose frames, crop, choose a caption.

Letters: T frames. Every draw is addressed by (seed, epoch, sample), so an item is the same whoever makes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vtr.data import stored
from vtr.data.cache import FrameCache
from vtr.data.clips import evaluation_crop, frame_numbers, to_short_side, training_crop
from vtr.data.crew import Beat
from vtr.data.decord_reader import Shrink
from vtr.data.index import IMAGE
from vtr.data.mixture import Mixture, Samples
from vtr.data.stored import Pictures, together
from vtr.data.watch import native
from vtr.errors import DataError, VideoError
from vtr.rng import generator

TIMED_ONE_IN = 8
LARGE_BYTES = 64 << 20
_NOTHING = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class ClipShape:
    """How a clip is cut from a video: see `vtr.config.DataConfig` for each field.

    An image becomes a clip of `still` frames, as few as the model takes (its tubelet).
    """

    frames: int
    size: int
    resize: int
    crop_min: float = 1.0
    flip: bool = False
    decoder: str = "auto"
    sampler: str = "segments"
    stride: int = 1
    still: int = 1
    fit: str = "centre"

    @property
    def at_least(self) -> int:
        """The shortest side that a picture must have for no crop of it to be enlarged; 0: it must come as it is."""
        if self.fit != "centre":
            return 0
        # The smallest box of `training_crop` has crop_min of the area in a proportion of 3:4.
        return max(self.resize, math.ceil(self.size / math.sqrt(0.75 * self.crop_min)))

    @property
    def in_words(self) -> str:
        """What is done to a video, for a reader of a result."""
        way, _, mode = self.fit.partition("-")
        fits = {
            "centre": f"short side {self.resize}, centre crop {self.size}",
            "crop": f"short side {self.resize} ({mode}), centre crop {self.size}",
            "squeeze": f"squeezed to {self.size} x {self.size} ({mode})",
        }
        dense = f"{self.frames} frames of the middle, {self.stride} apart"
        return f"{fits[way]}, {dense if self.sampler == 'dense' else 'middle frame of each segment'}"

    def evaluation(self, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """(T,H,W,3) uint8 -> (T,3,size,size) uint8, without chance."""
        return evaluation_crop(frames, self.resize, self.size, self.fit)


@dataclass(frozen=True)
class Item:
    """One sample: clip (T,3,H,W) uint8, its caption, its number; `error` says why the clip is empty.

    That is a kind and a message; of a mixture also the shards, for two of them may have the same key.

    `path` is what decoded it (decord, pyav, jpeg, image, cache) and `seconds` the processor time from bytes to clip,
    None where that was not looked at.
    """

    clip: Tensor
    caption: str
    sample: int
    key: str
    error: tuple[str, ...] | None = None
    path: str = ""
    seconds: float | None = None

    def without_clip(self) -> Item:
        """The same, holding no memory."""
        return replace(self, clip=_NOTHING)


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance has decided of an item: its caption, `numbers` (T) of the `have` frames, and the crop's `rng`."""

    sample: int
    key: str
    caption: str
    have: int
    numbers: list[int]
    rng: np.random.Generator | None


class ClipDataset(Dataset[Item]):
    """`dataset[(epoch, sample)] -> Item`. `training` draws frames, crop and caption; else the middle and the first.

    `lost` names samples that are not to be tried again, and why; `beat` is where a watch sees what is being decoded.
    """

    def __init__(
        self,
        index: Samples,
        shape: ClipShape,
        *,
        training: bool = False,
        seed: int = 0,
        cache: FrameCache | None = None,
    ) -> None:
        self.index, self.shape, self.training, self.seed, self.cache = index, shape, training, seed, cache
        self.lost: dict[int, tuple[str, str]] = {}
        self.beat: Beat | None = None
        self._turn = 0

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, address: tuple[int, int]) -> Item:
        return self.read(self.draw(address))

    def draw(self, address: tuple[int, int]) -> Draw:
        """What item (epoch, sample) will be, as far as chance decides it: caption and frames."""
        epoch, i = address
        rng = generator(self.seed, epoch, i) if self.training else None
        captions = self.index.captions(i)
        # A caption is drawn first, so that it does not depend on what decoding draws.
        caption = captions[int(rng.integers(len(captions)))] if rng is not None else captions[0]
        still = self.index.fact(i, "decoder") == IMAGE
        shape, have = self.shape, int(self.index.fact(i, "frames"))
        if have < 1:
            raise DataError(
                f"{self.index.key(i)} in {self.index.where} was stored without being looked at: nobody knows how many "
                f"frames it has",
                "shard it anew with VideoStore(check=True)",
            )
        count = shape.still if still else shape.frames
        numbers = frame_numbers(shape.sampler, have, count, shape.stride, rng).tolist()
        return Draw(i, self.index.key(i), caption, have, numbers, rng)

    def read(self, draw: Draw) -> Item:
        """The item of a draw: its clip, or what is wrong with it."""
        i = draw.sample
        try:
            if i in self.lost:
                raise VideoError(*self.lost[i])
            clip, path, seconds = self._clip(draw)
            return Item(clip, draw.caption, i, draw.key, None, path, seconds)
        except VideoError as failure:
            error = [failure.kind, failure.message]
        except OSError as failure:  # the disk, not the video; to training it is the same
            error = ["corrupt", f"{draw.key} in {self.index.where} cannot be read: {failure.strerror}"]
        # The slot stays, as a row that the loss leaves out: nothing else takes its place.
        clip = torch.zeros(len(draw.numbers), 3, self.shape.size, self.shape.size, dtype=torch.uint8)
        source = [self.index.place(i)[0].where] if isinstance(self.index, Mixture) else []
        return Item(clip, draw.caption, i, draw.key, (*error, *source))

    def _clip(self, draw: Draw) -> tuple[Tensor, str, float | None]:
        shape, cache, i, rng = self.shape, self.cache, draw.sample, draw.rng
        if cache is not None and cache.has_room(i):
            return self._cached(draw, cache)
        encoded = stored.fetch(self.index, i, draw.numbers, shape.decoder)
        clock = self._clock()
        return self.crop(self._decode(i, encoded, shape.at_least), rng), encoded.decoder, clock()

    def _cached(self, draw: Draw, cache: FrameCache) -> tuple[Tensor, str, float | None]:
        i, have = draw.sample, draw.have
        held, path, clock = cache.get(i), "cache", self._clock()
        if held is None:
            encoded = stored.fetch(self.index, i, range(have), self.shape.decoder)
            # All frames of a large video do not fit into memory at its own size; small ones are quicker together.
            large = have * int(self.index.fact(i, "height")) * int(self.index.fact(i, "width")) * 3 > LARGE_BYTES
            shrink = partial(to_short_side, short_side=self.shape.resize)
            decoded = together(self._decode(i, encoded, shrink=shrink if large else None))
            held, path = shrink(decoded), encoded.decoder
            cache.put(i, held)
        return self.crop(held[draw.numbers], draw.rng), path, clock()

    def _clock(self) -> Callable[[], float | None]:
        """A function that tells the processor seconds since now, or None: asking costs as much as a picture."""
        self._turn = (self._turn + 1) % TIMED_ONE_IN
        if self._turn != 1:
            return lambda: None
        begin = time.process_time()
        return lambda: time.process_time() - begin

    def _decode(self, i: int, encoded: stored.Encoded, at_least: int = 0, shrink: Shrink | None = None) -> Pictures:
        # Reading is over: what takes long from here on hangs in native code.
        with native(self.beat, i):
            return stored.pictures(encoded, at_least, shrink)

    def crop(self, frames: Pictures, rng: np.random.Generator | None) -> Tensor:
        """T of (H,W,3) uint8 -> (T,3,size,size) uint8: with `rng` a random crop, else the middle."""
        shape = self.shape
        if rng is None or shape.crop_min == 1.0:
            clip = shape.evaluation(together(frames))
            return clip.flip(-1) if rng is not None and shape.flip and rng.random() < 0.5 else clip
        return training_crop(frames, shape.size, shape.crop_min, shape.flip, rng)
