"""The videos of embeddings, ready to be searched by vectors: rows become hits."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr.atomic import refuse_links
from vtr.errors import DataError
from vtr.retrieval.exact import Floats
from vtr.retrieval.indexes import make_index
from vtr.retrieval.mapped import read_videos
from vtr.retrieval.origins import Origins
from vtr.retrieval.plan import printable

INDEX_FOLDER = ".index"
Hit = dict[str, Any]
Video = Callable[[int], Hashable]


class Library:
    """N rows of videos or spans. `rows` says what each is of; `search` finds the nearest.

    Raises DataError: no embeddings, captions alone, files of different models (and which is which), a link where
    indexes are kept.
    """

    def __init__(self, path: Path, index: str = "exact", at: str | None = None) -> None:
        self.path = path
        folder = (path if path.is_dir() else path.parent) / INDEX_FOLDER
        refuse_links(folder.parent, INDEX_FOLDER)
        self.rows = read_videos(path, folder)
        if not len(self.rows):
            raise DataError(f"{path} holds no videos to find", "embed some: vtr embed RUN --videos DIR --out DIR")
        self._origins = Origins(path, self.rows)
        self._index = make_index(index, self.rows.vectors, at or str(folder), alone=at is None)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def model(self) -> str:
        """The run that made the embeddings, as they name it."""
        return self.rows.meta.get("model", "")

    @property
    def weights_sha256(self) -> str:
        """Its weights."""
        return self.rows.meta.get("weights_sha256", "")

    def vector(self, row: int) -> Floats:
        """(1,E) the vector of one row."""
        return self.rows.vectors[row : row + 1]

    def search(self, vectors: Floats, k: int) -> list[list[Hit]]:
        """For each of (Q,E) the best k: rank, score (cosine), row, id, source, start_s, end_s, caption."""
        scores, places = self._index.search(vectors, k)
        scores = np.clip(scores, -1, 1)  # a row stored as float16 may be longer than 1 by 2**-11
        return [
            [self.hit(int(row), float(score), rank) for rank, (score, row) in enumerate(zip(*of, strict=True), start=1)]
            for of in zip(scores, places, strict=True)
        ]

    def video(self, row: int) -> tuple[str, ...]:
        """What tells the video of a row from the others."""
        return self._origins.video(row)

    def hit(self, row: int, score: float, rank: int) -> Hit:
        """One row as plain data. `source` is a video file where one was embedded, else what its shard says."""
        rows, file = self.rows, self._origins.file(row)
        caption = rows.captions[row]
        return {
            "rank": rank,
            "score": score,
            "id": rows.ids[row],
            "source": rows.source[row] if file is None else printable(file),
            "start_s": _seconds(rows.start_s[row]),
            "end_s": _seconds(rows.end_s[row]),
            "caption": caption if isinstance(caption, str) else " | ".join(caption),
            "row": row,
        }


def by_video(hits: Sequence[Hit], k: int, video: Video, moments: int = 3) -> list[Hit]:
    """The best hit of each of at most k videos, with the next best others of it as `moments`, [{start_s, score}].

    `video` tells the videos of rows apart, as `Library.video` does.
    """
    best: dict[Hashable, Hit] = {}
    for hit in hits:
        key = video(hit["row"])
        if key in best:
            if len(best[key]["moments"]) < moments:
                best[key]["moments"].append({name: hit[name] for name in ("row", "score", "start_s", "end_s")})
        elif len(best) < k:
            best[key] = {**hit, "rank": len(best) + 1, "moments": []}
    return list(best.values())


def _seconds(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
