"""What was found of a data set beside what it should hold, so that a part is not taken for the whole."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vtr.data.annotations.official import Benchmark, Split
from vtr.data.annotations.sample import JSON, ReaderOptions, Sample

NAMED = 5  # missing files that a warning names
ROUNDED = 0.95  # of a rounded official count: less than that is a part


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Videos and captions of one split, as the annotations have them and as published (None: not, or not exactly)."""

    split: str
    videos: int
    captions: int
    official_videos: int | None = None
    official_captions: int | None = None
    rounded: bool = False

    def agrees(self) -> bool:
        """Whether nothing that is published is contradicted."""
        pairs = ((self.videos, self.official_videos), (self.captions, self.official_captions))
        return all(
            official is None or (found >= ROUNDED * official if self.rounded else found == official)
            for found, official in pairs
        )


@dataclass(frozen=True, slots=True)
class Census:
    """The splits that were asked for, counted, and the media files that are not there.

    `limited`: only the first samples were asked for, so counts say nothing.
    """

    title: str
    splits: tuple[SplitCount, ...]
    samples: int
    missing: int
    first_missing: tuple[str, ...]
    limited: bool = False

    def warnings(self) -> list[str]:
        """One line for each thing that is not as published; none when all is there."""
        texts = (
            [] if self.limited else [_disagreement(self.title, count) for count in self.splits if not count.agrees()]
        )
        if self.missing:
            more = ", ..." if self.missing > len(self.first_missing) else ""
            texts.append(
                f"{self.title}: {self.missing} of {self.samples} media files are not there and will be skipped: "
                f"{', '.join(self.first_missing)}{more}"
            )
        return texts

    def record(self) -> dict[str, JSON]:
        """The same as plain data, for a manifest."""
        return {
            "splits": [asdict(count) for count in self.splits],
            "missing": self.missing,
            "first_missing": list(self.first_missing),
            "limited": self.limited,
            "warnings": list(self.warnings()),
        }


def count(
    benchmark: Benchmark | None, name: str, source: str, options: ReaderOptions, samples: Sequence[Sample]
) -> Census:
    """The census of `samples`, which the reader `name` found in `source`; without a benchmark nothing is official.

    Looks at the disk for each media file. Raises DataError as `Benchmark.asked` does.
    """
    videos = Counter(sample.split for sample in samples)
    captions: Counter[str] = Counter()
    for sample in samples:
        captions[sample.split] += len(sample.captions)
    asked = tuple(videos) if benchmark is None else benchmark.asked(source, options.split)
    counts = []
    for split in asked:
        official = Split(()) if benchmark is None else benchmark.splits[split]
        published = official.videos, official.captions, official.about
        counts.append(SplitCount(split, videos[split], captions[split], *published))
    # os.path.isfile, unlike Path.is_file, takes a name that no file can have for one that is not there.
    missing = [
        sample.source
        for sample in samples
        if isinstance(sample.video, Path) and not os.path.isfile(sample.video)  # noqa: PTH113
    ]
    return Census(
        title=name if benchmark is None else benchmark.title,
        splits=tuple(counts),
        samples=len(samples),
        missing=len(missing),
        first_missing=tuple(missing[:NAMED]),
        limited=options.limit is not None,
    )


def _disagreement(title: str, found: SplitCount) -> str:
    official = "published: about" if found.rounded else "published:"
    parts = [
        f"{number} {what} ({official} {expected})"
        for number, expected, what in (
            (found.videos, found.official_videos, "videos"),
            (found.captions, found.official_captions, "captions"),
        )
        if expected is not None
    ]
    return f"{title} {found.split} is not the whole official set: the annotations have {' and '.join(parts)}"
