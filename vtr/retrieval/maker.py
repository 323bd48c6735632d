"""Parts to rows: each video or span with its vector, its captions and its times; captions with theirs.

A part is embedded in batches of its own, so that its bytes depend on nothing but itself: not on which process has it,
nor on what is embedded beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.data.clipping import Clipped, Clips, clip_videos
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, ClipShape, batches, workers_watched
from vtr.data.spans import Segments
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import WorkError
from vtr.models.embedder import Embedder
from vtr.retrieval.embed import Vectors, embed_captions
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.plan import FILES, SHARD, TEXT_LINES, EmbeddingPlan, Part, printable
from vtr.retrieval.sources import captions_beside, originals, samples_of

Skipped = list[dict[str, str]]


@dataclass(frozen=True)
class Maker:
    """The model and how it is used. `aside` is where decoded clips may be kept for a while."""

    embedder: Embedder
    tokenizer: CaptionTokenizer
    shape: ClipShape
    aside: Path
    batch: int = 32
    workers: int = 0
    time_limit_s: float = 300.0
    progress: Callable[[int], None] | None = None

    def parts(self, plan: EmbeddingPlan, numbers: Sequence[int]) -> Iterator[tuple[int, Embeddings, Skipped]]:
        """(number, rows, what was skipped) of each part of `plan` that is asked for, in turn."""
        segments = Segments.parse(plan.options.segments) if plan.options.segments else None

        def alike(number: int) -> tuple[str, str, bool]:
            part = plan.parts[number]
            return part.kind, part.root, bool(part.items)

        for (kind, root, held), several in groupby(numbers, alike):
            own = list(several)
            parts = [plan.parts[number] for number in own]
            if kind == TEXT_LINES or not held:
                made: Iterator[tuple[_Rows, Skipped]] = map(self._text, parts)
            elif kind == SHARD and segments is None:
                made = self._whole_samples(root, parts)
            else:
                made = self._spans(root, parts, segments)
            for number, part, (rows, skipped) in zip(own, parts, made, strict=True):
                captions = rows.texts if plan.options.captions or part.kind == TEXT_LINES else []
                yield number, self._embeddings(rows, captions, dict(plan.meta)), skipped

    def _whole_samples(self, root: str, parts: list[Part]) -> Iterator[tuple[_Rows, Skipped]]:
        """Samples of a shard directory, decoded by the loader: the same clips that training and scoring see."""
        index = ShardIndex(root)
        held = [samples_of(index, part) for part in parts]
        slots = [_slots(index, samples, self.batch) for samples in held]
        dataset = ClipDataset(index, self.shape)
        found = batches(dataset, chain(*slots), self.tokenizer, self.workers, time_limit_s=self.time_limit_s)
        with workers_watched():
            for part, samples, own in zip(parts, held, slots, strict=True):
                vectors: list[Vectors] = []
                for _ in own:
                    clips, errors = next(found)
                    if errors:
                        raise _damaged(index, errors[0])
                    vectors.append(self._embed(clips.clips))
                rows = _Rows()
                durations = index.facts("duration_s")[samples.start : samples.stop]
                named = originals(index, part.items[0][0], samples)
                for i, name, duration in zip(samples, named, durations, strict=True):
                    rows.add(index.key(i), name, np.array([[0.0, duration]]), index.captions(i))
                rows.vectors = np.concatenate(vectors)
                yield rows, []

    def _spans(self, root: str, parts: list[Part], segments: Segments | None) -> Iterator[tuple[_Rows, Skipped]]:
        """Video files, or spans of samples, decoded by watched processes."""
        index = ShardIndex(root) if parts[0].kind == SHARD else None
        named = [list(_items(part, root, index)) for part in parts]
        clipped = clip_videos(
            [video for items in named for video, *_ in items],
            self.shape, segments, self.aside, workers=self.workers, time_limit_s=self.time_limit_s,
        )  # fmt: skip
        for items in named:
            rows, skipped = _Rows(), Skipped()

            def clips(items: list[Any] = items, rows: _Rows = rows, skipped: Skipped = skipped) -> Iterator[Clipped]:
                for _, name, source, captions in items:
                    one = next(clipped)
                    if one.error is None:
                        rows.add(name, source, one.spans, captions)
                        yield one
                    elif index is not None:
                        raise _damaged(index, (name, *one.error))
                    else:
                        skipped.append({"id": name, "kind": one.error[0], "message": printable(one.error[1])})

            rows.vectors = self._batched(clips())
            yield rows, skipped

    def _text(self, part: Part) -> tuple[_Rows, Skipped]:
        rows = _Rows()
        source = printable(Path(part.root).name)
        rows.texts = [(name, caption, source) for name, caption in part.items]
        rows.vectors = np.empty((0, self._width), np.float32)
        return rows, []

    @property
    def _width(self) -> int:
        """E, which every kind of model has by this name."""
        return self.embedder.model.embed_dim

    def _batched(self, found: Iterable[Clipped]) -> Vectors:
        """(R,E): the vectors of all spans, `batch` clips at a time across videos."""
        vectors: list[Vectors] = [np.empty((0, self._width), np.float32)]
        waiting: list[Clips] = []
        count = 0

        def embed() -> None:
            nonlocal count
            if waiting:
                vectors.append(self._embed(torch.from_numpy(np.concatenate(waiting))))
            waiting.clear()
            count = 0

        for one in found:
            at = 0
            if waiting and waiting[0].shape[1:] != one.clips.shape[1:]:  # an image among videos has fewer frames
                embed()
            while at < len(one.clips):
                taken = np.array(one.clips[at : at + self.batch - count])
                waiting.append(taken)
                at, count = at + len(taken), count + len(taken)
                if count == self.batch:
                    embed()
        embed()
        return np.concatenate(vectors)

    def _embed(self, clips: torch.Tensor) -> Vectors:
        vectors: Vectors = self.embedder.embed_video(clips).cpu().numpy()
        if self.progress:
            self.progress(len(clips))
        return vectors

    def _embeddings(self, rows: _Rows, texts: list[tuple[str, str, str]], meta: dict[str, str]) -> Embeddings:
        vectors = rows.vectors
        if texts:
            own = embed_captions(self.embedder, self.tokenizer, [caption for _, caption, _ in texts])
            vectors = np.concatenate([vectors, own])
        nothing = np.full((len(texts), 2), np.nan)
        spans = np.concatenate([*rows.spans, nothing]) if rows.spans or texts else np.empty((0, 2))
        return Embeddings(
            ids=rows.ids + [name for name, _, _ in texts],
            modality=[VIDEO] * len(rows.ids) + [TEXT] * len(texts),
            source=rows.sources + [source for _, _, source in texts],
            start_s=spans[:, 0],
            end_s=spans[:, 1],
            captions=[*rows.captions, *(caption for _, caption, _ in texts)],
            vectors=vectors,
            meta=meta,
        )


class _Rows:
    """The rows of one part while they are gathered."""

    vectors: Vectors

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.captions: list[str] = []
        self.spans: list[NDArray[np.float64]] = []
        self.texts: list[tuple[str, str, str]] = []  # (id, caption, source)

    def add(self, name: str, source: str, spans: NDArray[np.float64], captions: Sequence[str]) -> None:
        """A video, with as many rows as it has spans."""
        self.ids += [name] * len(spans)
        self.sources += [source] * len(spans)
        self.captions += [" | ".join(captions)] * len(spans)
        self.spans.append(spans)
        self.texts += [(name, caption, source) for caption in captions]


def _items(part: Part, root: str, index: ShardIndex | None) -> Iterator[tuple[Any, str, str, list[str]]]:
    """(video, id, source, captions) of each video of a part."""
    if part.kind == FILES or index is None:
        for name, *_ in part.items:
            yield Path(root, name), printable(name), printable(name), captions_beside(Path(root, name))
        return
    samples = samples_of(index, part)
    for i, name in zip(samples, originals(index, part.items[0][0], samples), strict=True):
        yield (Path(root), i), index.key(i), name, index.captions(i)


def _slots(index: ShardIndex, samples: range, batch: int) -> list[list[tuple[int, int]]]:
    """The samples of a part in batches; images, whose clips are shorter, and videos never in one."""
    kinds = groupby(samples, lambda i: index.fact(i, "decoder") == "image")
    runs = [list(run) for _, run in kinds]
    return [[(0, i) for i in run[at : at + batch]] for run in runs for at in range(0, len(run), batch)]


def _damaged(index: ShardIndex, error: tuple[str, ...]) -> WorkError:
    key, kind, message = error
    return WorkError(
        f"{key} in {index.root} cannot be read ({kind}): {message}", "make the shards anew: this video is damaged"
    )
