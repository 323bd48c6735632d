"""Ranks of a test set in every column that was asked for: raw, and each trick beside it, never in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError
from vtr.retrieval import stats
from vtr.retrieval.exact import Floats, Rows
from vtr.retrieval.hubness import DSL_BETA, QB_BETA, dual_softmax, qb_norm
from vtr.retrieval.metrics import Ranks, both_directions, summarize, text_to_video_ranks, video_to_text_ranks
from vtr.retrieval.paired import Paired
from vtr.retrieval.rerank import Candidates, reranked

RAW, QB_NORM, DSL, VTM = "raw", "+QB-Norm", "+DSL", "+VTM rerank"
ASSUMES = {
    RAW: "nothing beyond the query and the gallery",
    QB_NORM: f"a bank of other captions (dynamic inverted softmax, beta {QB_BETA:g}); text to video alone",
    DSL: f"all test queries at once, one right answer each (dual softmax, beta {DSL_BETA:g}); transductive",
    VTM: "the model again, on each query with each of its first {top} candidates: no embeddings alone",
}
ACTIONS = {"R@1": "top-1", "R@5": "top-5"}


@dataclass(frozen=True)
class Matches:
    """Each direction's first `top` candidates of every query, with the scores (P,) of a matching head."""

    top: int
    found: Mapping[str, tuple[Candidates, NDArray[np.floating[Any]]]]


@dataclass(frozen=True)
class PairedSplit:
    """One split's test set to be scored.

    With `actions`, the queries are videos and the gallery class names: `paired` then has videos for its texts and
    classes for its videos. `views` are other vectors for the videos, of the temporal probe; `matches` of a reranker.
    """

    paired: Paired
    split: str = ""
    actions: bool = False
    views: Mapping[str, Floats] = field(default_factory=dict)
    matches: Matches | None = None


@dataclass(frozen=True)
class Scored:
    """One column: {"t2v": Ranks, "v2t": Ranks} of each part, and for each direction the cluster of each query."""

    name: str
    ranks: list[dict[str, Ranks]]
    clusters: list[dict[str, Rows]]
    actions: bool = False
    top: int = 0  # how many candidates a query has, of a reranked column

    @property
    def assumes(self) -> str:
        """What this column looks at."""
        return ASSUMES[self.name].replace("{top}", str(self.top))

    def numbers(self) -> dict[str, dict[str, float]]:
        """{"t2v": {"R@1": ...}, "v2t": ...}: of several parts the mean."""
        found: dict[str, dict[str, float]] = {}
        for way in self.ranks[0]:
            each = [self._named(summarize(part[way])) for part in self.ranks]
            found[way] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        return found

    def intervals(self, seed: int, draws: int) -> dict[str, dict[str, list[float]]]:
        """{"t2v": {"R@1": [low, high], ...}, ...}; the parts are drawn apart and their means taken."""
        found = {}
        for way in self.ranks[0]:
            each = [
                stats.drawn(part[way], cluster[way], seed=seed + number, draws=draws)
                for number, (part, cluster) in enumerate(zip(self.ranks, self.clusters, strict=True))
            ]
            means = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
            found[way] = self._named({name: list(pair) for name, pair in stats.bounds(means).items()})
        return found

    def _named(self, numbers: dict[str, Any]) -> dict[str, Any]:
        if not self.actions:
            return numbers
        return {theirs: numbers[ours] for ours, theirs in ACTIONS.items()}


def score(parts: list[PairedSplit], *, bank: Floats | None = None, dsl: bool = False) -> list[Scored]:
    """`raw` first, then +QB-Norm if there is a `bank` (K, E) of texts, +DSL if asked for, +VTM rerank of matches.

    Tricks are of retrieval: among class names there are none. Raises DataError: what the metrics refuse.
    """
    actions = parts[0].actions
    found = [Scored(RAW, [_raw(part) for part in parts], [_clusters(part) for part in parts], actions)]
    if bank is not None:
        ranks = [{"t2v": qb_norm(p.paired.text, p.paired.video, p.paired.owner, bank)} for p in parts]
        found.append(Scored(QB_NORM, ranks, found[0].clusters))
    if dsl:
        if not all(part.paired.captioned.all() for part in parts):
            raise DataError(
                "DSL wants a right answer for every video, some here have no text", "leave out --dsl, or those videos"
            )
        both = [dual_softmax(p.paired.text, p.paired.video, p.paired.owner) for p in parts]
        found.append(Scored(DSL, both, found[0].clusters))
    if parts[0].matches is not None:
        raw = found[0].ranks
        again = [_reranked(part, ranks) for part, ranks in zip(parts, raw, strict=True)]
        found.append(Scored(VTM, again, found[0].clusters, top=parts[0].matches.top))
    return found


def probe(parts: list[PairedSplit]) -> list[Scored]:
    """The raw column again, for each of the other views of the videos."""
    found = []
    for name in parts[0].views:
        seen = [_with_view(part, part.views[name]) for part in parts]
        clusters = [_clusters(part) for part in seen]
        found.append(Scored(name, [_raw(part) for part in seen], clusters, parts[0].actions))
    return found


def _raw(part: PairedSplit) -> dict[str, Ranks]:
    paired = part.paired
    if part.actions:
        return {"v2t": text_to_video_ranks(paired.text, paired.video, paired.owner)}
    if paired.captioned.all():
        return both_directions(paired.text, paired.video, paired.owner)
    described = paired.described()
    return {
        "t2v": text_to_video_ranks(paired.text, paired.video, paired.owner),
        "v2t": video_to_text_ranks(described.text, described.video, described.owner),
    }


def _reranked(part: PairedSplit, raw: dict[str, Ranks]) -> dict[str, Ranks]:
    assert part.matches is not None  # noqa: S101
    (seen, t2v), (heard, v2t) = part.matches.found["t2v"], part.matches.found["v2t"]
    owner, asking = part.paired.owner, np.flatnonzero(part.paired.captioned)[heard.query]
    return {
        "t2v": reranked(raw["t2v"], seen, t2v, owner[seen.query] == seen.item),
        "v2t": reranked(raw["v2t"], heard, v2t, owner[heard.item] == asking),
    }


def _clusters(part: PairedSplit) -> dict[str, Rows]:
    paired = part.paired
    if part.actions:
        return {"v2t": np.arange(len(paired.text))}
    return {"t2v": paired.owner, "v2t": np.flatnonzero(paired.captioned)}


def _with_view(part: PairedSplit, vectors: Floats) -> PairedSplit:
    paired = replace(part.paired, text=vectors) if part.actions else replace(part.paired, video=vectors)
    return replace(part, paired=paired)
