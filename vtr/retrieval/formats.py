"""A result's table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

from vtr.plaintext import printable
from vtr.retrieval.rows import Line, lines, metrics, notes, title

# Signs that Markdown takes for its own, or for HTML.
_MARKDOWN = set("\\`*_[]<>|~")
# Every sign that means something to LaTeX, and what prints it.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def number(value: float | None) -> str:
    """One decimal, as papers have it; "-" where there is none."""
    return "-" if value is None else f"{value:.1f}"


def markdown(record: Mapping[str, Any]) -> str:
    """A pipe table with intervals in brackets, and notes below."""
    names = metrics(record)
    out = [
        f"**{_md(title(record))}**",
        "",
        f"| | direction | {' | '.join(names)} |",
        f"|---|---|{'---:|' * len(names)}",
    ]
    for line in lines(record):
        cells = [_with_interval(line, name) for name in names]
        out.append(f"| {_md(_label(line))} | {line.direction} | {' | '.join(cells)} |")
    return "\n".join([*out, *(["", *(f"- {_md(note)}" for note in notes(record))] if notes(record) else [])])


def latex(record: Mapping[str, Any]) -> str:
    """A booktabs table; the title is its caption, the notes stand under the rule."""
    names = metrics(record)
    head = " & ".join(["", "direction", *(_tex(name) for name in names)])
    out = [
        r"\begin{table}", r"\centering", rf"\caption{{{_tex(title(record))}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\toprule", rf"{head} \\", r"\midrule",
    ]  # fmt: skip
    for line in lines(record):
        cells = [_tex(_label(line)), _tex(line.direction)]
        for name in names:
            value, span = number(line.numbers.get(name)), line.intervals.get(name)
            cells.append(value if span is None else rf"{value} {{\scriptsize [{number(span[0])}, {number(span[1])}]}}")
        out.append(rf"{' & '.join(cells)} \\")
    out += [r"\bottomrule", r"\end{tabular}"]
    out += [rf"\par\footnotesize {_tex(note)}." for note in notes(record)]
    return "\n".join([*out, r"\end{table}"])


def as_csv(record: Mapping[str, Any]) -> str:
    """A row a number: test_set, column, direction, metric, value, low, high, whose, source.

    Columns stand without their "+", which a spreadsheet would take for the beginning of a formula.
    """
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["test_set", "column", "direction", "metric", "value", "low", "high", "whose", "source"])
    for line in lines(record):
        for name in metrics(record):
            if name in line.numbers:
                span = line.intervals.get(name, ["", ""])
                whose = "theirs" if line.theirs else "ours"
                value = line.numbers[name]
                told = (title(record), line.column.removeprefix("+"), line.direction, name)
                rows.writerow([*map(_plain, told), value, *span, whose, _plain(line.source)])
    return file.getvalue().rstrip("\n")


TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"markdown": markdown, "latex": latex, "csv": as_csv}
FORMATS = ("rich", *TEXTS)


def _label(line: Line) -> str:
    return f"{line.column} (theirs, {line.source})" if line.theirs else line.column


def _with_interval(line: Line, name: str) -> str:
    value, span = number(line.numbers.get(name)), line.intervals.get(name)
    return value if span is None else f"{value} [{number(span[0])}, {number(span[1])}]"


def _plain(text: str) -> str:
    """Text that no spreadsheet computes, on one line."""
    text = printable(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _md(text: str) -> str:
    return "".join(f"\\{sign}" if sign in _MARKDOWN else sign for sign in printable(text))


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in printable(text))
