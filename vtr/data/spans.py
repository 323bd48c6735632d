"""Spans of a video: the whole of it, or one of a fixed length every so many seconds.

# 11 s, 4s/2s:  [0 4] [2 6] [4 8] [6 10] [7 11]     the last one ends with the video, so that nothing is left out
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vtr import bounds
from vtr.data.clips import frame_numbers
from vtr.errors import InputError, VideoError

SHORTEST_S = 0.1
MOST = 100_000  # spans of one video: two days of one every two seconds


@dataclass(frozen=True)
class Segments:
    """A span of `length_s` seconds every `stride_s` seconds."""

    length_s: float
    stride_s: float

    @classmethod
    def parse(cls, text: str) -> Segments:
        """`4s/2s`, or `4s` for spans that follow one another. Raises InputError for anything else."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)s?(?:/(\d+(?:\.\d+)?)s?)?", text.strip())
        length = float(match[1]) if match else 0.0
        stride = float(match[2]) if match and match[2] else length
        if not SHORTEST_S <= stride <= length:
            raise InputError(
                f"--segments {text} is no length and stride",
                "give seconds, the stride at most the length: 4s/2s is a span of 4 s every 2 s",
            )
        return cls(length, stride)

    def __str__(self) -> str:
        length, stride = (np.format_float_positional(value, trim="-") for value in (self.length_s, self.stride_s))
        return f"{length}s/{stride}s"


def spans_of(duration_s: float, segments: Segments | None) -> npt.NDArray[np.float64]:
    """(S,2) start and end in seconds of the spans of a video; without `segments`, or in a shorter video, its whole.

    Raises VideoError `too-large` for more than MOST spans: a header may promise a video of years.
    """
    if segments is None or duration_s <= segments.length_s:
        return np.array([[0.0, duration_s]])
    count = int((duration_s - segments.length_s) / segments.stride_s + 1e-6) + 1
    if count > (most := bounds.at_most(MOST)):
        raise VideoError(
            "too-large",
            f"{duration_s:.0f} s would be {count} spans, over {most}",
            f"give longer --segments; {bounds.HINT}",
        )
    starts = np.arange(count) * segments.stride_s
    if starts[-1] + segments.length_s < duration_s - SHORTEST_S:
        starts = np.append(starts, duration_s - segments.length_s)
    ends = np.minimum(starts + segments.length_s, duration_s)
    return np.round(np.stack([starts, ends], axis=1), 3)


def span_frames(
    times: npt.NDArray[np.float64],
    spans: npt.NDArray[np.float64],
    frames: int,
    duration_s: float,
    sampler: str = "segments",
    stride: int = 1,
) -> npt.NDArray[np.int64]:
    """(S,T) the frames of each span: those that `frame_numbers` takes of the ones shown from its start to its end.

    `times` (n,) are the seconds at which frames begin to show.
    """
    rows = []
    for start, end in spans:
        first = 0 if start <= 0 else int(np.searchsorted(times, start, side="left"))
        last = len(times) if end >= duration_s else int(np.searchsorted(times, end, side="left"))
        first = min(first, len(times) - 1)
        rows.append(first + frame_numbers(sampler, max(1, last - first), frames, stride))
    return np.stack(rows)
