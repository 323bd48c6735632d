"""A result as one page: numbers, curves, the best and the worst queries with their videos, and where all came from.

The page is a single file without scripts, fonts or links to anything. Whatever was written by others, a caption or a
name, is escaped; and a content policy in the page forbids all but inline styles and images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr import bounds
from vtr.data.apart import LIMIT_S, PATIENCE, Decoder, without
from vtr.data.index import ShardIndex
from vtr.plaintext import printable
from vtr.retrieval import charts, pictures, rows
from vtr.retrieval.examples import Example, examples
from vtr.retrieval.formats import number
from vtr.retrieval.html import head
from vtr.retrieval.metrics import Ranks
from vtr.retrieval.paired import Paired
from vtr.retrieval.style import STYLE

LONGEST = 500  # characters of a caption that are shown
MAPPED = 64  # rows and columns of the heat map
ORIGIN = (
    "model", "weights_sha256", "preprocessing", "frames", "resolution", "precision", "shards", "embeddings",
    "vectors_sha256", "manifest_sha256", "split_sha256", "expected", "found", "undecodable", "tie_rule", "similarity",
    "interval", "seed", "version", "command",
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What a page is made of beside the record: the vectors and raw ranks of one part, and where its frames are.

    `rows` (N,) are the videos' samples in `index`, -1 for one that is not there. With `actions`, `paired` has videos
    for its texts and class names for its videos.
    """

    paired: Paired
    ranks: Mapping[str, Ranks]
    actions: bool = False
    index: ShardIndex | None = None
    rows: NDArray[np.int64] | None = None
    split: str = ""


def page(record: Mapping[str, Any], parts: Sequence[Shown]) -> str:
    """The whole HTML file of a result; of several splits each has its curves, queries and similarities."""
    title = rows.title(record).partition(". PARTIAL")[0]
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(str(record["model"] or record["embeddings"] or ""))}</p></header>',
        f'<p class="partial">{escape(rows.partial(record))}</p>' if record["protocol"]["partial"] else "",
        _tiles(record),
        f"<h2>Numbers</h2>{_table(record)}",
        *(_part(record, shown, f", split {shown.split}" if len(parts) > 1 else "") for shown in parts),
        _origin(record),
    ]
    return f"{head(title, STYLE)}<body><main>{''.join(body)}</main></body></html>\n"


def _part(record: Mapping[str, Any], shown: Shown, of: str) -> str:
    """Ranks, queries and similarities; `of` says of which split."""
    names = rows.directions(record)
    ranks = {names[way]: one for way, one in shown.ranks.items()}
    best, worst = examples(shown.paired, shown.ranks["v2t" if shown.actions else "t2v"])
    of = escape(of)
    with Decoder(bounds.at_most(LIMIT_S), PATIENCE) as decode:
        gallery = _Gallery(shown, decode)
        shown_best = _examples(f"Best queries{of}", _about_best(best), best, gallery)
        shown_worst = _examples(f"Worst queries{of}", "The right answers that rank lowest.", worst, gallery)
    told = f'<p class="soft">{without(decode.left_out)}.</p>' if decode.left_out else ""
    return (
        f'<h2>Where the right answers stand{of}</h2><div class="pair">'
        f'<figure class="card" style="margin:0">{charts.recall_curve(ranks)}{charts.legend(list(ranks))}</figure>'
        f'<figure class="card" style="margin:0">{charts.rank_histogram(ranks)}{charts.legend(list(ranks))}</figure>'
        "</div>"
        f"{told}{shown_best}{shown_worst}{_heat_map(shown, of)}"
    )


def _about_best(best: Sequence[Example]) -> str:
    first = all(one.rank == 1 for one in best)
    return "The right answer first, by the widest margin." if first else "The right answers that rank highest."


class _Gallery:
    """The videos' pictures, each made when first asked for."""

    def __init__(self, shown: Shown, decode: Decoder) -> None:
        self.shown = shown
        self._decode = decode
        self._strips: dict[int, str | None] = {}

    def query(self, example: Example) -> str:
        """What was asked for: a caption, or a video."""
        text = escape(_short(self.shown.paired.captions[example.query]))
        if not self.shown.actions:
            return f"<p>{text}</p>"
        return f'<div class="asked"><div class="what"><span>{text}</span></div>{self.image(example.query)}</div>'

    def item(self, row: int, score: float, note: str, right: bool) -> str:
        """One thing that was found: a video, or a class."""
        name = escape(_short(self.shown.paired.ids[row]))
        picture = "" if self.shown.actions else self.image(row)
        what = f'<div class="what"><span>{name}{escape(note)}</span><span>{score:.3f}</span></div>'
        return f'<li class="{"right" if right else "wrong"}">{picture}{what}</li>'

    def image(self, row: int) -> str:
        """The strip of a video's frames, or nothing where there is none to show."""
        shown = self.shown
        if shown.index is None or shown.rows is None or shown.rows[row] < 0:
            return ""
        sample = int(shown.rows[row])
        if sample not in self._strips:
            self._strips[sample] = pictures.strip(shown.index, sample, self._decode)
        data = self._strips[sample]
        name = shown.paired.captions[row] if shown.actions else shown.paired.ids[row]
        return f'<img alt="frames of {escape(_short(name))}" src="{data}">' if data else ""


def _short(text: str) -> str:
    """A caption as far as a card holds it, without what steers a reader's display."""
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _tiles(record: Mapping[str, Any]) -> str:
    names, out = rows.directions(record), []
    shown = ("top-1", "top-5") if record["protocol"]["rule"] == "classes" else ("R@1", "R@5", "R@10")
    for way in ("t2v", "v2t"):
        for name in shown if record[way] else ():
            span = ((record["intervals"] or {}).get(way) or {}).get(name)
            between = f"95 %: {number(span[0])} – {number(span[1])}" if span else ""
            out.append(
                f'<div class="card tile"><div class="soft">{escape(names[way])} {name}</div>'
                f'<div class="number">{number(record[way][name])}</div><div class="soft">{between}</div></div>'
            )
    return f'<div class="tiles">{"".join(out)}</div>'


def _table(record: Mapping[str, Any]) -> str:
    names = rows.metrics(record)
    body = []
    for line in rows.lines(record):
        below = f"theirs, {line.source}" if line.theirs else line.direction
        cells = [f"<td>{escape(line.column)}<small>{escape(below)}</small></td>"]
        for name in names:
            value, span = number(line.numbers.get(name)), line.intervals.get(name)
            between = f"<small>{number(span[0])} – {number(span[1])}</small>" if span else ""
            cells.append(f"<td>{value}{between}</td>")
        opened = '<tr class="theirs">' if line.theirs else "<tr>"
        body.append(f"{opened}{''.join(cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in names)
    notes = "".join(f"<li>{escape(note)}</li>" for note in rows.notes(record))
    below = f'<ul class="notes">{notes}</ul>' if notes else ""
    return (
        f'<div class="card"><div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{below}</div>"
    )


def _examples(title: str, about: str, chosen: list[Example], gallery: _Gallery) -> str:
    if not chosen:
        return ""
    cards = []
    for one in chosen:
        found = [gallery.item(row, score, "", right) for row, score, right in one.found]
        if not any(right for _, _, right in one.found):
            found.append(gallery.item(one.own, one.score, f", the right answer, rank {one.rank:g}", True))
        rank = f'<span class="rank">rank {one.rank:g}</span>'
        cards.append(
            f'<article class="card example">{rank}{gallery.query(one)}<ol class="found">{"".join(found)}</ol></article>'
        )
    return f'<h2>{title}</h2><p class="soft">{about}</p><div class="examples">{"".join(cards)}</div>'


def _heat_map(shown: Shown, of: str) -> str:
    paired = shown.paired
    if shown.actions:  # a few videos a class, in the order of the classes
        columns = np.arange(min(len(paired.video), MAPPED))
        order = np.argsort(paired.owner, kind="stable")
        order = order[paired.owner[order] < len(columns)]
        queries = order[np.linspace(0, len(order) - 1, min(MAPPED, len(order))).astype(int)]
        about = "Each row is a video, in the order of the classes; each column a class."
    else:
        owners = np.flatnonzero(paired.captioned)
        columns = owners[np.linspace(0, len(owners) - 1, min(MAPPED, len(owners))).astype(int)]
        first = {int(video): query for query, video in reversed(list(enumerate(paired.owner)))}
        queries = np.array([first[int(video)] for video in columns])
        about = "Each row is a text, each column a video, in the same order: the right answers are the diagonal."
    data, low, high = pictures.heat_map(paired.text[queries], paired.video[columns])
    return (
        f'<h2>Similarities{of}</h2><div class="card map"><img alt="heat map of similarities" src="{data}"><div>'
        f'<p class="soft">{about} {len(queries)} by {len(columns)} of {len(paired.text)} by {len(paired.video)}.</p>'
        f'<div class="scale"><span>{low:.2f}</span><img alt="" src="{pictures.scale()}"><span>{high:.2f}</span></div>'
        "</div></div>"
    )


def _origin(record: Mapping[str, Any]) -> str:
    known = [(name, record[name]) for name in ORIGIN if record[name] not in (None, "", [])]
    rule = record["protocol"]["rule_in_words"]
    pairs = [
        ("protocol", f"{record['protocol']['name']}: {rule}"),
        ("split", record["protocol"]["split"] or "not labelled"),
        *((n.replace("_", " "), _plain(v)) for n, v in known),
    ]
    items = "".join(f'<dt>{escape(name)}</dt><dd class="mono">{escape(value)}</dd>' for name, value in pairs)
    return f'<h2>Where this comes from</h2><div class="card"><dl>{items}</dl></div>'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items() if item not in (None, [], {}))
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return str(value)
