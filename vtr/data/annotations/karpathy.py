"""The json files of Karpathy's splits, which COCO and Flickr30k share: images, their sentences and their split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.official import Files, get
from vtr.data.annotations.sample import Sample


def images(files: Files, split: str, path: Path, parts: tuple[str, ...]) -> Iterator[Sample]:
    """The images of the json at `path` that it puts into one of `parts`, as samples of `split`. Raises DataError."""
    for n, image in enumerate(get(files.json(path, dict), "images", list, str(path))):
        where = f"{path} images[{n}]"
        part = get(image, "split", str, where)
        if part not in parts:
            continue
        sentences = get(image, "sentences", list, where)
        yield files.sample(
            split,
            get(image, "filename", str, where),
            [get(sentence, "raw", str, where) for sentence in sentences],
            folder=str(image.get("filepath") or ""),
            meta={"official_split": part},
        )
