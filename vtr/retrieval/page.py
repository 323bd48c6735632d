"""Hits as one HTML file that needs nothing else: pictures are in it, no script, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vtr.errors import VtrError
from vtr.retrieval.media import Media

STYLE = """
:root{color-scheme:light dark;--line:#8883}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:75rem;padding:1.5rem}
h2{font-size:1.15rem;margin:2rem 0 .75rem}
ol{list-style:none;margin:0;padding:0;display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))}
li{border:1px solid var(--line);border-radius:.75rem;overflow:hidden}
img,.none{display:block;width:100%;aspect-ratio:16/9;object-fit:cover;background:#8882}
.none{display:grid;place-items:center;font-size:.85rem;opacity:.7}
p{margin:0;padding:.5rem .75rem;overflow-wrap:anywhere}
p+p{padding-top:0;font-size:.85rem;opacity:.75}
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def results_page(groups: Sequence[Mapping[str, Any]], media: Media) -> str:
    """[{"query", "hits"}] -> HTML; a hit whose video is not there shows none."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>vtr search</title><style>{STYLE}</style><h1>vtr search</h1>",
    ]
    for group in groups:
        cards = "".join(_card(hit, media) for hit in group["hits"])
        parts.append(f"<h2 dir=auto>{escape(str(group['query']))}</h2><ol>{cards}</ol>")
    return "".join(parts) + "</html>\n"


def _card(hit: Mapping[str, Any], media: Media) -> str:
    try:
        data = base64.b64encode(media.picture(hit["row"], 0, 1)).decode()
        picture = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    except VtrError as error:
        picture = f"<div class=none>{escape(error.message)}</div>"
    span = "" if hit["start_s"] is None else f", {hit['start_s']:.1f}-{hit['end_s']:.1f} s"
    about = f"{hit['rank']}. {escape(str(hit['id']))}{span}, score {hit['score']:.3f}"
    return f"<li>{picture}<p dir=auto>{escape(hit['caption'] or hit['id'])}</p><p>{about}</p></li>"
