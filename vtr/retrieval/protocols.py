"""The test sets that papers report on, by name: how many videos and captions, and what is a query.

A result bears a protocol's name only when what was found is what the protocol says; or, with `partial`, it says so.
Letters: N videos, C captions, K classes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vtr.errors import DataError, InputError

RULES = {
    "all": "every caption is a query; a video is found by any of its captions, and finds any of them",
    "one": "one caption a video",
    "first": "the first caption of each video, the others are left out",
    "paragraph": "all captions of a video, joined in their order, are one query",
    "classes": "videos are the queries, the names of all classes the gallery",
}
CHOICES = ("all", "first", "paragraph")  # what `own` data may be read by
ABOUT = 0.05  # a rounded count may be off by so much


@dataclass(frozen=True)
class Protocol:
    """A test set as published: `splits` of the reader `benchmark`, by the caption rule `rule`.

    `about`: how many captions there are, where papers count a few more or less of them.
    """

    name: str
    title: str
    benchmark: str
    splits: tuple[str, ...]
    rule: str
    classes: int = 0
    modality: str = "video"
    about: int | None = None

    def expected(self, split: str) -> tuple[int | None, int | None]:
        """(N, C) of one split as published, None where no count is."""
        from vtr.data.annotations import BENCHMARKS

        official = BENCHMARKS[self.benchmark].splits[split]
        captions = {"paragraph": official.videos, "one": official.videos, "classes": self.classes}
        return official.videos, captions.get(self.rule, official.captions)


_LIST = (
    Protocol("msrvtt-1ka", "MSR-VTT 1k-A", "msrvtt", ("1k-A-test",), "one"),
    Protocol("msrvtt-full", "MSR-VTT full test set", "msrvtt", ("test",), "all"),
    Protocol("msvd", "MSVD", "msvd", ("test",), "all", about=27_750),
    Protocol("lsmdc", "LSMDC", "lsmdc", ("test",), "one"),
    Protocol("didemo", "DiDeMo, paragraphs", "didemo", ("test",), "paragraph"),
    Protocol("activitynet", "ActivityNet val_1, paragraphs", "activitynet", ("val_1",), "paragraph"),
    Protocol("vatex", "VATEX public test set, English", "vatex", ("test",), "all"),
    Protocol("flickr30k", "Flickr30k, 1k test images", "flickr30k", ("test",), "all", modality="image"),
    Protocol("coco-5k", "COCO, 5k test images", "coco", ("test",), "all", modality="image"),
    Protocol("ucf101", "UCF101, zero-shot", "ucf101", ("test1", "test2", "test3"), "classes", classes=101),
    Protocol("hmdb51", "HMDB51, zero-shot", "hmdb51", ("test1", "test2", "test3"), "classes", classes=51),
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _LIST}
OWN = "own"
NAMES = (*PROTOCOLS, OWN)


@dataclass(frozen=True)
class TestSet:
    """What is evaluated on: the protocol's name, counts as published and as found, what differs, what nobody can tell.

    `split` is as the samples are labelled, "" where they are not.
    """

    __test__ = False  # pytest takes the name for a test's

    name: str
    title: str
    rule: str
    split: str
    expected: tuple[int | None, int | None]
    found: tuple[int, int]
    problems: tuple[str, ...] = ()
    modality: str = "video"
    unchecked: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether what was found is not what the protocol says."""
        return bool(self.problems)


@dataclass(frozen=True)
class Captions:
    """The captions of N samples as queries: C texts, and the sample (C,) of each."""

    texts: list[str]
    owner: list[int]


def known(name: str) -> Protocol | None:
    """The protocol of a name, None for own data. Raises InputError: no such protocol."""
    if name == OWN:
        return None
    if name not in PROTOCOLS:
        raise InputError(f"the protocol {name!r} is unknown", f"choose one of: {', '.join(NAMES)}")
    return PROTOCOLS[name]


def rule_of(protocol: Protocol | None, asked: str | None) -> str:
    """The caption rule: a protocol's own, or for own data the one that is `asked` for, `all` unless told.

    Raises InputError: no such rule, or one that is not the protocol's.
    """
    if asked is not None and asked not in CHOICES:
        raise InputError(f"the caption rule {asked!r} is unknown", f"choose one of: {', '.join(CHOICES)}")
    if protocol is None:
        return asked or "all"
    if asked not in (None, protocol.rule):
        raise InputError(
            f"--captions {asked} is not how {protocol.name} is evaluated, which is: {RULES[protocol.rule]}",
            "leave it out, or evaluate as --protocol own",
        )
    return protocol.rule


def queries(captions: Sequence[Sequence[str]], rule: str) -> Captions:
    """The texts of N samples' captions by a caption rule: `classes` gives each different one once, without owners."""
    if rule == "classes":
        return Captions(sorted({own[0] for own in captions if own}), [])
    if rule == "paragraph":
        captions = [[" ".join(own)] if own else [] for own in captions]
    elif rule == "first":
        captions = [own[:1] for own in captions]
    texts = [text for own in captions for text in own]
    return Captions(texts, [i for i, own in enumerate(captions) for _ in own])


def split_of(protocol: Protocol | None, labels: Sequence[str]) -> str:
    """Which split of a protocol is meant: its one if it has only one (`check` looks at the labels), else as labelled.

    Raises DataError: labels of several splits, or of none where a protocol has several.
    """
    found = sorted(set(labels))
    if protocol is None:
        return ", ".join(filter(None, found))
    if len(protocol.splits) == 1:
        return protocol.splits[0]
    numbers = {match[1] for label in found if (match := re.fullmatch(r"(?:test)?([123])", label))}
    if len(found) != 1 or len(numbers) != 1:
        labels = ", ".join(repr(label) if label else "with nothing" for label in found)
        raise DataError(
            f"these videos are labelled {labels}, {protocol.title} has the splits {', '.join(protocol.splits)}",
            f"shard one split at a time: vtr shard {protocol.benchmark} SOURCE DIR --split {protocol.splits[0]}",
        )
    return f"test{numbers.pop()}"


def check(
    protocol: Protocol | None,
    rule: str,
    split: str,
    found: tuple[int, int],
    *,
    most_captions: int = 1,
    labels: Sequence[str] | None = None,
    images: int | None = None,
    lost: int = 0,
    left_out: int = 0,
    allow_partial: bool = False,
) -> TestSet:
    """The test set that was found: (N, C) of `split`, labelled `labels` (N,), of which `images` are no videos.

    `labels` and `images` are None where nobody says, as of vectors; a sample without a label has "". `lost` videos
    could not be read now, `left_out` could not when they were sharded. `most_captions` is the largest count of captions
    of a video. Raises DataError: another count, split or medium than the protocol's, or lost videos, unless
    `allow_partial`. What own data lost at sharding was accepted then: it is only told.
    """
    own = found[0] + lost + left_out
    expected = (own, None) if protocol is None else protocol.expected(split)
    item = _item(protocol, found[0], images)
    problems, unchecked = [], []
    if expected[0] not in (None, found[0]):
        problems.append(f"{found[0]} of {expected[0]} {item}s")
    if expected[1] not in (None, found[1]):
        what = "classes" if rule == "classes" else "captions"
        problems.append(f"{found[1]} of {expected[1]} {what}")
    if rule == "one" and most_captions > 1:
        problems.append(f"up to {most_captions} captions a video, not one")
    if protocol is not None:
        if protocol.about and abs(found[1] - protocol.about) > ABOUT * protocol.about:
            problems.append(f"{found[1]} of about {protocol.about} captions")
        wrong, unsaid = _labels(protocol, split, found[0], labels)
        problems += wrong
        unchecked += unsaid
        if images is None:
            unchecked.append(f"whether these are {item}s")
        elif other := images if item == "video" else found[0] - images:
            problems.append(f"{other} of {found[0]} are {'images' if item == 'video' else 'videos'}, not {item}s")
    name, title = (OWN, "own data") if protocol is None else (protocol.name, protocol.title)
    if problems and not allow_partial and (protocol is not None or lost):
        left = f" (sharding left out {left_out}, which skipped.jsonl names)" if left_out else ""
        raise DataError(
            f"this is not {title if protocol else 'all of it'}: {', '.join(problems)}",
            f"mend the data{left}, or give --allow-partial: the result then says that it is of a part",
        )
    several = protocol is not None and len(protocol.splits) > 1
    label = split if several else ", ".join(sorted({*(labels or ())} - {""}))
    return TestSet(name, title, rule, label, expected, found, tuple(problems), item, tuple(unchecked))


def _item(protocol: Protocol | None, count: int, images: int | None) -> str:
    if protocol is not None:
        return protocol.modality
    return "image" if images == count else "video"


def _labels(protocol: Protocol, split: str, count: int, labels: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """What of the labels is wrong, and what nobody can tell."""
    if len(protocol.splits) > 1:  # `split_of` has seen to it
        return [], []
    # A table of one's own calls MSR-VTT's 1k-A-test just test.
    same = {split, "test"} if split.endswith("-test") else {split}
    counts = Counter([""] * count if labels is None else labels)
    other = sorted(label for label in counts if label and label not in same)
    wrong = f"{sum(counts[label] for label in other)} labelled {', '.join(map(repr, other))}, not {split!r}"
    which = "these" if counts[""] == count else f"{counts['']} of these"
    unsaid = f"whether {which} are of the split {split!r}, for want of labels"
    return [wrong] if other else [], [unsaid] if counts[""] else []
