"""What is stored of each video: its own bytes, frames of it as JPEGs, or a small re-encoding.

A store turns the bytes of a video file into the members of its sample. All stores see the video as a player shows it.
An image is a clip of one frame, in every store; its decoder is "image", and it lasts no time.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vtr.data import image, pyav_reader, video
from vtr.data.annotations.sample import JSON
from vtr.data.limits import Limits
from vtr.data.prepared import Prepared, facts_of, image_facts, prepare_image, video_facts
from vtr.data.pyav_packets import demuxed
from vtr.data.pyav_picture import Converter
from vtr.data.transcode import SmallVideoStore
from vtr.errors import ConfigError

MOST_FRAMES = 10_000  # their members are numbered with four digits


@dataclass(frozen=True, slots=True)
class VideoStore:
    """The file as it came, checked by decoding some of it; unchecked, nothing is known of it but its suffix."""

    check: bool = True
    name = "video"

    def prepare(self, data: bytes, suffix: str, limits: Limits) -> Prepared:
        """The one member `<key>.<container>`. Raises VideoError as `video.check` and `image.decode` do."""
        if (ext := image.extension(data, suffix)) is not None:
            height, width = image.decode(data, limits).shape[:2] if self.check else (0, 0)
            return prepare_image(ext, data, width, height)
        if not self.check:
            unknown = facts_of(frames=0, fps=0.0, duration_s=0.0, width=0, height=0, decoder="pyav")
            return Prepared([(suffix or "mp4", data)], unknown)
        info = video.check(data, limits)
        return Prepared([(info.container, data)], video_facts(info), {"codec": info.codec})


@dataclass(frozen=True, slots=True)
class FrameStore:
    """Frames as JPEGs: `fps` of them a second but at most `max_frames`, or exactly `frames`, evenly spaced.

    Each is scaled down to `short_side` pixels on its shorter side (never up), upright and with square pixels.
    """

    fps: float = 4.0
    max_frames: int = 64
    frames: int | None = None
    short_side: int = 256
    quality: int = 90
    name = "frames"

    def __post_init__(self) -> None:
        for name, least, most in (
            ("fps", 0.001, 1000),
            ("max_frames", 1, MOST_FRAMES),
            ("frames", 1, MOST_FRAMES),
            ("short_side", 16, 4096),
            ("quality", 1, 100),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} of a frame store is {value}", f"give one from {least} to {most}")

    def prepare(self, data: bytes, suffix: str, limits: Limits) -> Prepared:
        """The members `<key>.0000.jpg` on, one of an image. Raises as `video.read_frames` and `image.decode`."""
        if (ext := image.extension(data, suffix)) is not None:
            return self._prepare_image(image.decode(data, limits), ext)
        info = video.probe(data, limits)
        times = video.frame_times(data, limits)
        chosen = self.choose(times, info.duration_s)
        pictures = self._encode(data, chosen, limits)
        with Image.open(io.BytesIO(pictures[chosen[0]])) as first:
            width, height = first.size
        facts = facts_of(
            frames=len(chosen),
            fps=round(len(chosen) / info.duration_s, 6),
            duration_s=info.duration_s,
            width=width,
            height=height,
            decoder="jpeg",
        )
        more: dict[str, JSON] = {
            "times": [round(float(times[k]), 6) for k in chosen],
            "original": {**video_facts(info), "codec": info.codec, "container": info.container},
        }
        return Prepared([(f"{n:04d}.jpg", pictures[k]) for n, k in enumerate(chosen)], facts, more)

    def _prepare_image(self, picture: npt.NDArray[np.uint8], ext: str) -> Prepared:
        """One frame, however many are wanted of a video: more would be copies."""
        small = self._scaled(picture)
        original = {**image_facts(picture.shape[1], picture.shape[0]), "codec": ext, "container": ext}
        more: dict[str, JSON] = {"times": [0.0], "original": original}
        return Prepared([("0000.jpg", self._jpeg(small))], image_facts(*small.size), more)

    def choose(self, times: npt.NDArray[np.float64], duration_s: float) -> list[int]:
        """Which frames of a video whose frames show from `times` (n,) on: those seen at the middles of equal spans.

        # 2 s at 4 fps: 8 spans of 0.25 s, middles 0.125 0.375 ...; of 30 frames a second these are 3 11 18 26 ...
        """
        count = self.frames
        if count is None:
            count = min(self.max_frames, len(times), max(1, round(duration_s * self.fps)))
        middles = (np.arange(count) + 0.5) * duration_s / count
        return [int(k) for k in np.searchsorted(times, middles, side="right") - 1]

    def _encode(self, data: bytes, chosen: list[int], limits: Limits) -> dict[int, bytes]:
        """The JPEG of each chosen frame; one frame is in memory at a time."""
        pictures: dict[int, bytes] = {}
        with demuxed(data, limits) as packets:
            convert = Converter(packets)
            for k, frame in pyav_reader.decode(packets, chosen):
                pictures[k] = self.encode(convert(frame))
        return pictures

    def encode(self, frame: npt.NDArray[np.uint8]) -> bytes:
        """The JPEG, scaled down, of one (H, W, 3) uint8 RGB picture."""
        return self._jpeg(self._scaled(frame))

    def _scaled(self, frame: npt.NDArray[np.uint8]) -> Image.Image:
        picture = Image.fromarray(np.ascontiguousarray(frame))
        scale = min(1.0, self.short_side / min(picture.size))
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)

    def _jpeg(self, picture: Image.Image) -> bytes:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return file.getvalue()


Store: TypeAlias = VideoStore | SmallVideoStore | FrameStore


def make_store(name: str, *, transcode: bool = False, **settings: float | None) -> Store:
    """The store called `name` ("video" re-encoded with `transcode`); settings that are None keep their defaults.

    Raises ConfigError for another name, and for a setting that this store has not or that contradicts another.
    """
    given: dict[str, Any] = {setting: value for setting, value in settings.items() if value is not None}
    kinds: dict[str, type[Store]] = {"video": SmallVideoStore if transcode else VideoStore, "frames": FrameStore}
    if name not in kinds:
        raise ConfigError(f"there is no store {name!r}", f"the stores are: {', '.join(kinds)}")
    if transcode and name != "video":
        raise ConfigError("--transcode makes small videos, --store frames makes none", "take one of the two")
    settable = {"video": ("short_side",) if transcode else (), "frames": tuple(f.name for f in fields(FrameStore))}
    if foreign := [setting for setting in given if setting not in settable[name]]:
        flag = f"--{foreign[0].replace('_', '-')}"
        if foreign[0] == "short_side":
            raise ConfigError(
                f"{flag} has no effect on videos that are kept as they are", "add --transcode, or take it out"
            )
        raise ConfigError(
            f"{flag} belongs to --store frames, and the store is video", "add --store frames, or take it out"
        )
    if "frames" in given and (rates := [setting for setting in ("fps", "max_frames") if setting in given]):
        raise ConfigError(
            f"--frames {given['frames']} is an exact number, --{rates[0].replace('_', '-')} a rate to choose one by",
            "give one of the two",
        )
    return kinds[name](**given)


def arguments(store: Store) -> dict[str, JSON]:
    """What decides the bytes that `store` makes, by name."""
    return {"store": store.name, **asdict(store)}
