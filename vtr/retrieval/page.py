"""Hits as one HTML file that needs nothing else: pictures are in it, no script, nothing is loaded from elsewhere.

A picture costs a decode and some 20 kB: the best ranks have one, 500 different ones at most, the others are text. It
stands once, in the style, however many queries find it. Browsers lay out only the cards that are looked at, so that ten
thousand scroll like ten.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from vtr.data.apart import without
from vtr.errors import VtrError
from vtr.retrieval.html import head
from vtr.retrieval.media import Media

PICTURES = 500
STYLE = """
:root{color-scheme:light dark;--line:#8883}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:75rem;padding:1.5rem}
h2{font-size:1.15rem;margin:2rem 0 .75rem}
ol{list-style:none;margin:0;padding:0;display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))}
li{border:1px solid var(--line);border-radius:.75rem;overflow:hidden}
li{content-visibility:auto;contain-intrinsic-size:auto 6rem}
li:has(.shown){contain-intrinsic-size:auto 14rem}
.shown{aspect-ratio:16/9;background:#8882 center/cover;print-color-adjust:exact}
.none{display:grid;place-items:center;font-size:.85rem;opacity:.7}
p{margin:0;padding:.5rem .75rem;overflow-wrap:anywhere}
p+p{padding-top:0;font-size:.85rem;opacity:.75}
"""


def results_page(
    groups: Sequence[Mapping[str, Any]], media: Media, progress: Callable[[int], None] | None = None
) -> str:
    """[{"query", "hits"}] -> HTML; a hit whose video is not there says so. `progress` hears of each picture."""
    shown = _pictures(groups, media, progress)
    hits = sum(len(group["hits"]) for group in groups)
    bare = sum(hit["row"] not in shown for group in groups for hit in group["hits"])
    rules = "".join(_rule(row, picture) for row, picture in shown.items() if isinstance(picture, bytes))
    parts = [head("vtr search", STYLE + rules), "<body><h1>vtr search</h1>"]
    if bare:
        parts.append(f"<p>{hits} hits; the best ones have pictures, of {PICTURES} moments at most.</p>")
    if media.left_out:
        parts.append(f"<p>{without(media.left_out)}.</p>")
    for group in groups:
        cards = "".join(_card(hit, shown) for hit in group["hits"])
        parts.append(f"<h2 dir=auto>{escape(str(group['query']))}</h2><ol>{cards}</ol>")
    return "".join(parts) + "</body></html>\n"


def _pictures(
    groups: Sequence[Mapping[str, Any]], media: Media, progress: Callable[[int], None] | None
) -> dict[int, bytes | str]:
    """{row: its JPEG, or why there is none}, of the best ranks of all queries first."""
    shown: dict[int, bytes | str] = {}
    for hit in sorted((hit for group in groups for hit in group["hits"]), key=lambda hit: int(hit["rank"])):
        row = hit["row"]
        if len(shown) == PICTURES:
            break
        if row in shown:
            continue
        try:
            shown[row] = media.picture(row, 0, 1)
        except VtrError as error:
            shown[row] = error.message
        if progress:
            progress(1)
    return shown


def _rule(row: int, picture: bytes) -> str:
    return f".r{row}{{background-image:url(data:image/jpeg;base64,{base64.b64encode(picture).decode()})}}\n"


def _card(hit: Mapping[str, Any], shown: Mapping[int, bytes | str]) -> str:
    row, picture = hit["row"], ""
    match shown.get(row):
        case bytes():
            picture = f'<div class="shown r{row}"></div>'
        case str(why):
            picture = f'<div class="shown none">{escape(why)}</div>'
    span = "" if hit["start_s"] is None else f", {hit['start_s']:.1f}-{hit['end_s']:.1f} s"
    about = f"{hit['rank']}. {escape(str(hit['id']))}{span}, score {hit['score']:.3f}"
    return f"<li>{picture}<p dir=auto>{escape(hit['caption'] or hit['id'])}</p><p>{about}</p></li>"
