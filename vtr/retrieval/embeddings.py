"""Embeddings of videos and captions in memory: one row each, with what the row is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError
from vtr.retrieval.exact import Floats, Rows

VIDEO, TEXT = "video", "text"


@dataclass(frozen=True)
class Embeddings:
    """N rows of E dimensions. A text row carries the id of the video that it describes; see `pairs`."""

    ids: list[str]
    modality: list[str]  # "video" or "text"
    source: list[str]  # the shard or the file that the row was made from; "" where unknown
    start_s: NDArray[np.float64]  # (N,) seconds; NaN where a row is of no span
    end_s: NDArray[np.float64]
    captions: list[str | list[str]]
    vectors: Floats  # (N, E)
    meta: dict[str, str]  # model, weights_sha256, preprocessing, frames; version, dim, normalized once stored

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype.kind != "f":
            raise DataError(
                f"embeddings have shape {self.vectors.shape} and type {self.vectors.dtype}, "
                "wanted floats (rows, dimensions)"
            )
        rows = len(self.vectors)
        for field in fields(self):
            length = rows if field.name == "meta" else len(getattr(self, field.name))
            if length != rows:
                raise DataError(f"embeddings have {rows} vectors but {length} entries in {field.name}")
        unknown = set(self.modality) - {VIDEO, TEXT}
        if unknown:
            raise DataError(f"modality is {min(unknown)!r}, wanted '{VIDEO}' or '{TEXT}'")

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Sequence[int] | Rows) -> Embeddings:
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Embeddings(
            ids=[self.ids[row] for row in index],
            modality=[self.modality[row] for row in index],
            source=[self.source[row] for row in index],
            start_s=self.start_s[index],
            end_s=self.end_s[index],
            captions=[self.captions[row] for row in index],
            vectors=self.vectors[index],
            meta=dict(self.meta),
        )

    def only(self, modality: str) -> Embeddings:
        """The rows of one modality, in their order."""
        if all(value == modality for value in self.modality):
            return self  # no copy: the vectors may be a map of a file larger than memory
        return self.take([row for row, value in enumerate(self.modality) if value == modality])

    def pairs(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Text (C, E), video (N, E), and for each caption the row (C,) of its video: what the metrics take.

        Raises DataError: two videos of one id, a caption whose id is no video's.
        """
        text, video = self.only(TEXT), self.only(VIDEO)
        row_of = {name: row for row, name in enumerate(video.ids)}
        if len(row_of) < len(video):
            twice = next(name for row, name in enumerate(video.ids) if row_of[name] != row)
            raise DataError(
                f"video id {twice!r} stands on more than one row, so a caption's video is not known",
                "give each video one row and an id of its own",
            )
        lost = [name for name in text.ids if name not in row_of]
        if lost:
            raise DataError(
                f"{len(lost)} of {len(text)} captions belong to no video here, the first has id {lost[0]!r}",
                "a caption's id is the id of the video that it describes",
            )
        return text.vectors, video.vectors, np.array([row_of[name] for name in text.ids], dtype=np.int64)


def concatenated(parts: Sequence[Embeddings], meta: dict[str, str]) -> Embeddings:
    """The rows of one or more parts of equal dimension, one part after the other."""
    return Embeddings(
        ids=[name for part in parts for name in part.ids],
        modality=[name for part in parts for name in part.modality],
        source=[name for part in parts for name in part.source],
        start_s=np.concatenate([part.start_s for part in parts]),
        end_s=np.concatenate([part.end_s for part in parts]),
        captions=[caption for part in parts for caption in part.captions],
        # A lone part keeps its vectors as they are: they may be a map of a file larger than memory.
        vectors=parts[0].vectors if len(parts) == 1 else np.concatenate([part.vectors for part in parts]),
        meta=meta,
    )
