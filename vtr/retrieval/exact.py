"""Similarities that do not depend on how they were computed: no block size, BLAS or thread count changes a bit.

A float32 matrix product adds its terms in an order that depends on the shapes, the library and the threads, so that two
equal vectors need not get equal scores: ties would be decided by chance. Here a score is *defined* as the dot product
of two unit rows, each entry rounded to a multiple of 2**-26, rounded to float32. In float64 those sums are exact:

    entries       n * 2**-26   |n| <= 2**26
    products      n * 2**-52
    partial sums  n * 2**-52   |n| <= 1.02 * 2**52 < 2**53, in whatever order they are added

(the grid is finer than what a float32 sum resolves). The fast float32 product then only has to decide the clear cases:
it is never further than `tolerance(E)` from the score, and what lies within that is decided with `pair_scores`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import DataError

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.integer[Any]]

GRID = 2.0**26
NORM_SLACK = 1e-2  # float16 and bfloat16 rows are off by less; rows that were never normalised by more
_CHECK_ROWS = 4096
_PAIR_ROWS = 2048
_HALF_BITS = np.int32(-0x70002000)  # 0x8FFFE000: where a half's sign and its other 15 bits lie after a shift by 13


def check_rows(name: str, rows: Floats) -> NDArray[np.bool_]:
    """Which of the (N, E) rows are finite, as (N,) bool, after checking that the finite ones have length 1.

    `name` is what the error calls them. Raises DataError: no rows, not two-dimensional, not float, not normalised.
    """
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise DataError(
            f"{name} embeddings have shape {rows.shape} and type {rows.dtype}, wanted a float matrix (rows, dimensions)"
        )
    if rows.shape[0] == 0 or rows.shape[1] == 0:
        raise DataError(f"{name} embeddings have shape {rows.shape}: there is nothing to rank", "embed something first")
    finite = np.empty(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), _CHECK_ROWS):
        part = rows[start : start + _CHECK_ROWS]
        good = np.isfinite(part).all(axis=1)
        finite[start : start + len(part)] = good
        wide = widen(part[good])
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_SLACK))
        if len(wrong):
            row = start + int(np.flatnonzero(good)[wrong[0]])
            raise DataError(
                f"{name} row {row} has length {norms[wrong[0]]:.4g}, wanted 1",
                "L2-normalise the embeddings first: x / np.linalg.norm(x, axis=1, keepdims=True)",
            )
    return finite


def widen(rows: Floats) -> NDArray[np.float32]:
    """The finite (N, E) rows as contiguous float32.

    float16 goes through integers, six times as fast as numpy's cast: shift the bits into a float32's place, then
    multiply by 2**112 to move the exponent's bias from 15 to 127. An infinity or a NaN would come out as a number.
    """
    if rows.dtype != np.dtype(np.float16):
        return np.ascontiguousarray(rows, dtype=np.float32)
    bits = np.ascontiguousarray(rows).view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _HALF_BITS, out=bits)
    wide = bits.view(np.float32)
    return np.multiply(wide, np.float32(2.0**112), out=wide)


def tolerance(dim: int) -> float:
    """How far a float32 product of unit rows of `dim` entries can lie from their score, in any order of summation.

    u = 2**-24:  dim * u  the float32 sum;  sqrt(dim) * u  the grid;  the rest  rounding scores to float32 and slack.
    """
    return float(1.05 * (dim + dim**0.5 + 4) * 2.0**-24)


def pair_scores(left: Floats, right: Floats, row: Rows, column: Rows) -> NDArray[np.float32]:
    """The scores of left[row] with right[column], pair by pair: (A, E), (B, E), (P,) and (P,) -> (P,) float32."""
    scores = np.empty(len(row), dtype=np.float32)
    for start in range(0, len(row), _PAIR_ROWS):
        part = slice(start, start + _PAIR_ROWS)
        scores[part] = np.einsum("pe,pe->p", _on_grid(left[row[part]]), _on_grid(right[column[part]])) * GRID**-2
    return scores


def tile_scores(left: Floats, right: Floats) -> NDArray[np.float32]:
    """The scores of all (A, E) rows with all (B, E) rows: (A, B) float32, at half the speed of the float32 product."""
    return (_on_grid(left) @ _on_grid(right).T * GRID**-2).astype(np.float32)


def _on_grid(rows: Floats) -> NDArray[np.float64]:
    return np.rint(widen(rows).astype(np.float64) * GRID)
