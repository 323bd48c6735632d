"""What reading a run's data took: which decoder how many clips went through, and how fast a core does them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtr.data.dataset import ClipDataset

OF_VIDEO = ("decord", "pyav")


@dataclass
class Reading:
    """Clips and processor seconds by path: decord, pyav, jpeg (a frame store), image, cache (held decoded)."""

    clips: Counter[str] = field(default_factory=Counter)
    timed: Counter[str] = field(default_factory=Counter)  # those of them whose seconds are known
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, path: str, seconds: float | None) -> None:
        """Counts one clip."""
        self.clips[path] += 1
        if seconds is not None:
            self.timed[path] += 1
            self.seconds[path] = self.seconds.get(path, 0.0) + seconds

    def add(self, other: Reading) -> None:
        """Counts all that `other` has."""
        self.clips.update(other.clips)
        self.timed.update(other.timed)
        for path, seconds in other.seconds.items():
            self.seconds[path] = self.seconds.get(path, 0.0) + seconds

    def rate(self, *paths: str) -> float:
        """Clips a second that one core reads by `paths` (by all of them, if none is given); 0 where it read none."""
        chosen = paths or tuple(self.clips)
        seconds = sum(self.seconds.get(path, 0.0) for path in chosen)
        return sum(self.timed[path] for path in chosen) / seconds if seconds else 0.0

    def record(self) -> dict[str, Any]:
        """As plain data: clips by path, and clips a second per core by path, where any was timed."""
        return {
            "clips": dict(self.clips),
            "clips_per_core_s": {path: round(self.rate(path), 2) for path in self.clips if self.timed[path]},
        }

    def lines(self, frame_store: float = 0.0) -> list[str]:
        """For the person who watches; `frame_store` is what `frame_store_rate` measured, 0 if it did not."""
        if not self.clips:
            return []
        parts = ", ".join(
            f"{count} by {path}" + (f" ({self.rate(path):.0f}/s)" if self.timed[path] else "")
            for path, count in self.clips.most_common()
            if count
        )
        lines = [f"clips read: {parts} per core"]
        if frame_store > 2 * self.rate(*OF_VIDEO) > 0:
            lines.append(
                f"from a frame store one core would read about {frame_store:.0f}/s instead of "
                f"{self.rate(*OF_VIDEO):.0f}/s: vtr shard --store frames"
            )
        return lines


def sum_of(readings: Iterable[Reading]) -> Reading:
    """What all of them took together."""
    whole = Reading()
    for one in readings:
        whole.add(one)
    return whole


def frame_store_rate(dataset: ClipDataset, samples: int = 3) -> float:
    """Clips a second that one core would read of `dataset` from a frame store, measured on its first few videos.

    Their frames are stored as `vtr shard --store frames` does, in memory, and read as training would. 0 without videos.
    The videos are decoded apart: this is no time to hang.
    """
    import time

    from vtr.data import stored
    from vtr.data.apart import LOST, Decoder
    from vtr.data.store import FrameStore
    from vtr.errors import VideoError, VtrError
    from vtr.rng import generator

    shape, index, seconds, done = dataset.shape, dataset.index, [], 0
    with Decoder() as decode:
        for i in range(min(len(index), 50 * samples)):
            if done == samples:
                break
            if index.fact(i, "decoder") not in OF_VIDEO:
                continue
            try:
                data = index.read_video(i)
                pictures = decode(FrameStore(frames=shape.frames).prepare, data, "", index.limits).members
            except VtrError as error:
                if not isinstance(error, VideoError) or error.kind in LOST:
                    break  # no figure is worth more than one wait
                continue
            encoded = stored.Encoded("jpeg", tuple(part for _, part in pictures), tuple(range(len(pictures))))
            taken = []
            for turn in range(4):
                begin = time.process_time()
                dataset.crop(stored.decode(encoded), generator(turn) if dataset.training else None)
                taken.append(time.process_time() - begin)
            seconds.append(min(taken))
            done += 1
    return len(seconds) / sum(seconds) if seconds else 0.0
