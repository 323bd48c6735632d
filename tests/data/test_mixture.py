"""Several directories train as one: by their shares, each in its own epochs, images and videos apart."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from order_helpers import training_slots
from PIL import Image

from vtr import api
from vtr.data import tokenizer
from vtr.data.annotations import Sample
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches
from vtr.data.mixture import Mixture, open_shards
from vtr.data.order import Subset, evaluation_slots, mixed_slots, turn
from vtr.data.shards import write_shards
from vtr.errors import ConfigError, DataError, InputError

weights = st.lists(st.fractions(Fraction(1, 50), 50, max_denominator=50), min_size=1, max_size=6)


@given(weights=weights, count=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_turns_go_by_weight_and_count_themselves(weights: list[Fraction], count: int) -> None:
    had = Counter[int]()
    for number in range(count):
        which, before = turn(number, weights)
        assert before == had[which], "how many turns it had is arithmetic"
        had[which] += 1
    for which, weight in enumerate(weights):
        share = count * weight / sum(weights)
        assert abs(had[which] - share) <= len(weights)


parts = st.lists(
    st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans(), st.integers(1, 9)),
    min_size=1,
    max_size=5,
)


def made(drawn) -> list[Subset]:
    found, start = [], 0
    for sizes, still, weight in drawn:
        shard_of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        found.append(Subset(np.arange(len(shard_of)) + start, shard_of, Fraction(weight), still))
        start += len(shard_of)
    return found


@given(drawn=parts, seed=st.integers(0, 99), world=st.sampled_from((1, 2, 3, 6)), stop=st.integers(0, 30))
@settings(max_examples=80, deadline=None)
def test_a_mixture_is_the_same_for_any_world_and_after_any_stop(drawn, seed: int, world: int, stop: int) -> None:
    mixed, batch, steps = made(drawn), 6, 40
    stream = list(islice(mixed_slots(mixed, seed, batch, 0), steps))
    ranks = [islice(mixed_slots(mixed, seed, batch, stop, rank, world), steps - stop) for rank in range(world)]
    resumed = [list(chain(*local)) for local in zip(*ranks, strict=True)]
    assert stream[:stop] + resumed == stream
    kind_of = {i: part.still for part in mixed for i in part.numbers.tolist()}
    assert all(len({kind_of[sample] for _, sample in slots}) == 1 for slots in stream), "never both in one step"
    for part in mixed:  # each goes through its own epochs, one after the other, each sample once
        own = [slot for slot in chain(*stream) if slot[1] in set(part.numbers.tolist())]
        whole = len(own) // len(part.numbers)
        assert [epoch for epoch, _ in own] == sorted(epoch for epoch, _ in own)
        for epoch in range(whole):
            assert sorted(s for e, s in own if e == epoch) == part.numbers.tolist()


def test_without_weights_an_epoch_of_the_whole_shows_everything_once() -> None:
    mixed = made([([5, 4], False, 9), ([7], False, 7)])
    slots = list(chain(*islice(mixed_slots(mixed, 3, 4, 0), 8)))
    for epoch in range(2):
        assert sorted(s for _, s in slots[epoch * 16 : epoch * 16 + 16]) == list(range(16))


def test_the_first_directory_has_the_order_it_has_alone() -> None:
    mixed = made([([5, 4], False, 1), ([7], False, 1)])
    first = [slot for slot in chain(*islice(mixed_slots(mixed, 3, 4, 0), 12)) if slot[1] < 9]
    alone = list(chain(*islice(training_slots(mixed[0].shard_of, 3, 4, 0), 6)))
    assert first == alone[: len(first)]


def test_a_batch_divides_among_the_processes() -> None:
    with pytest.raises(ConfigError, match="global batch of 5 does not divide among 2 processes"):
        next(mixed_slots(made([([5], False, 1)]), 0, 5, 0, 0, 2))


def test_evaluation_cuts_where_images_meet_videos() -> None:
    still = np.array([False, False, False, True, True, False])
    found = [[i for _, i in slots] for slots in evaluation_slots(6, 2, still)]
    assert found == [[0, 1], [2], [3, 4], [5]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard directory of 6 images."""
    folder = tmp_path_factory.mktemp("pictures")
    samples = []
    for n in range(6):
        path = folder / f"{n}.png"
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
        samples.append(Sample(f"picture-{n}", path, (f"picture {n}",), "train", {}, path.name))
    write_shards(samples, folder / "out", reader="folder", source="x", workers=1)
    return folder / "out"


def test_directories_are_numbered_through(shards: Path, test_shards: Path) -> None:
    mixture = open_shards([f"{shards}=0.25", f"{test_shards}=0.75"])
    assert isinstance(mixture, Mixture)
    first, second = ShardIndex.open(shards), ShardIndex.open(test_shards)
    assert len(mixture) == len(first) + len(second) == 36
    for i, (index, own) in {0: (first, 0), 23: (first, 23), 24: (second, 0), 35: (second, 11)}.items():
        assert mixture.key(i) == index.key(own)
        assert mixture.captions(i) == index.captions(own)
        assert mixture.info(i) == index.info(own)
        assert mixture.members(i) == index.members(own)
        assert mixture.read_video(i) == index.read_video(own)
        assert mixture.fact(i, "frames") == index.fact(own, "frames")
    assert mixture.facts("frames").tolist() == [*first.facts("frames"), *second.facts("frames")]
    assert [subset.weight for subset in mixture.subsets()] == [Fraction(1, 4), Fraction(3, 4)]
    slots = list(chain(*islice(mixed_slots(mixture.subsets(), 0, 8, 0), 20)))
    assert sum(sample < 24 for _, sample in slots) == 40
    assert pickle.loads(pickle.dumps(mixture)).digest == mixture.digest
    assert mixture.digest != open_shards([f"{shards}=0.5", f"{test_shards}=0.5"]).digest
    assert isinstance(open_shards(shards), ShardIndex)
    assert open_shards([shards]).digest == first.digest


def test_shares_are_for_all_or_for_none(shards: Path, test_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"test has no weight, others have one\n.*DIR=WEIGHT"):
        open_shards([f"{shards}=0.5", test_shards])
    for weight in ("0", "-1", "-0.5"):
        with pytest.raises(InputError, match=r"gives .* no share\n.*a weight above 0"):
            open_shards([f"{shards}={weight}", f"{test_shards}=1"])
    for weight in ("nan", "inf", "half", ""):
        with pytest.raises(InputError, match=rf"gives .* the weight '{weight}'\n.*a number above 0, such as 0\.7"):
            open_shards([f"{shards}={weight}", f"{test_shards}=1"])
    with pytest.raises(InputError, match="no shards to train on"):
        open_shards([])
    with pytest.raises(DataError, match="nothing does not exist"):
        open_shards([f"{shards}=1", f"{tmp_path / 'nothing'}=1"])
    (tmp_path / "a=2").symlink_to(shards)
    assert isinstance(open_shards(tmp_path / "a=2"), ShardIndex), "a directory's own name"


def test_a_step_has_images_or_videos_and_images_are_short_clips(shards: Path, pictures: Path) -> None:
    mixture = open_shards([f"{shards}=2", f"{pictures}=1"])
    words = tokenizer.train([c for i in range(len(mixture)) for c in mixture.captions(i)], 24, 200)
    dataset = ClipDataset(mixture, ClipShape(4, 32, 36, 0.5, decoder="pyav", still=2), training=True)
    slots = list(islice(mixed_slots(mixture.subsets(), 0, 4, 0), 9))
    shapes = []
    for workers in (0, 1):
        for batch, errors in batches(dataset, slots, words, workers):
            assert errors == []
            assert len({int(i) >= 24 for i in batch.samples}) == 1
            shapes.append((bool(batch.samples[0] >= 24), tuple(batch.clips.shape)))
    assert set(shapes) == {(False, (4, 4, 3, 32, 32)), (True, (4, 2, 3, 32, 32))}
    assert sum(still for still, _ in shapes[:9]) == 3


def test_training_on_a_mixture_resumes_and_refuses_other_shares(
    nano: Path, shards: Path, pictures: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file

    from vtr import recipe
    from vtr.errors import RunError

    config = recipe.override(recipe.load(str(nano)), {"train.steps": 6})
    mix = [f"{shards}=0.5", f"{pictures}=0.5"]
    whole = api.pretrain(config, mix, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000006")
    resumed = api.pretrain(config, mix, tmp_path / "b")
    a, b = (load_file(path / "model.safetensors") for path in (whole, resumed))
    assert all((a[name] == b[name]).all() for name in a)
    with pytest.raises(RunError, match="trained on the shards"):
        api.pretrain(config, [f"{shards}=0.6", f"{pictures}=0.4"], tmp_path / "b")
    tuned = api.finetune(tmp_path / "a", mix, tmp_path / "c", overrides={"train.steps": 2})
    assert tuned.name == "step-00000002"


def test_a_damaged_sample_tells_whose_it_is(shards: Path, tmp_path: Path) -> None:
    """Two directories may have the same key."""
    for name in ("a", "b"):
        index = ShardIndex.open(shutil.copytree(shards, tmp_path / name))
        with (tmp_path / name / index.info(3).shard).open("r+b") as file:
            file.seek(index.members(3)[1].offset + 50)
            file.write(bytes(8))
    dataset = ClipDataset(open_shards([tmp_path / "a", tmp_path / "b"]), ClipShape(frames=2, size=32, resize=36))
    found = [dataset[0, 3], dataset[0, len(dataset) // 2 + 3]]
    assert found[0].key == found[1].key
    assert [item.error[::2] for item in found if item.error] == [
        ("corrupt", str(tmp_path / "a")), ("corrupt", str(tmp_path / "b")),
    ]  # fmt: skip
