"""One video made ready to be written: the members of its sample, and the facts that the index keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from vtr.data.annotations.sample import JSON
from vtr.data.video import VideoInfo


@dataclass(frozen=True, slots=True)
class Prepared:
    """One video made ready: (extension, bytes) of each member, the facts for the index, more for the json alone."""

    members: list[tuple[str, bytes]]
    facts: dict[str, JSON]
    more: dict[str, JSON] = field(default_factory=dict)


def facts_of(*, frames: int, fps: float, duration_s: float, width: int, height: int, decoder: str) -> dict[str, JSON]:
    """The measured columns of the index, of what is stored. All stores make theirs here, so that none forgets one:
    an argument without a default is asked of each.
    """
    return {
        "frames": frames,
        "fps": fps,
        "duration_s": duration_s,
        "width": width,
        "height": height,
        "decoder": decoder,
    }


def video_facts(info: VideoInfo) -> dict[str, JSON]:
    """What the index says of a stored video."""
    return facts_of(
        frames=info.frames,
        fps=info.fps,
        duration_s=info.duration_s,
        width=info.width,
        height=info.height,
        decoder=info.decoder,
    )


def image_facts(width: int, height: int) -> dict[str, JSON]:
    """What the index says of a stored image: one frame that lasts no time."""
    return facts_of(frames=1, fps=0.0, duration_s=0.0, width=width, height=height, decoder="image")


def prepare_image(ext: str, data: bytes, width: int, height: int) -> Prepared:
    """An image as it came, under its own extension."""
    return Prepared([(ext, data)], image_facts(width, height), {"codec": ext})
