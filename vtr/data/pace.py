"""How many clips a second one core decodes from what is being stored, beside what it would from a frame store.

Every 32nd sample of a shard is read as training would read it, and the processor time of that is taken; what these
samples would cost as stored frames is measured on the same pictures, not assumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vtr.data import image, video
from vtr.data.limits import Limits
from vtr.data.prepared import Prepared
from vtr.errors import VideoError

if TYPE_CHECKING:
    from vtr.data.store import FrameStore

CLIP = 4  # frames of the clips that are counted
EVERY = 32


@dataclass(frozen=True, slots=True)
class Pace:
    """Processor seconds that reading `clips` clips took: `stored_s` as they are stored, `frames_s` as frames."""

    clips: int = 0
    stored_s: float = 0.0
    frames_s: float = 0.0

    def __add__(self, other: Pace) -> Pace:
        return Pace(self.clips + other.clips, self.stored_s + other.stored_s, self.frames_s + other.frames_s)

    def record(self) -> dict[str, float]:
        """As plain data."""
        return asdict(self)

    def rates(self) -> dict[str, float] | None:
        """Clips a second on one core, by what they are read from; None where nothing was measured."""
        if not self.clips or not self.stored_s or not self.frames_s:
            return None
        return {
            "clips": self.clips,
            "frames_a_clip": CLIP,
            "clips_per_s_per_core": round(self.clips / self.stored_s, 1),
            "frame_store_clips_per_s_per_core": round(self.clips / self.frames_s, 1),
        }


def measure(ready: Prepared, frames: FrameStore, limits: Limits) -> Pace:
    """What one clip of a prepared video costs, and would cost in the store `frames`; nothing for an image."""
    count, decoder = int(str(ready.facts["frames"])), str(ready.facts["decoder"])
    if not count or decoder == "image":
        return Pace()
    places = [(2 * k + 1) * count // (2 * CLIP) for k in range(CLIP)]
    if decoder == "jpeg":
        seconds, _ = _timed(lambda: [image.decode(ready.members[k][1], limits) for k in places])
        return Pace(1, seconds, seconds)
    try:
        stored_s, pictures = _timed(lambda: video.read_frames(ready.members[0][1], places, decoder, limits))
    except VideoError:  # a frame that the check did not meet; training will tell
        return Pace()
    jpegs = [frames.encode(picture) for picture in pictures]
    frames_s, _ = _timed(lambda: [image.decode(jpeg, limits) for jpeg in jpegs])
    return Pace(1, stored_s, frames_s)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result
