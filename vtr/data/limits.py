"""How much one video may ask for before it is refused: bytes, pixels of a picture, packets of its video stream."""

from __future__ import annotations

from dataclasses import dataclass, fields

from vtr.errors import ConfigError, VideoError


@dataclass(frozen=True)
class Limits:
    """Bounds on one video, checked before anything of that size is allocated. Each can be raised by its name."""

    max_bytes: int = 1 << 30
    max_pixels: int = 4096 * 2304  # of one picture: 4K of either kind passes, 8K and pixel bombs do not
    max_packets: int = 100_000  # about an hour at 30 frames a second

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ConfigError(f"{field.name} is {value}, but must be at least 1", f"leave {field.name} out")

    def check(self, name: str, value: int, what: str) -> None:
        """Raise VideoError `too-large` when `value` (described by `what`) is over the limit called `name`."""
        limit = getattr(self, name)
        if value > limit:
            raise VideoError("too-large", f"{what}, over {name} = {limit}", f"raise {name} if this video is meant")


DEFAULT = Limits()
