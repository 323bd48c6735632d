"""A decoded frame as an upright RGB picture with square pixels, always of the one size its video has."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter

from vtr.data.pyav_packets import AV_ERRORS, Demuxed, reason
from vtr.errors import VideoError

# A 2 x 2 turn (a, b, c, d) as display matrices have it: x' = a x + c y, y' = b x + d y, y down.
Turn = tuple[float, float, float, float]
UPRIGHT: Turn = (1, 0, 0, 1)
QUARTERS: tuple[Turn, ...] = (UPRIGHT, (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))  # counterclockwise


def turn_of(frame: Any) -> Turn:
    """The turn that shows `frame` upright, from its display matrix."""
    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV refuses to list a kind of side data that is newer than itself, though it knows the angle
        return QUARTERS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("5i", bytes(matrix))
    return (a, b, c, d) if (a or b) and (c or d) else UPRIGHT


def is_upright(turn: Turn) -> bool:
    """Whether the frame is shown as it was coded, neither turned nor mirrored."""
    return not is_sideways(turn) and turn[0] > 0 and turn[3] > 0


def is_sideways(turn: Turn) -> bool:
    """Whether the turn exchanges width and height: the nearest quarter turn counts."""
    a, b, c, d = turn
    return abs(b) + abs(c) > abs(a) + abs(d)


def turned(picture: npt.NDArray[np.uint8], turn: Turn) -> npt.NDArray[np.uint8]:
    """(H, W, 3) -> (H, W, 3) or (W, H, 3): a view of `picture` after the nearest quarter turn and mirroring."""
    a, b, c, d = turn
    if is_sideways(turn):
        picture = picture.transpose(1, 0, 2)  # x' depends on y by the sign of c, y' on x by the sign of b
        return picture[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


class Converter:
    """Turns frames of one video into (H, W, 3) uint8 RGB; keeps the scaler and the turn from frame to frame."""

    def __init__(self, video: Demuxed) -> None:
        self.scaler = VideoReformatter()
        self.width, self.height = video.shown_width, video.height
        self.turn: Turn | None = None

    def __call__(self, frame: Any) -> npt.NDArray[np.uint8]:
        """A view that stays valid until it is dropped; copy it into its place."""
        if self.turn is None:
            self.turn = turn_of(frame)
        # A frame of another size (the resolution changed in the stream) is scaled to the size the stream began with.
        try:
            rgb = self.scaler.reformat(
                frame, self.width, self.height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
            )
        except AV_ERRORS as error:
            source = f"{frame.width}x{frame.height} {frame.format.name}"
            raise VideoError(
                "unsupported", f"a {source} picture cannot be made RGB: {reason(error)}", "transcode the video"
            ) from error
        plane: Any = rgb.planes[0]  # a buffer
        rows = np.frombuffer(plane, np.uint8).reshape(self.height, plane.line_size)
        return turned(rows[:, : self.width * 3].reshape(self.height, self.width, 3), self.turn)

    def size(self) -> tuple[int, int]:
        """(width, height) of what comes out; known once a frame has been converted."""
        sideways = self.turn is not None and is_sideways(self.turn)
        return (self.height, self.width) if sideways else (self.width, self.height)
