"""Protocols: the counts and caption rules of test sets, and when their names are refused."""

from __future__ import annotations

import pytest

from vtr.errors import DataError, InputError
from vtr.retrieval import protocols
from vtr.retrieval.published import METRICS, published

COUNTS = {
    "msrvtt-1ka": (1000, 1000),
    "msrvtt-full": (2990, 59_800),
    "msvd": (670, None),
    "lsmdc": (1000, 1000),
    "didemo": (1004, 1004),
    "activitynet": (4917, 4917),
    "vatex": (6000, 60_000),
    "flickr30k": (1000, 5000),
    "coco-5k": (5000, 25_010),
}
ACTIONS = {("ucf101", "test1"): (3783, 101), ("ucf101", "test2"): (3734, 101), ("ucf101", "test3"): (3696, 101)} | {
    ("hmdb51", f"test{n}"): (1530, 51) for n in (1, 2, 3)
}


def test_every_protocol_has_its_published_counts():
    found = {name: p.expected(p.splits[0]) for name, p in protocols.PROTOCOLS.items() if p.rule != "classes"}
    assert found == COUNTS
    actions = [p for p in protocols.PROTOCOLS.values() if p.rule == "classes"]
    assert {(p.name, split): p.expected(split) for p in actions for split in p.splits} == ACTIONS


def test_captions_by_their_rules():
    captions = [["a", "b"], ["c"], []]
    found = {rule: protocols.queries(captions, rule) for rule in ("all", "first", "paragraph", "one", "classes")}
    assert (found["all"].texts, found["all"].owner) == (["a", "b", "c"], [0, 0, 1])
    assert (found["first"].texts, found["first"].owner) == (["a", "c"], [0, 1])
    assert (found["paragraph"].texts, found["paragraph"].owner) == (["a b", "c"], [0, 1])
    assert found["one"].texts == found["all"].texts
    assert protocols.queries([["run"], ["jump"], ["run"]], "classes").texts == ["jump", "run"]


@pytest.mark.parametrize("name", COUNTS)
def test_a_protocol_refuses_its_name_when_a_count_is_wrong(name):
    protocol = protocols.known(name)
    videos, captions = COUNTS[name]
    found = (videos, captions or protocol.about)
    whole = protocols.check(protocol, protocol.rule, protocol.splits[0], found)
    assert not whole.partial
    for wrong in ((found[0] - 1, found[1]), (found[0] + 1, found[1])):
        with pytest.raises(DataError, match=f"{wrong[0]} of {videos} (video|image)s"):
            protocols.check(protocol, protocol.rule, protocol.splits[0], wrong)
    with pytest.raises(DataError, match=f"{videos + 1} of (about )?{captions or protocol.about} captions"):
        protocols.check(protocol, protocol.rule, protocol.splits[0], (videos, videos + 1))
    part = protocols.check(protocol, protocol.rule, protocol.splits[0], (879, 879), allow_partial=True)
    assert part.partial
    assert part.problems[0].startswith(f"879 of {videos} ")


def test_1ka_wants_one_caption_a_video():
    protocol = protocols.known("msrvtt-1ka")
    with pytest.raises(DataError, match="20000 of 1000 captions, up to 20 captions a video, not one"):
        protocols.check(protocol, "one", "1k-A-test", (1000, 20_000), most_captions=20)


def of(name, **change):
    """All that a protocol wants, but for `change`."""
    protocol = protocols.known(name)
    videos, captions = protocol.expected(protocol.splits[0])
    whole = {"labels": [protocol.splits[0]] * videos, "images": videos if protocol.modality == "image" else 0}
    count = (videos, captions or protocol.about)
    return protocols.check(protocol, protocol.rule, protocol.splits[0], count, **whole | change)


@pytest.mark.parametrize("name", COUNTS)
def test_a_protocol_looks_at_the_split_and_at_the_medium(name):
    protocol = protocols.known(name)
    videos, _ = COUNTS[name]
    whole = of(name)
    assert (whole.partial, whole.unchecked, whole.split) == (False, (), protocol.splits[0])
    some = [protocol.splits[0]] * (videos - 3) + ["val"] * 2 + ["train"]
    with pytest.raises(DataError, match=f"3 labelled 'train', 'val', not '{protocol.splits[0]}'"):
        of(name, labels=some)
    part = of(name, labels=some, allow_partial=True)
    assert part.partial
    assert part.split == ", ".join(sorted({protocol.splits[0], "train", "val"}))
    wrong, right = ("images", "videos") if protocol.modality == "video" else ("videos", "images")
    with pytest.raises(DataError, match=f"1 of {videos} are {wrong}, not {right}"):
        of(name, images=1 if wrong == "images" else videos - 1)


def test_what_nobody_can_tell_is_told():
    bare = of("flickr30k", labels=[""] * 1000)
    assert (bare.partial, bare.split) == (False, "")
    assert bare.unchecked == ("whether these are of the split 'test', for want of labels",)
    assert of("flickr30k", labels=[*["test"] * 998, "", ""]).unchecked[0].startswith("whether 2 of these are of the")
    vectors = of("flickr30k", labels=None, images=None)
    assert vectors.unchecked == (*bare.unchecked, "whether these are images")
    assert of("msrvtt-1ka", labels=["test"] * 1000).split == "test"  # which a table may call it
    with pytest.raises(DataError, match="500 labelled 'val', not '1k-A-test'"):
        of("msrvtt-1ka", labels=["val"] * 500 + ["test"] * 500)


def test_own_images_are_called_images():
    assert protocols.check(None, "all", "test", (3, 9), labels=["test"] * 3, images=3).modality == "image"
    assert protocols.check(None, "all", "test", (3, 9), labels=["test"] * 3, images=2).modality == "video"


def test_what_sharding_left_out_is_expected():
    assert protocols.check(None, "all", "", (7, 9), left_out=2).problems == ("7 of 9 videos",)
    assert protocols.check(None, "all", "", (7, 9), lost=1, left_out=2, allow_partial=True).expected == (10, None)
    with pytest.raises(DataError, match="this is not MSVD: 668 of 670 videos") as told:
        protocols.check(protocols.known("msvd"), "all", "test", (668, 27_700), left_out=2)
    assert "sharding left out 2, which skipped.jsonl names" in told.value.hint


def test_own_data_are_refused_only_where_videos_cannot_be_read():
    assert protocols.check(None, "all", "", (7, 9)).expected == (7, None)
    with pytest.raises(DataError, match="this is not all of it: 7 of 8 videos"):
        protocols.check(None, "all", "", (7, 9), lost=1)
    assert protocols.check(None, "all", "", (7, 9), lost=1, allow_partial=True).problems == ("7 of 8 videos",)


def test_splits_of_actions_are_told_by_their_labels():
    ucf = protocols.known("ucf101")
    assert protocols.split_of(ucf, ["test2"] * 3) == "test2"
    for labels in (["test1", "test2"], ["train"], ["train1"]):
        with pytest.raises(DataError, match="UCF101, zero-shot has the splits test1, test2, test3"):
            protocols.split_of(ucf, labels)
    assert protocols.split_of(protocols.known("msvd"), ["val"]) == "test"
    assert protocols.split_of(None, ["b", "a", "b"]) == "a, b"
    with pytest.raises(DataError, match="these videos are labelled with nothing"):
        protocols.split_of(ucf, [""])


def test_what_is_unknown_or_does_not_fit_is_refused():
    with pytest.raises(InputError, match="the protocol 'msrvtt' is unknown"):
        protocols.known("msrvtt")
    with pytest.raises(InputError, match="the caption rule 'two' is unknown"):
        protocols.rule_of(None, "two")
    with pytest.raises(InputError, match="--captions all is not how didemo is evaluated"):
        protocols.rule_of(protocols.known("didemo"), "all")
    assert protocols.rule_of(None, None) == "all"
    assert protocols.rule_of(None, "paragraph") == "paragraph"


def test_the_command_lines_help_names_every_protocol():
    from vtr.cli import evaluate

    assert tuple(evaluate.PROTOCOLS.split()) == protocols.NAMES


def test_published_rows_are_of_known_protocols_and_cited():
    rows = [row for name in protocols.NAMES for row in published(name)]
    assert len(rows) == 12
    assert all(row.source.startswith("arXiv:") and len(row.numbers) == len(METRICS) for row in rows)
    mac = next(row for row in rows if row.model == "MAC")
    assert mac.record()["t2v"] == {"R@1": 38.9, "R@5": 63.1, "R@10": 73.9, "MdR": 3}
    assert published("own") == []
