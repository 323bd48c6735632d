"""How much one video may ask for before it is refused: bytes, pixels, packets, and frames between key frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vtr.errors import ConfigError, VideoError

LARGEST_MEMBER = (1 << 33) - 1  # bytes: the size of a file in a tar has eleven octal digits


@dataclass(frozen=True)
class Limits:
    """Bounds on one video, checked before anything of that size is allocated or decoded.

    Each can be raised by its name, `--max-gop` of `vtr shard` being `max_gop` here. Shards that were made with a
    raised one remember it in their index, and are read with it.
    """

    max_bytes: int = 1 << 30
    max_pixels: int = 4096 * 2304  # of one picture: 4K of either kind passes, 8K and pixel bombs do not
    max_packets: int = 250_000  # over an hour at 60 frames a second, over two at 30
    # Frames from one key frame to the next: any clip may cost the decoding of so many. Encoders put 12 to 300 there,
    # libaom by default 9999; all of a recording without any further key frame is decoded for each clip of it.
    max_gop: int = 10_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ConfigError(f"{field.name} is {value}, but must be at least 1", f"leave {field.name} out")
        if self.max_bytes > LARGEST_MEMBER:
            raise ConfigError(
                f"max_bytes is {self.max_bytes}, but a tar holds files of at most {LARGEST_MEMBER} bytes",
                "cut the video into parts",
            )

    def check(self, name: str, value: int, what: str) -> None:
        """Raise VideoError `too-large` when `value` (described by `what`) is over the limit called `name`."""
        limit = getattr(self, name)
        if value > limit:
            flag = f"--{name.replace('_', '-')}"
            raise VideoError(
                "too-large", f"{what}, over {name} = {limit}", f"if this video is meant, shard it with a larger {flag}"
            )

    def higher(self) -> str:
        """Those that let through more than the defaults do, in words; the empty text where none does."""
        usual = asdict(DEFAULT)
        return ", ".join(f"{name} = {to}, not {usual[name]}" for name, to in asdict(self).items() if to > usual[name])

    def raised(self) -> dict[str, int]:
        """Those that are not what they are by default, by name."""
        return {name: value for name, value in asdict(self).items() if value != getattr(DEFAULT, name)}


def limits_of(record: Mapping[str, Any]) -> Limits:
    """The limits in `record` by their names (what `raised` gave, among other things); the others are the defaults."""
    return Limits(**{field.name: record[field.name] for field in fields(Limits) if record.get(field.name) is not None})


def loosest(several: Iterable[Limits]) -> Limits:
    """Limits that let through what any of `several` does."""
    found = list(several)
    return Limits(**{field.name: max(getattr(one, field.name) for one in found) for field in fields(Limits)})


DEFAULT = Limits()


def longer(kinds: Collection[str]) -> str:
    """What the hint of an error says beside, where videos of these `kinds` of VideoError were left out."""
    return "; --time-limit gives each longer" if "timeout" in kinds else ""
