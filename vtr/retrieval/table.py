"""Retrieval results as rich tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}


def results_table(result: Mapping[str, Mapping[str, float]]) -> Table:
    """{"t2v": {"R@1": 61.2, ...}, "v2t": {...}}, as `summarize` gives them -> a row a direction; R@K in percent."""
    from rich.table import Table

    table = Table()
    table.add_column("direction")
    for name in METRICS:
        table.add_column(name, justify="right")
    for direction, numbers in result.items():
        table.add_row(DIRECTIONS.get(direction, direction), *(f"{numbers[name]:.1f}" for name in METRICS))
    return table


def hits_table(hits: Sequence[Mapping[str, Any]]) -> Table:
    """Hits with rank, score, id, start_s, end_s and caption (a string or several) -> a row a hit.

    Times in seconds; a hit without a span, None or NaN, shows none. Captions are shown as they are, never as markup.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("start-end", justify="right")
    table.add_column("caption", overflow="fold")
    for hit in hits:
        caption = hit.get("caption") or ""
        text = caption if isinstance(caption, str) else " | ".join(caption)
        table.add_row(
            str(hit["rank"]),
            f"{hit['score']:.3f}",
            Text(_printable(str(hit["id"]))),
            _span(hit.get("start_s"), hit.get("end_s")),
            Text(_printable(text)),
        )
    return table


def _span(start: float | None, end: float | None) -> str:
    if start is None or end is None or math.isnan(start) or math.isnan(end):
        return "-"
    return f"{start:.1f}-{end:.1f} s"


def _printable(text: str) -> str:
    # A caption is anybody's text: an escape sequence in it must not steer the reader's terminal.
    return "".join(char if char.isprintable() else " " for char in text)
