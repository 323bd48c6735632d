"""How sure the numbers are: bootstrap intervals, and a paired test of two results over the same queries.

Captions of one video are not independent of each other, so what is drawn again, or swapped, is a video with all its
queries: a cluster. Letters: Q queries, V clusters, D draws, M measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError, InputError
from vtr.retrieval.exact import Rows
from vtr.retrieval.metrics import RECALLS, Ranks

DRAWS, FLIPS = 2000, 10_000
LEVEL = 0.95
TESTED = (*(f"R@{k}" for k in RECALLS), "MnR")  # means over queries; a median has no paired difference
_CHUNK = 1 << 22  # numbers held at a time

Floats64 = NDArray[np.float64]
Interval = tuple[float, float]


def check_seed(seed: int) -> None:
    """Raises InputError: no seed of draws."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} must be at least 0 and below 2^32", "try --seed 0")


def per_query(ranks: Ranks) -> dict[str, Floats64]:
    """(Q,) each: the chance of a hit in percent for R@K, the expected rank for MnR. Their means are the numbers."""
    return {**{f"R@{k}": 100 * ranks.hits(k) for k in RECALLS}, "MnR": ranks.expected()}


def intervals(ranks: Ranks, cluster: Rows | None = None, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Interval]:
    """The 95 % percentile-bootstrap interval of each number of `summarize`: {"R@1": (low, high), ...}.

    `cluster` (Q,) numbers the video that each query belongs to; without it every query stands for itself. Where all
    queries had the same outcome the interval has no width: the bootstrap knows of no other outcome.
    Source: Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; clusters: Cameron et al. 2008.
    """
    return bounds(drawn(ranks, cluster, seed=seed, draws=draws))


def bounds(values: Mapping[str, Floats64]) -> dict[str, Interval]:
    """{name: (D,) drawn numbers} -> {name: (low, high)}."""
    ends = {name: np.percentile(rows, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]) for name, rows in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def drawn(ranks: Ranks, cluster: Rows | None = None, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Floats64]:
    """(D,) each: the numbers of `summarize` of queries drawn again with replacement, cluster by cluster."""
    values = per_query(ranks)
    number = _numbered(cluster, len(ranks.better))
    count = int(number.max()) + 1
    sums = np.stack([np.bincount(number, rows, count) for rows in (*values.values(), np.ones(len(number)))], axis=1)
    # In an order of their outcomes: whoever writes the same rows in another order is to get the same interval.
    place = np.lexsort((np.bincount(number, ranks.expected() ** 2, count), *sums.T))
    sums, number = sums[place], np.argsort(place)[number]
    order = np.argsort(ranks.expected(), kind="stable")
    sorted_rank, sorted_number = ranks.expected()[order], number[order]
    means, medians = np.empty((draws, len(values))), np.empty(draws)
    for draw, weight in enumerate(_weights(count, draws, seed)):
        *totals, queries = weight @ sums
        means[draw] = np.array(totals) / queries
        medians[draw] = _median(sorted_rank, np.cumsum(weight[sorted_number]))
    found = {**dict(zip(values, means.T, strict=True)), "MdR": medians}
    return {name: found[name] for name in (*TESTED[:-1], "MdR", "MnR")}


@dataclass(frozen=True)
class Difference:
    """B minus A in one number, over the same queries. `p` is of a two-sided test that A and B are interchangeable."""

    metric: str
    a: float
    b: float
    low: float
    high: float
    p: float
    adjusted: float = float("nan")  # Holm's, over all that was tested together

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b - self.a

    @property
    def evident(self) -> bool:
        """Whether the adjusted p says that there is a difference."""
        return self.adjusted < 1 - LEVEL


def paired(
    a: Mapping[str, Floats64], b: Mapping[str, Floats64], cluster: Rows, *, seed: int = 0, draws: int = DRAWS
) -> list[Difference]:
    """Each measure of `a` and `b`, {name: (Q,)} of the same queries in the same order, tested: one Difference a name.

    The interval is a bootstrap over clusters. p: the share of random swaps of A and B, cluster by cluster, that differ
    by as much as A and B do, themselves counted in (Good, Permutation Tests, 2000). Raises DataError: other queries.
    """
    if set(a) != set(b) or any(len(a[name]) != len(b[name]) or len(a[name]) != len(cluster) for name in a):
        raise DataError("a paired test needs the same queries in both results", "evaluate both on the same shards")
    number = _numbered(cluster, len(cluster))
    count, names = int(number.max()) + 1, list(a)
    gaps: Floats64 = np.stack([np.bincount(number, b[name] - a[name], count) for name in names], axis=1).astype(float)
    queries = np.bincount(number, minlength=count).astype(np.float64)
    drawn = np.stack([weight @ gaps / (weight @ queries) for weight in _weights(count, draws, seed)])
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
    p = _swapped(gaps, seed)
    return [
        Difference(name, float(a[name].mean()), float(b[name].mean()), float(low[i]), float(high[i]), float(p[i]))
        for i, name in enumerate(names)
    ]


def holm(p: Floats64) -> Floats64:
    """(M,) p-values -> (M,) adjusted ones: below 0.05 with a chance of at most 5 % that any of them is so by chance.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _swapped(gaps: Floats64, seed: int) -> Floats64:
    """(V,M) differences -> (M,) p. A tie counts as "as much"; the slack is for the order of float sums."""
    changed = gaps[(gaps != 0).any(axis=1)]
    if not len(changed):
        return np.ones(gaps.shape[1])
    observed = np.abs(changed.sum(axis=0))
    slack = 1e-9 * (1 + np.abs(changed).sum(axis=0))
    rng = np.random.default_rng([seed, 1])
    rows = max(1, min(FLIPS, _CHUNK // len(changed)))
    reached, done = np.zeros(gaps.shape[1], np.int64), 0
    while done < FLIPS:
        more = min(rows, FLIPS - done)
        signs = rng.integers(0, 2, (more, len(changed)), dtype=np.int8) * 2.0 - 1
        reached += np.count_nonzero(np.abs(signs @ changed) >= observed - slack, axis=0)
        done += more
    return np.asarray((1 + reached) / (1 + FLIPS), dtype=np.float64)


def _weights(count: int, draws: int, seed: int) -> Iterator[Floats64]:
    """How often each of `count` clusters was drawn, `draws` times over: (V,) float64 each."""
    rng = np.random.default_rng([seed, 0])
    for _ in range(draws):
        yield np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)


def _median(values: Floats64, cumulated: Floats64) -> float:
    """The median of sorted `values`, each taken as often as the weights that `cumulated` adds up say."""
    total = int(cumulated[-1])
    middle = np.searchsorted(cumulated, [(total - 1) // 2, total // 2], side="right")
    return float(values[middle].mean())


def _numbered(cluster: Rows | None, queries: int) -> NDArray[np.int64]:
    if cluster is None:
        return np.arange(queries)
    if cluster.shape != (queries,):
        raise DataError(f"clusters have shape {cluster.shape}, wanted one number for each of the {queries} queries")
    return np.asarray(np.unique(cluster, return_inverse=True)[1], dtype=np.int64)
