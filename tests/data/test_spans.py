"""Spans of a video, and the frames that stand for each."""

from __future__ import annotations

import numpy as np
import pytest

from vtr.data.clips import segment_frames
from vtr.data.spans import Segments, span_frames, spans_of
from vtr.errors import InputError


@pytest.mark.parametrize(
    ("duration", "wanted"),
    [
        (11.0, [(0, 4), (2, 6), (4, 8), (6, 10), (7, 11)]),
        (8.0, [(0, 4), (2, 6), (4, 8)]),
        (8.05, [(0, 4), (2, 6), (4, 8)]),  # the rest is too short to be missed
        (4.0, [(0, 4)]),
        (1.5, [(0, 1.5)]),
        (0.0, [(0, 0)]),
    ],
)
def test_spans_cover_the_video(duration, wanted):
    assert spans_of(duration, Segments(4, 2)).tolist() == [list(span) for span in wanted]
    assert spans_of(duration, None).tolist() == [[0, duration]]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("4s/2s", (4, 2)), ("4/2", (4, 2)), (" 1.5s ", (1.5, 1.5)), ("1234567.25/0.1234567", (1234567.25, 0.1234567))],
)
def test_segments_as_they_are_written(text, wanted):
    segments = Segments.parse(text)
    assert (segments.length_s, segments.stride_s) == wanted
    assert Segments.parse(str(segments)) == segments


@pytest.mark.parametrize("text", ["", "4s/", "s", "2s/4s", "0s", "4s/0s", "-4s", "four"])
def test_segments_that_are_none(text):
    with pytest.raises(InputError, match=r"--segments .* is no length and stride\n.*4s/2s is a span of 4 s every 2 s"):
        Segments.parse(text)


@pytest.mark.parametrize("count", [1, 3, 10, 250])
@pytest.mark.parametrize("frames", [1, 4, 8])
def test_the_whole_is_what_segment_frames_gives(count, frames):
    times = np.arange(count) / 25
    rows = span_frames(times, np.array([[0, count / 25]]), frames, count / 25)
    np.testing.assert_array_equal(rows[0], segment_frames(count, frames))


def test_frames_lie_within_their_span():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.2, 300)) - 0.01  # a varying rate
    duration = float(times[-1]) + 0.1
    spans = spans_of(duration, Segments(3, 1))
    numbers = span_frames(times, spans, 8, duration)
    assert (np.diff(numbers, axis=1) >= 0).all()
    for (start, end), row in zip(spans, numbers, strict=True):
        assert ((times[row] >= start) & (times[row] < end)).all()


def test_a_span_without_a_frame_takes_the_next():
    numbers = span_frames(np.array([0.0, 10.0]), np.array([[0, 4], [4, 8], [12, 16]]), 2, 20.0)
    assert numbers.tolist() == [[0, 0], [1, 1], [1, 1]]
