"""Retrieval results as rich tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vtr.plaintext import printable
from vtr.retrieval import rows
from vtr.retrieval.formats import number
from vtr.retrieval.score import RAW

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def results_table(record: Mapping[str, Any]) -> Table:
    """A result, as `vtr.retrieval.result` has it -> a row a direction and column; intervals stand below the numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    names = rows.metrics(record)
    table = Table(
        title=Text(printable(rows.title(record)), style="bold"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("", min_width=len("text to video"))
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    before = ""
    for line in rows.lines(record):
        if before and before != line.column:
            table.add_section()
        before = line.column
        below = f"{line.column}, theirs ({line.source})" if line.theirs else line.column
        head = Text(line.direction)
        # Said once, of the headline: beside longer names it would wrap.
        told = f"{below}; 95 % interval" if line.intervals and line.column == RAW else below
        head.append("\n" + printable(told), style="dim")
        table.add_row(head, *(_cell(line, name) for name in names), style="italic" if line.theirs else "")
    return table


def differences_table(found: Mapping[str, Any]) -> Table:
    """What `compare` gives -> a row a number: A, B, B - A with its interval, and the adjusted p."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(printable(f"column {found['column']}"), style="italic")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name in ("", "A", "B", "B - A", "95 %", "p (Holm)"):
        table.add_column(name, justify="left" if not name else "right")
    for one in found["differences"]:
        low, high = one["interval"]
        cells = (f"{one['a']:.1f}", f"{one['b']:.1f}", f"{one['difference']:+.1f}", f"{low:+.1f} .. {high:+.1f}")
        style = "bold" if one["evidence"] else ""
        table.add_row(f"{one['direction']} {one['metric']}", *cells, f"{one['p_holm']:.4f}", style=style)
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
            Text(printable(str(hit["id"]))),
            _span(hit.get("start_s"), hit.get("end_s")),
            Text(printable(text)),
        )
    return table


def _cell(line: rows.Line, name: str) -> Text:
    from rich.text import Text

    cell, span = Text(number(line.numbers.get(name))), line.intervals.get(name)
    if span is not None:
        cell.append(f"\n{number(span[0])}-{number(span[1])}", style="dim")
    return cell


def _span(start: float | None, end: float | None) -> str:
    if start is None or end is None or math.isnan(start) or math.isnan(end):
        return "-"
    return f"{start:.1f}-{end:.1f} s"
