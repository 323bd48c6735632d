"""Shards, or embeddings, to what is scored: vectors by the caption rule, checked and counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vtr.checkpoint import sha256
from vtr.data.ours import MANIFEST
from vtr.errors import DataError, InputError
from vtr.evaluation.asked import Asked
from vtr.evaluation.lost import beside, left_out
from vtr.evaluation.match import matched, matcher
from vtr.plaintext import warn
from vtr.retrieval import protocols, rerank, score
from vtr.retrieval.paired import Paired

if TYPE_CHECKING:
    from vtr.build import Loaded
    from vtr.data.index import ShardIndex
    from vtr.retrieval.protocols import Protocol, TestSet


@dataclass(frozen=True)
class EmbeddedSet:
    """One shard directory, or one set of embeddings, ready to be scored, and what the record says of it."""

    scored: score.PairedSplit
    found: TestSet
    index: ShardIndex | None = None  # where the videos' frames are
    rows: NDArray[np.int64] | None = None  # the videos' numbers in it
    lost: dict[str, int] = field(default_factory=dict)  # kinds of undecodable videos
    lost_names: tuple[str, ...] = ()
    manifest_sha256: str | None = None
    captions_full: int = 0
    encode_s: float = 0.0


def embedded(
    loaded: Loaded,
    protocol: Protocol | None,
    at: Path,
    asked: Asked,
    batch: int,
    workers: int,
    progress: Callable[[int], None] | None,
    *,
    together: bool = False,
) -> EmbeddedSet:
    """The videos and captions of the shards `at`, embedded. Raises what `of_model` does."""
    from vtr.build import clip_shape
    from vtr.data.index import IMAGE, ShardIndex
    from vtr.data.manifest import limits_of_index
    from vtr.retrieval.embed import embed_captions
    from vtr.retrieval.views import TRUE, embed_views

    index = ShardIndex.open(at)
    for line in () if together else limits_of_index(index):  # in a training it has been said
        warn(line)
    rule = protocols.rule_of(protocol, asked.captions)
    by = matcher(loaded) if asked.vtm else None  # what has none is refused before the work
    own = [index.captions(i) for i in range(len(index))]
    labels, still = index.facts("split"), index.facts("decoder") == IMAGE
    split = protocols.split_of(protocol, labels.tolist())
    names, kinds = left_out(index)

    def check(rows: NDArray[np.int64], captions: list[list[str]], lost: int = 0) -> TestSet:
        return protocols.check(
            protocol, rule, split, _counts(rule, captions), most_captions=max(map(len, captions)),
            labels=labels[rows].tolist(), images=int(still[rows].sum()), lost=lost, left_out=kinds.total(),
            allow_partial=asked.allow_partial,
        )  # fmt: skip

    check(np.arange(len(index)), own)  # before the work, and again after it: a video may turn out not to be readable
    seen = embed_views(
        loaded.embedder, index, clip_shape(loaded.config), loaded.tokenizer,
        probe=asked.probe, leave_out=asked.allow_partial, batch=batch, workers=workers, progress=progress,
        together=together,
    )  # fmt: skip
    own = [own[i] for i in seen.rows]
    found = check(seen.rows, own, len(seen.unread))
    queries = protocols.queries(own, rule)
    texts = [asked.prompt.replace("{}", text) if rule == "classes" else text for text in queries.texts]
    begin = time.perf_counter()
    vectors = embed_captions(loaded.embedder, loaded.tokenizer, texts, together=together)
    spent = time.perf_counter() - begin
    keys = [index.key(int(i)) for i in seen.rows]
    views = {name: rows for name, rows in seen.vectors.items() if name != TRUE}
    if rule == "classes":
        place = {name: number for number, name in enumerate(queries.texts)}
        label = np.array([place[several[0]] for several in own])
        pair = Paired(seen.vectors[TRUE], vectors, label, queries.texts, keys)
    else:
        pair = Paired(vectors, seen.vectors[TRUE], np.array(queries.owner), keys, queries.texts)
    matches = None
    if by is not None:
        matches, more = matched(
            loaded, by, pair, index, seen.rows, asked.vtm_top or rerank.TOP, batch, workers, progress
        )
        spent += more
    manifest = beside(index, MANIFEST)
    return EmbeddedSet(
        scored=score.PairedSplit(pair, found.split, rule == "classes", views, matches),
        found=found,
        index=index,
        rows=seen.rows,
        lost=dict(Counter(kind for _, kind in seen.unread) + kinds),
        lost_names=(*(name for name, _ in seen.unread if name), *names),
        manifest_sha256=None if manifest is None else sha256(manifest),
        captions_full=_full(loaded, texts),
        encode_s=seen.encode_s + spent,
    )


def given(found: Paired, protocol: Protocol | None, asked: Asked, shards: Path | None = None) -> EmbeddedSet:
    """Embeddings as they are: the rule is the protocol's, but nothing can be joined or left out any more.

    `shards` of the same ids say of which split they are, and whether they are videos, and have a report's pictures.
    """
    rule = protocols.rule_of(protocol, None)
    captions = np.bincount(found.owner, minlength=len(found.video))
    most = int(captions.max())
    if protocol is not None and len(protocol.splits) > 1:
        raise InputError(
            f"{protocol.name} needs the split and the names of the classes, which embeddings do not have",
            "give a run and --shards",
        )
    if rule == "paragraph" and most > 1:
        raise DataError(
            f"a video has {most} texts, paragraph retrieval has one", "embed all captions of a video as one text"
        )
    split = protocol.splits[0] if protocol else ""
    counts = len(found.video), len(found.text)
    index, rows, labels, images = None, None, None, None
    if shards is not None:
        from vtr.data.index import IMAGE, ShardIndex

        index = ShardIndex.open(shards)
        row_of = {index.key(i): i for i in range(len(index))}
        rows = np.array([row_of.get(name, -1) for name in found.ids])
        if not (rows >= 0).any():
            raise DataError(
                f"{shards} has none of the ids of these embeddings: not {found.ids[0]!r}, but {index.key(0)!r}",
                "give the shards that were embedded, or leave out --shards",
            )
        labels = np.where(rows >= 0, index.facts("split")[rows], "").tolist()
        images = int((index.facts("decoder")[rows] == IMAGE).sum()) if (rows >= 0).all() else None
    checked = protocols.check(
        protocol, rule, split, counts, most_captions=most, labels=labels, images=images,
        allow_partial=asked.allow_partial,
    )  # fmt: skip
    return EmbeddedSet(score.PairedSplit(found, checked.split), checked, index, rows)


def _counts(rule: str, captions: list[list[str]]) -> tuple[int, int]:
    return len(captions), len(protocols.queries(captions, rule).texts)


def _full(loaded: Loaded, texts: list[str]) -> int:
    """Texts that take all the tokens there are."""
    full = 0
    for at in range(0, len(texts), 4096):
        attention = loaded.tokenizer(texts[at : at + 4096]).attention
        full += int((attention.sum(axis=1) >= loaded.tokenizer.length).sum())
    return full
