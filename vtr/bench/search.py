"""Exact search over a million vectors: against FAISS's flat index, and against the bare matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.bench.harness import Bench, Measured
from vtr.optional import library

GOALS = {"search.over_faiss": "below 1", "search.batch_over_gemm": "below 1.5"}
ROWS, DIM, QUERIES, K = 1_000_000, 256, 1000, 10
BLOCK, TOGETHER = 8192, 512
_CHUNK = 50_000


def measure(bench: Bench) -> Measured:
    """One query, and a batch of 1000, for the best 10 of a million float16 rows; FAISS holds them as float32.

    Without faiss installed the first ratio cannot be had. Raises InputError then.
    """
    from vtr.retrieval.index import ExactIndex

    faiss = library("faiss", "this benchmark compares with", "faiss")
    rows, count = (ROWS // 50, QUERIES // 10) if bench.small else (ROWS, QUERIES)
    bench.tell(f"making {rows} rows")
    vectors, queries = _unit(rows, 0, np.float16), _unit(count, 1)
    ours, flat = ExactIndex(vectors), faiss.IndexFlatIP(DIM)
    for start in range(0, rows, _CHUNK):
        flat.add(vectors[start : start + _CHUNK].astype(np.float32))
    seconds: dict[str, float] = bench.medians(
        {"search_one_s": lambda: ours.search(queries[:1], K), "faiss_one_s": lambda: flat.search(queries[:1], K)}
    )
    found, theirs = ours.search(queries[:1], K)[1], flat.search(queries[:1], K)[1]
    agree = float(np.isin(found, theirs).mean())
    flat.reset()  # a gigabyte, which the batch may need
    seconds |= bench.medians(
        {"search_batch_s": lambda: ours.search(queries, K), "gemm_batch_s": lambda: _product(queries, rows)}
    )
    return {
        "ratios": {
            "search.over_faiss": seconds["search_one_s"] / seconds["faiss_one_s"],
            "search.batch_over_gemm": seconds["search_batch_s"] / seconds["gemm_batch_s"],
        },
        "figures": {
            "rows": rows, "dim": DIM, "queries": count, "k": K, "hits_as_faiss": agree,
            "faiss_threads": faiss.omp_get_max_threads(), **seconds,
        },
    }  # fmt: skip


def _product(queries: NDArray[np.float32], rows: int) -> None:
    """The float32 product of all queries with as many rows, in the same blocks, its result thrown away."""
    block = np.ascontiguousarray(_unit(min(BLOCK, rows), 2).T)
    out: NDArray[Any] = np.empty((TOGETHER, block.shape[1]), np.float32)
    for start in range(0, len(queries), TOGETHER):
        part = queries[start : start + TOGETHER]
        for at in range(0, rows, BLOCK):
            width = min(BLOCK, rows - at, block.shape[1])
            np.matmul(part, block[:, :width], out=out[: len(part), :width])


def _unit(rows: int, seed: int, dtype: type = np.float32) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    out: NDArray[Any] = np.empty((rows, DIM), dtype)
    for start in range(0, rows, _CHUNK):
        part = rng.standard_normal((min(_CHUNK, rows - start), DIM), np.float32)
        out[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return out
