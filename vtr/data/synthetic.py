"""A seeded world of coloured shapes in motion: captions with known answers, clips as real H.264 files.

Each clip shows one or two shapes, every one with its own motion. Some captions differ only in the order of what happens
("first grows, then shrinks"), so no single frame can tell them apart. What a caption says is a *combination*: which
colours, shapes and motions stand together. A combination belongs to the training or to the test split for good (by a
hash), so a test caption is never one that training has seen in other words.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vtr.data.shapes import draw_shape

# decord misreads some files narrower than 160 pixels, so none is made.
SIDE = 160
FRAMES = 16
FPS = 8

COLOURS = {
    "red": (225, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 90, 235),
    "yellow": (240, 220, 50),
    "purple": (150, 60, 200),
    "orange": (245, 140, 30),
}
BACKGROUNDS = {"black": (12, 12, 12), "grey": (95, 95, 95), "brown": (85, 55, 35), "navy": (18, 24, 75)}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIMPLE = ("left", "right", "up", "down", "grow", "shrink", "spin", "bounce", "blink", "still")
# Orders of two events: each stands beside its mirror, which has the same frames in another order.
ORDERS = (
    ("grow", "shrink"), ("shrink", "grow"),
    ("left", "up"), ("up", "left"), ("right", "down"), ("down", "right"), ("spin", "grow"), ("grow", "spin"),
)  # fmt: skip
MOTIONS = SIMPLE + tuple(f"{a}>{b}" for a, b in ORDERS)

VERBS = {
    "left": ("moves left", "slides to the left", "drifts left", "glides leftwards"),
    "right": ("moves right", "slides to the right", "drifts right", "glides rightwards"),
    "up": ("moves up", "rises", "climbs upwards", "floats up"),
    "down": ("moves down", "sinks", "falls downwards", "drops down"),
    "grow": ("grows", "gets bigger", "swells"),
    "shrink": ("shrinks", "gets smaller", "dwindles"),
    "spin": ("spins", "turns around", "rotates"),
    "bounce": ("bounces", "hops up and down", "jumps up and down"),
    "blink": ("blinks", "flashes", "flickers on and off"),
    "still": ("stays still", "does not move", "rests"),
}


@dataclass(frozen=True)
class Actor:
    """One shape: its colour, its form and what it does (`left`, or `grow>shrink` for an order)."""

    colour: str
    shape: str
    motion: str


@dataclass(frozen=True)
class Scene:
    """What one clip shows. `seed` fixes what the caption leaves open: places, sizes, speeds, background noise."""

    actors: tuple[Actor, ...]
    background: str
    seed: int

    @property
    def combination(self) -> str:
        """The caption's meaning, whatever its words and the order in which it names the actors."""
        return " + ".join(sorted(f"{a.colour} {a.shape} {a.motion}" for a in self.actors))

    @property
    def needs_time(self) -> bool:
        """Whether the caption tells of an order, which shuffled frames would not show."""
        return any(">" in a.motion for a in self.actors)

    def describe(self) -> dict[str, Any]:
        """Plain data for the metadata of a sample."""
        return {**asdict(self), "actors": [asdict(a) for a in self.actors], "needs_time": self.needs_time}


def split_of(combination: str) -> str:
    """`test` for one combination in eight, else `train`; the same for ever and for every seed."""
    return "test" if hashlib.blake2b(combination.encode(), digest_size=2).digest()[0] < 32 else "train"


def scenes(seed: int, split: str) -> Iterator[Scene]:
    """Endless scenes of `split`. In "test" no combination comes twice, for two clips of one caption make no fair test:
    it has 18 379 scenes, and the last ones take long to find."""
    rng = np.random.default_rng([seed, 0 if split == "train" else 1])
    seen: set[str] = set()
    while True:
        count = 1 if rng.random() < 0.25 else 2
        pairs = rng.choice(len(COLOURS), count, replace=False), rng.choice(len(SHAPES), count, replace=False)
        motions = [MOTIONS[i] for i in rng.choice(len(MOTIONS), count, p=_motion_weights())]
        names = list(COLOURS)
        actors = tuple(Actor(names[c], SHAPES[s], m) for c, s, m in zip(pairs[0], pairs[1], motions, strict=True))
        scene = Scene(actors, str(rng.choice(list(BACKGROUNDS))), int(rng.integers(2**31)))
        if split_of(scene.combination) != split or (split == "test" and scene.combination in seen):
            continue
        seen.add(scene.combination)
        yield scene


def _motion_weights() -> npt.NDArray[np.float64]:
    """(len(MOTIONS),) probabilities: orders together as often as a third of all motions."""
    weights = np.array([1.0] * len(SIMPLE) + [len(SIMPLE) / (2 * len(ORDERS))] * len(ORDERS))
    return np.asarray(weights / weights.sum())


def caption(scene: Scene) -> str:
    """One wording of the scene, fixed by its seed: `a red circle moves left while a blue star spins`."""
    rng = np.random.default_rng([scene.seed, 7])

    def act(actor: Actor) -> str:
        verbs = [str(rng.choice(VERBS[m])) for m in actor.motion.split(">")]
        doing = verbs[0] if len(verbs) == 1 else str(rng.choice(("first {} then {}", "{} and then {}"))).format(*verbs)
        article = "an" if actor.colour == "orange" else "a"
        return f"{article} {actor.colour} {actor.shape} {doing}"

    actors = [scene.actors[i] for i in rng.permutation(len(scene.actors))]
    words = str(rng.choice((" while ", " and ", ", meanwhile "))).join(act(a) for a in actors)
    place = (" on a {} background", " over {}", "")[rng.integers(3)].format(scene.background)
    return words + place


def render(scene: Scene) -> npt.NDArray[np.uint8]:
    """(FRAMES, SIDE, SIDE, 3) uint8: the scene's pictures."""
    rng = np.random.default_rng([scene.seed, 11])
    background = np.clip(np.array(BACKGROUNDS[scene.background]) + rng.integers(-8, 9), 0, 255)
    # One actor may be anywhere in the middle; two get a half each, side by side or one above the other.
    centres = [(SIDE / 2, SIDE / 2)]
    if len(scene.actors) == 2:
        a, b = (SIDE * 0.28, SIDE / 2), (SIDE * 0.72, SIDE / 2)
        centres = [a, b] if rng.random() < 0.5 else [a[::-1], b[::-1]]
        centres = [centres[i] for i in rng.permutation(2)]
    starts = [(x + rng.uniform(-5, 5), y + rng.uniform(-5, 5)) for x, y in centres]
    sizes = rng.uniform(32, 38, len(scene.actors))
    angles = rng.uniform(-0.1, 0.1, len(scene.actors))
    tints = [np.clip(np.array(COLOURS[a.colour]) + rng.integers(-12, 13, 3), 0, 255) for a in scene.actors]

    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    for t in range(FRAMES):
        picture = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in background))
        draw = ImageDraw.Draw(picture)
        for actor, (x, y), size, angle, tint in zip(scene.actors, starts, sizes, angles, tints, strict=True):
            dx, dy, scale, turn, seen = _pose(actor.motion, t / (FRAMES - 1))
            if seen:
                hole = tuple(int(v) for v in background)
                fill = tuple(int(v) for v in tint)
                draw_shape(draw, actor.shape, (x + dx, y + dy), size * scale, angle + turn, fill, hole)
        frames[t] = np.asarray(picture)
    return frames


def _pose(motion: str, u: float) -> tuple[float, float, float, float, bool]:
    """(dx, dy, scale, turn, visible) at time `u` in 0..1. An order acts out its halves one after the other."""
    if ">" in motion:
        first, second = motion.split(">")
        a = _pose(first, min(1.0, 2 * u))
        b = _pose(second, max(0.0, 2 * u - 1))
        # The second event starts where the first has ended.
        return (
            a[0] + b[0] - _rest(second)[0],
            a[1] + b[1] - _rest(second)[1],
            a[2] * b[2] / _rest(second)[2],
            a[3] + b[3],
            True,
        )
    reach = SIDE * 0.26
    shift = reach * (2 * u - 1)
    hop = SIDE * 0.16 * abs(math.sin(2 * math.pi * u))
    poses = {
        "left": (-shift, 0.0, 1.0, 0.0, True),
        "right": (shift, 0.0, 1.0, 0.0, True),
        "up": (0.0, -shift, 1.0, 0.0, True),
        "down": (0.0, shift, 1.0, 0.0, True),
        "grow": (0.0, 0.0, 0.45 + 0.85 * u, 0.0, True),
        "shrink": (0.0, 0.0, 1.3 - 0.85 * u, 0.0, True),
        "spin": (0.0, 0.0, 1.0, 1.5 * math.pi * u, True),
        "bounce": (0.0, -hop, 1.0, 0.0, True),
        "blink": (0.0, 0.0, 1.0, 0.0, int(u * 8) % 2 == 0),
        "still": (0.0, 0.0, 1.0, 0.0, True),
    }
    return poses[motion]


def _rest(motion: str) -> tuple[float, float, float]:
    """(dx, dy, scale) at the start of `motion`: what a second event must not jump by."""
    dx, dy, scale, _, _ = _pose(motion, 0.0)
    return dx, dy, scale


def encode(frames: npt.NDArray[np.uint8], fps: int = FPS) -> bytes:
    """(T,H,W,3) uint8 -> the bytes of an H.264 mp4 file; the same frames always give the same bytes."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "crf": "20", "g": "12", "sc_threshold": "0", "threads": "1"}
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
