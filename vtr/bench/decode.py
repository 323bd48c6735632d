"""Decoding four frames of a clip: decord, PyAV and stored JPEGs beside each other, on one core."""

from __future__ import annotations

import time

from vtr.bench.clips import make_clips
from vtr.bench.harness import Bench, Measured

GOALS = {"decode.frames_over_video": "at least 30", "decode.jpeg_over_pil": "at least 1"}
FRAMES = 4


def measure(bench: Bench) -> Measured:
    """Processor time of all threads, from bytes to frames of their own size.

    `frames_over_video`: clips a second from JPEGs of 256 pixels over those of the faster video decoder.
    `jpeg_over_pil`: how much the short way to a JPEG (`vtr.data.jpeg`) gains over PIL.
    """
    from vtr.data import image, stored, video
    from vtr.data.limits import DEFAULT
    from vtr.data.store import FrameStore

    clips, seconds, size = (2, 1.0, (176, 144)) if bench.small else (4, 10.0, (854, 480))
    bench.tell("making clips")
    samples = make_clips(bench.folder / "clips", clips, seconds, size)
    data = [sample.video.read_bytes() for sample in samples if not callable(sample.video)]
    count = video.probe(data[0]).frames
    places = [(2 * n + 1) * count // (2 * FRAMES) for n in range(FRAMES)]
    pictures = [[part for _, part in FrameStore(frames=FRAMES).prepare(one, "mp4", DEFAULT).members] for one in data]
    works = {
        "pyav": lambda: [video.read_frames(one, places, "pyav") for one in data],
        "decord": lambda: [video.read_frames(one, places, "decord") for one in data],
        "jpeg": lambda: [[stored.decode_jpeg(part) for part in parts] for parts in pictures],
        "pil": lambda: [[image.decode(part) for part in parts] for parts in pictures],
    }
    taken = bench.medians(works, time.process_time)
    speed = {name: clips / max(seconds, 1e-9) for name, seconds in taken.items()}
    return {
        "ratios": {
            "decode.frames_over_video": speed["jpeg"] / max(speed["pyav"], speed["decord"]),
            "decode.jpeg_over_pil": speed["jpeg"] / speed["pil"],
        },
        "figures": {f"{name}_clips_per_core_s": value for name, value in speed.items()},
    }
