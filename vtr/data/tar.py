"""The samples of a tar and where their bytes are, by WebDataset's rule: a key ends at a file name's first dot.

WebDataset streams; a sample that is cut, interleaved with another or named twice comes out of it halved or not at all,
in silence. Here only whole samples are kept and everything else is reported.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vtr.data.tarheaders import DAMAGE, MAX_MEMBER, Entry, Problem, read_entries

# fmt: off
VIDEO_EXTS = frozenset((
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "flv", "ts", "mts", "m2ts", "mpg", "mpeg", "vob", "wmv", "3gp", "ogv",
    "gif",
))
# fmt: on
IMAGE_EXTS = frozenset(("jpg", "jpeg", "png", "webp"))
CAPTION_EXTS = frozenset(("txt", "json", "caption"))


@dataclass(slots=True)
class TarSample:
    """One sample: `members` maps each lower-cased extension to its place, in the order of the tar."""

    key: str
    members: dict[str, Entry] = field(default_factory=dict)

    def has(self, exts: frozenset[str]) -> bool:
        """Whether a member's last extension is one of `exts` (`v1.mp4` and `0003.jpg` count as mp4 and jpg)."""
        return any(ext.rsplit(".", 1)[-1] in exts for ext in self.members)


@dataclass(slots=True)
class TarScan:
    """What `scan` found: the whole samples in the order of the tar, and all that is wrong."""

    samples: list[TarSample]
    problems: list[Problem]


def scan(path: Path, max_member: int = MAX_MEMBER) -> TarScan:
    """The whole samples of the tar at `path`, from its headers alone: each has a video or an image, and a caption.

    Problems that cost a sample: `incomplete` `duplicate-member` `key-not-contiguous`, and what `read_entries` reports.
    Problems that cost only a member: `no-key` `ignored`. A warning: `several-videos` (a key was cut at its first dot).
    Raises DataError as `read_entries` does.
    """
    entries, problems = read_entries(path, max_member)
    samples: dict[str, TarSample] = {}
    broken: set[str] = set()
    doubtful: set[str] = set()
    ignored: Counter[str] = Counter()
    last = ""
    for entry in entries:
        key, ext = split_name(entry.name)
        if not key:
            problems.append(Problem("no-key", entry.name, f"{entry.name!r} has no key or no extension"))
            continue
        if entry.after_damage:
            doubtful |= {last, key}
        if key != last and key in samples:
            broken.add(key)
            problems.append(Problem("key-not-contiguous", key, f"the members of {key!r} do not stand side by side"))
        sample, last = samples.setdefault(key, TarSample(key)), key
        if ext.rsplit(".", 1)[-1] not in VIDEO_EXTS | IMAGE_EXTS | CAPTION_EXTS:
            ignored[ext] += 1
        elif ext in sample.members:
            broken.add(key)
            problems.append(Problem("duplicate-member", key, f"{entry.name!r} stands there twice"))
        else:
            sample.members[ext] = entry
    if any(problem.kind in DAMAGE for problem in problems):
        doubtful.add(last)
    for ext, count in ignored.items():
        problems.append(Problem("ignored", ext, f"{count} members .{ext} are never opened", count))
    whole = [sample for sample in samples.values() if sample.key not in broken]
    return TarScan(_complete(whole, doubtful, problems), problems)


def split_name(name: str) -> tuple[str, str]:
    """(key, lower-cased extension) of a member's name, as WebDataset splits it; ("", "") where it finds no key."""
    match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name)
    return (match[1], match[2].lower()) if match else ("", "")


def _complete(samples: list[TarSample], doubtful: set[str], problems: list[Problem]) -> list[TarSample]:
    """`samples` without those that lack a part; one beside damage must have all that the tar's samples usually have."""
    sets = Counter(frozenset(sample.members) for sample in samples if sample.key not in doubtful)
    usual = sets.most_common(1)[0][0] if sets else frozenset[str]()
    kept = []
    for sample in samples:
        lacks = [
            what
            for what, exts in (("video or image", VIDEO_EXTS | IMAGE_EXTS), ("caption", CAPTION_EXTS))
            if not sample.has(exts)
        ]
        if sample.key in doubtful:
            lacks += sorted(usual - set(sample.members))
        if lacks:
            problems.append(Problem("incomplete", sample.key, f"{sample.key!r} has no {' and no '.join(lacks)}"))
            continue
        videos = [ext for ext in sample.members if ext.rsplit(".", 1)[-1] in VIDEO_EXTS]
        if len(videos) > 1:
            message = f"{sample.key!r} has {', '.join(videos)}: were its members named with a dot in the key?"
            problems.append(Problem("several-videos", sample.key, message))
        kept.append(sample)
    return kept
