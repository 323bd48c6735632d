"""Two results over the same queries: is there evidence that one is better?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vtr.errors import DataError, InputError
from vtr.retrieval import stats
from vtr.retrieval.metrics import Ranks
from vtr.retrieval.result import Read, rounded
from vtr.retrieval.score import ACTIONS, RAW

if TYPE_CHECKING:
    import pyarrow as pa


def compare(a: Read, b: Read, *, column: str = RAW, seed: int = 0) -> dict[str, Any]:
    """A paired test of R@1, R@5, R@10 and MnR both ways: {"differences": [...], "verdict": "...", ...}.

    The p-values are adjusted by Holm's procedure over all that is tested, so that one of many comparisons is not taken
    for evidence. Raises DataError: results of other test sets, or of sets without names. InputError: a column
    that one of them lacks, a seed that is none.
    """
    stats.check_seed(seed)
    for one in (a, b):
        if one.record["split_sha256"] is None:
            raise DataError(
                f"{one.path} is of videos or captions without names, so nobody can tell which test set it is of",
                "name both (videos.txt and captions.txt, or the columns id and caption), and evaluate again",
            )
    if a.record["split_sha256"] != b.record["split_sha256"]:
        raise DataError(
            f"{a.path} and {b.path} are of different test sets "
            f"({_short(a.record['split_sha256'])} and {_short(b.record['split_sha256'])})",
            "evaluate both models on the same shards",
        )
    ours, theirs = _rows(a, column), _rows(b, column)
    if set(ours) != set(theirs):
        raise DataError(
            f"{a.path} has {' and '.join(ours)} in the column {column}, {b.path} {' and '.join(theirs)}",
            "evaluate both on the same shards",
        )
    found: list[tuple[str, stats.Difference]] = []
    for way, first in ours.items():
        second = theirs[way]
        if first["keys"] != second["keys"]:
            raise DataError(f"{a.path} and {b.path} have other queries in {way}", "evaluate both on the same shards")
        found += [(way, one) for one in stats.paired(first["values"], second["values"], first["cluster"], seed=seed)]
    adjusted = stats.holm(np.array([one.p for _, one in found]))
    found = [(way, replace(one, adjusted=float(p))) for (way, one), p in zip(found, adjusted, strict=True)]
    return {
        "a": _who(a),
        "b": _who(b),
        "column": column,
        "queries": {way: len(rows["keys"]) for way, rows in ours.items()},
        "differences": [
            {
                "direction": way, "metric": one.metric,
                **rounded({"a": one.a, "b": one.b, "difference": one.difference, "interval": [one.low, one.high]}),
                "p": round(one.p, 6), "p_holm": round(one.adjusted, 6), "evidence": one.evident,
            }
            for way, one in found
        ],
        "verdict": _verdict([(way, one) for way, one in found if one.evident]),
        "test": f"random swaps of A and B, video by video, {stats.FLIPS}; adjusted by Holm; interval: "
        f"{stats.DRAWS} bootstrap draws of videos",
        "seed": seed,
    }  # fmt: skip


def _rows(of: Read, column: str) -> dict[str, dict[str, Any]]:
    import pyarrow.compute as pc

    there = pc.unique(of.ranks.column("column")).to_pylist()
    if column not in there:
        raise InputError(f"{of.path} has no column {column!r}", f"it has: {', '.join(there)}")
    table = of.ranks.filter(pc.equal(of.ranks.column("column"), column))
    actions = of.record["protocol"].get("rule") == "classes"
    return {
        way: _direction(table.filter(pc.equal(table.column("direction"), way)), actions=actions)
        for way in ("t2v", "v2t")
        if way in table.column("direction").to_pylist()
    }


def _direction(table: pa.Table, *, actions: bool) -> dict[str, Any]:
    """The queries in an order that does not depend on how the data were sharded, and their values."""
    # The splits of actions have the same videos; elsewhere a split is a name that embeddings, say, do not know.
    own = ("split", "id", "text") if actions else ("id", "text")
    # A caption that a video has twice stands in the order that it came in.
    table = table.append_column("place", [list(range(len(table)))])
    table = table.sort_by([(name, "ascending") for name in (*own, "place")])
    columns = {name: table.column(name).to_numpy() for name in ("better", "equal", "own", "gallery", "rank")}
    ranks = Ranks(columns["better"], columns["equal"], columns["own"], int(columns["gallery"].max()))
    values = stats.per_query(ranks)
    if actions:
        values = {theirs: values[ours] for ours, theirs in ACTIONS.items()}
    keys = list(zip(*(table.column(name).to_pylist() for name in own), strict=True))
    video = {name: number for number, name in enumerate(dict.fromkeys(key[:-1] for key in keys))}
    return {"keys": keys, "values": values, "cluster": np.array([video[key[:-1]] for key in keys])}


def _verdict(evident: list[tuple[str, stats.Difference]]) -> str:
    if not evident:
        return "no evidence of a difference"
    better: dict[str, list[str]] = {"A": [], "B": []}
    for way, one in evident:
        higher = one.difference > 0
        better["B" if higher != (one.metric == "MnR") else "A"].append(f"{way} {one.metric}")
    return "; ".join(f"{who} is better in {', '.join(what)}" for who, what in better.items() if what)


def _who(of: Read) -> dict[str, Any]:
    names = ("model", "weights_sha256", "frames", "resolution", "precision", "protocol", "split_sha256", "version")
    return {"file": str(of.path), **{name: of.record.get(name) for name in names}}


def _short(sha256: Any) -> str:
    return str(sha256)[:12]
