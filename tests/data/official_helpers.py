"""What the tests of the official readers share: files made by name, and samples said briefly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vtr.data.annotations import ReaderOptions, Sample, read, take_census


def put(root: Path, *names: str) -> None:
    """Empty files, for readers that look for media by name and do not open them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def put_text(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")


def put_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def brief(samples: list[Sample]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(key, split, captions) of each."""
    return [(sample.key, sample.split, sample.captions) for sample in samples]


def found(samples: list[Sample]) -> list[bool]:
    """Whether each one's media file is there."""
    return [isinstance(sample.video, Path) and sample.video.is_file() for sample in samples]


def warnings(reader: str, source: Path, **options: Any) -> list[str]:
    """What the census says of all that the reader finds."""
    asked = ReaderOptions(**options)
    return take_census(reader, str(source), asked, read(reader, str(source), asked)).warnings()
