"""The made-up world does what its captions say, and test captions are never told of in training."""

from __future__ import annotations

import pickle
from itertools import islice

import numpy as np
import pytest

from vtr.data import annotations, synthetic, video
from vtr.data.annotations import ReaderOptions
from vtr.data.synthetic import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Actor, Scene
from vtr.errors import DataError

MANY = 400


def scene(motion: str, shape: str = "square", colour: str = "red", seed: int = 5) -> Scene:
    return Scene((Actor(colour, shape, motion),), "black", seed)


def inside(frames: np.ndarray) -> np.ndarray:
    """(T,H,W) bool: where a shape covers the black background."""
    return frames.max(axis=-1) > 60


def centres(frames: np.ndarray) -> np.ndarray:
    """(T,2) x and y of the middle of the shape."""
    masks = inside(frames)
    return np.array([(np.nonzero(mask)[1].mean(), np.nonzero(mask)[0].mean()) for mask in masks])


def test_splits_share_no_combination_however_they_are_seeded() -> None:
    train = {s.combination for seed in range(4) for s in islice(synthetic.scenes(seed, "train"), MANY)}
    test = {s.combination for seed in range(4) for s in islice(synthetic.scenes(seed, "test"), MANY)}
    assert not train & test
    assert len(train) > MANY


def test_a_test_combination_comes_once() -> None:
    found = [s.combination for s in islice(synthetic.scenes(0, "test"), MANY)]
    assert len(set(found)) == MANY


def test_a_combination_is_the_same_whoever_is_named_first() -> None:
    a, b = Actor("red", "star", "left"), Actor("blue", "ring", "spin")
    assert Scene((a, b), "grey", 1).combination == Scene((b, a), "navy", 2).combination


def test_the_same_seed_gives_the_same_world_and_a_longer_one_begins_with_it() -> None:
    first = list(islice(synthetic.scenes(7, "train"), 30))
    assert list(islice(synthetic.scenes(7, "train"), 60))[:30] == first
    assert list(islice(synthetic.scenes(8, "train"), 30)) != first


def test_every_colour_shape_motion_and_number_of_actors_comes() -> None:
    actors = [a for s in islice(synthetic.scenes(0, "train"), MANY) for a in s.actors]
    assert {a.colour for a in actors} == set(COLOURS)
    assert {a.shape for a in actors} == set(SHAPES)
    assert {a.motion for a in actors} == set(MOTIONS)
    assert {len(s.actors) for s in islice(synthetic.scenes(0, "train"), 50)} == {1, 2}
    assert {s.background for s in islice(synthetic.scenes(0, "train"), 50)} == set(BACKGROUNDS)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_caption_names_the_colour_the_shape_and_each_event_in_order(motion: str) -> None:
    wordings = {synthetic.caption(scene(motion, seed=seed)) for seed in range(60)}
    assert len(wordings) > 3, "wordings vary"
    events = motion.split(">")
    for words in wordings:
        assert words.startswith("a red square ")
        places = [[words.find(verb) for verb in synthetic.VERBS[event] if verb in words] for event in events]
        assert all(places), words
        if len(events) == 2:
            assert max(places[0]) < max(places[1]), words


def test_orders_need_time() -> None:
    assert not scene("left").needs_time
    assert scene("grow>shrink").needs_time
    for motion in MOTIONS:
        if ">" in motion:
            assert ">".join(reversed(motion.split(">"))) in MOTIONS, "each order stands beside its mirror"


def test_frames_are_wide_enough_for_any_decoder() -> None:
    frames = synthetic.render(scene("still"))
    assert frames.dtype == np.uint8
    assert frames.shape == (synthetic.FRAMES, synthetic.SIDE, synthetic.SIDE, 3)
    assert synthetic.SIDE >= 160


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)])
def test_shapes_move_where_the_caption_says(motion: str, axis: int, sign: int) -> None:
    for shape in SHAPES:
        path = centres(synthetic.render(scene(motion, shape)))
        assert sign * (path[-1] - path[0])[axis] > synthetic.SIDE / 4
        assert abs((path[-1] - path[0])[1 - axis]) < 6
        assert (sign * np.diff(path[:, axis]) > -1).all(), "all the way"


def test_shapes_grow_shrink_blink_spin_bounce_and_rest() -> None:
    def area(motion: str) -> np.ndarray:
        return inside(synthetic.render(scene(motion))).sum(axis=(1, 2))

    assert area("grow")[-1] > 2 * area("grow")[0]
    assert area("shrink")[0] > 2 * area("shrink")[-1]
    assert 0 < (area("blink") == 0).sum() < synthetic.FRAMES
    still = synthetic.render(scene("still"))
    assert (still == still[0]).all()
    for shape in SHAPES:
        turning = inside(synthetic.render(scene("spin", shape)))
        assert (turning != turning[0]).any(axis=(1, 2)).sum() > synthetic.FRAMES / 2, shape
    height = centres(synthetic.render(scene("bounce")))[:, 1]
    assert (np.diff(np.sign(np.diff(height))) != 0).sum() >= 2


def test_an_order_acts_out_its_halves_one_after_the_other() -> None:
    half = synthetic.FRAMES // 2
    path = centres(synthetic.render(scene("left>up")))
    first, second = path[half - 1] - path[0], path[-1] - path[half]
    assert first[0] < -10
    assert abs(first[1]) < 6
    assert second[1] < -10
    assert abs(second[0]) < 6
    sizes = inside(synthetic.render(scene("grow>shrink"))).sum(axis=(1, 2))
    assert sizes[half] > 1.5 * max(sizes[0], sizes[-1])
    sizes = inside(synthetic.render(scene("shrink>grow"))).sum(axis=(1, 2))
    assert 1.5 * sizes[half] < min(sizes[0], sizes[-1])


def test_two_actors_are_both_seen() -> None:
    both = Scene((Actor("red", "square", "still"), Actor("blue", "circle", "still")), "black", 3)
    frame = synthetic.render(both)[0].astype(int)
    assert (frame[..., 0] - frame[..., 2] > 100).sum() > 500
    assert (frame[..., 2] - frame[..., 0] > 100).sum() > 500


def test_files_are_real_and_the_same_each_time() -> None:
    frames = synthetic.render(scene("left"))
    data = synthetic.encode(frames)
    assert data == synthetic.encode(frames)
    assert data[4:8] == b"ftyp"
    info = video.check(data)
    assert (info.codec, info.frames, info.fps) == ("h264", synthetic.FRAMES, synthetic.FPS)
    back = video.read_frames(data, range(synthetic.FRAMES), "pyav")
    assert np.abs(back.astype(int) - frames).mean() < 4


def test_drawing_many_tells_how_far_it_is() -> None:
    told: list[int] = []
    assert len(annotations.read("synthetic", "seed:0", ReaderOptions(limit=2500, tell=told.append))) == 2500
    assert told == [1000, 2000]


def test_the_reader_hands_out_samples() -> None:
    samples = annotations.read("synthetic", "seed:3", ReaderOptions(split="test", limit=5))
    assert [s.key for s in samples] == [f"test-{n:06d}" for n in range(5)]
    assert all(s.split == "test" and len(s.captions) == 1 and s.meta["needs_time"] in (True, False) for s in samples)
    assert pickle.loads(pickle.dumps(samples[0])).video() == samples[0].video()
    longer = annotations.read("synthetic", "3", ReaderOptions(split="test", limit=8))
    assert [s.captions for s in longer[:5]] == [s.captions for s in samples], "seed:3 may be written 3"


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("seed:x", {"limit": 1}, r"takes a seed, not 'seed:x'\n.*write seed:0"),
        ("seed:-1", {"limit": 1}, "takes a seed"),
        ("seed:0", {}, r"endless\n.*--limit"),
        ("seed:0", {"split": "test", "limit": 19_000}, r"no 19000 clips with captions of their own\n.*at most 10000"),
        ("seed:0", {"limit": 1, "split": "val"}, r"no split 'val'\n.*train, test"),
    ],
)
def test_what_it_cannot_make(source: str, options: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        annotations.read("synthetic", source, ReaderOptions(**options))
