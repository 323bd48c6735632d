"""Still images: told by their first bytes, and decoded upright. In a shard, an image is a clip of one frame."""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image

from vtr.data.limits import DEFAULT, Limits
from vtr.data.tar import VIDEO_EXTS
from vtr.errors import VideoError

FORMATS = ("JPEG", "PNG", "WEBP")
ORIENTATION = 0x0112  # EXIF's tag, and how what it says is made good
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def extension(data: bytes, suffix: str = "") -> str | None:
    """`jpg`, `png` or `webp` for the bytes of such an image, else None.

    None too where `suffix` is that of a video: a thumbnail or an error page in a video's place is no clip.
    """
    if suffix.lower() in VIDEO_EXTS:
        return None
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def decode(data: bytes, limits: Limits = DEFAULT, at_least: int = 0) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a JPEG, PNG or WebP, turned as its EXIF says; of an animation the first picture.

    With `at_least`, a JPEG comes at 1/2, 1/4 or 1/8 of its size where its short side stays that long: libjpeg then
    leaves out what would be thrown away, which of a photograph is most of the work.
    Raises VideoError: `corrupt`, or `too-large` before decoding.
    """
    limits.check("max_bytes", len(data), f"the image has {len(data)} bytes")
    if limits.max_pixels > (Image.MAX_IMAGE_PIXELS or limits.max_pixels):
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # PIL's own guard, which would come before ours
    try:
        # Of EXIF that is damaged PIL warns, and goes on.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            limits.check("max_pixels", picture.width * picture.height, f"a picture of {picture.width}x{picture.height}")
            if at_least and min(picture.size) >= 2 * at_least:
                picture.draft(None, (at_least, at_least))  # JPEG alone; the others stay as they are
            turned = _upright(picture)
            if turned.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip, not scale
                grey = (np.asarray(turned) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(turned.convert("RGB"))
    except (VideoError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise VideoError("too-large", f"a picture cannot be decoded: {error}", "make it smaller") from error
    except Exception as error:  # PIL's readers of formats raise what comes of a damaged file, struct.error too
        hint = "get the file again; from a shard, make the shards anew"
        raise VideoError("corrupt", f"a picture cannot be decoded: {error}", hint) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says; EXIF that is damaged says nothing, and costs no picture."""
    picture.load()  # what is wrong with the pixels is an error
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION))  # type: ignore[arg-type]
    except Exception:
        return picture
    return picture if turn is None else picture.transpose(turn)
