"""`synthetic`: clips of moving shapes, made as they are written; SOURCE is `seed:N`, the splits are train and test.

Needs `--limit`, for the training split is endless. Captions of the two splits never tell of the same combination.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from vtr.data import synthetic
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

SPLITS = ("train", "test")
# No combination comes twice in the test split, which has 18 379 of them: far fewer can be drawn without a long search.
MOST_TESTS = 10_000


@dataclass(frozen=True)
class Made:
    """The mp4 file of a scene, made when called: cheap to send to another process."""

    scene: synthetic.Scene

    def __call__(self) -> bytes:
        return synthetic.encode(synthetic.render(self.scene))


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """`options.limit` scenes of a split (train if none is named). Raises DataError without a seed or a limit."""
    match = re.fullmatch(r"(?:seed:)?(\d{1,18})", source)
    if match is None:
        raise DataError(f"synthetic takes a seed, not {source!r}", "write seed:0")
    split = options.split or "train"
    if split not in SPLITS:
        raise DataError(f"synthetic has no split {split!r}", f"it has: {', '.join(SPLITS)}")
    if options.limit is None:
        raise DataError("synthetic is endless", "say how many clips with --limit")
    if split == "test" and options.limit > MOST_TESTS:
        raise DataError(
            f"the test split of synthetic has no {options.limit} clips with captions of their own",
            f"ask for at most {MOST_TESTS}, or for --split train, which is endless",
        )
    samples = []
    for number, scene in enumerate(itertools.islice(synthetic.scenes(int(match[1]), split), options.limit)):
        samples.append(
            Sample(
                key=f"{split}-{number:06d}",
                video=Made(scene),
                captions=(synthetic.caption(scene),),
                split=split,
                meta=scene.describe(),
                source=f"seed:{match[1]}/{split}/{number}",
            )
        )
        options.count(len(samples))
    return samples
