"""Frames of a stored sample by their numbers, whichever store it is in: only the bytes that are needed are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from vtr.data import image, jpeg, video
from vtr.data.decord_reader import Shrink
from vtr.data.limits import DEFAULT, Limits
from vtr.data.tar import IMAGE_EXTS
from vtr.errors import VideoError

if TYPE_CHECKING:
    from vtr.data.mixture import Samples

# T pictures (H,W,3) uint8 of one size: in one array (T,H,W,3), or each for itself.
Pictures: TypeAlias = npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes that the frames `numbers` of a sample are decoded from, and by what: decord, pyav, jpeg or image.

    `parts` is the video file; the pictures of the distinct numbers, ascending, of a frame store; or the one image.
    `limits` are those that the sample was sharded with.
    """

    decoder: str
    parts: tuple[bytes, ...]
    numbers: tuple[int, ...]
    limits: Limits = DEFAULT


def fetch(index: Samples, i: int, numbers: Sequence[int], decoder: str = "auto") -> Encoded:
    """Reads what the frames `numbers` of sample `i` need; they count from 0 to `index.fact(i, "frames")`.

    `decoder` "pyav" takes PyAV where sharding has found decord right. Raises VideoError: `no-frames` for a number past
    the end, `corrupt` or `truncated` for bytes that are not those that were written, or not there at all.
    """
    wanted = tuple(int(number) for number in numbers)
    stored, own = index.fact(i, "store"), index.fact(i, "decoder")
    if stored != "frames" and own != "image":
        return Encoded("pyav" if decoder == "pyav" else own, (index.read_video(i),), wanted, index.limits)
    count = index.fact(i, "frames")
    for number in wanted:
        if not 0 <= number < count:
            raise VideoError(
                "no-frames", f"{index.key(i)} has {count} stored frames, number {number} was asked for", "ask for fewer"
            )
    if stored != "frames":
        ext = next((one.ext for one in index.members(i) if one.ext.rsplit(".", 1)[-1] in IMAGE_EXTS), None)
        if ext is None:
            raise _without(index, i, "image")
        return Encoded("image", (index.read(i, [ext])[ext],), wanted, index.limits)
    pictures = index.read(i, {f"{number:04d}.jpg" for number in wanted})
    parts = []
    for number in sorted(set(wanted)):
        if (name := f"{number:04d}.jpg") not in pictures:
            raise _without(index, i, name)
        parts.append(pictures[name])
    return Encoded("jpeg", tuple(parts), wanted, index.limits)


def _without(index: Samples, i: int, what: str) -> VideoError:
    hint = "make the index of its directory anew: vtr inspect DIR --index"
    return VideoError("corrupt", f"{index.key(i)} has no member {what}, which its index says it has", hint)


def decode(encoded: Encoded, at_least: int = 0, shrink: Shrink | None = None) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) uint8 RGB of what `fetch` read: `pictures` in one array."""
    return together(pictures(encoded, at_least, shrink))


def pictures(encoded: Encoded, at_least: int = 0, shrink: Shrink | None = None) -> Pictures:
    """T pictures (H, W, 3) uint8 RGB of what `fetch` read. Needs no index: native code may hang or crash here.

    Those of a frame store are apart, as they were decoded: whoever crops them has no use for a copy of the whole.

    An image is decoded at a fraction of its size as long as its short side stays `at_least` so long (0: as it is);
    `shrink` makes the pictures of a video smaller as they come, see `video.read_frames`.
    Raises VideoError as `video.read_frames` and `image.decode`.
    """
    limits = encoded.limits
    if encoded.decoder == "image":
        return [image.decode(encoded.parts[0], limits, at_least)] * len(encoded.numbers)
    if encoded.decoder == "jpeg":
        decoded = [decode_jpeg(part, limits) for part in encoded.parts]
        place = {number: n for n, number in enumerate(sorted(set(encoded.numbers)))}
        return [decoded[place[number]] for number in encoded.numbers]
    return video.read_frames(encoded.parts[0], encoded.numbers, encoded.decoder, limits, shrink)


def together(found: Pictures) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) of T pictures, copied where they are apart."""
    return found if isinstance(found, np.ndarray) else np.stack(found)


def read_frames(index: Samples, i: int, numbers: Sequence[int]) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) uint8 RGB: the frames `numbers` of sample `i`, which may repeat and come in any order.

    Raises VideoError as `fetch` and `decode`.
    """
    return decode(fetch(index, i, numbers))


def decode_jpeg(data: bytes, limits: Limits = DEFAULT) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a stored picture: a JPEG, PNG or WebP. Raises VideoError as `image.decode`."""
    picture = jpeg.decode(data, limits)
    return image.decode(data, limits) if picture is None else picture
