"""Charts as inline SVG: no script, colours by CSS variables, so that they suit a light and a dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from vtr.retrieval.metrics import RECALLS, Ranks

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 14, 42  # the names at the ends of an axis are wider on phones
EDGES = (1, 5, 10, 20, 50, 100, 500)  # ranks up to and with each, and the rest
MOST = 100  # the largest K of the curve


def recall_curve(ranks: Mapping[str, Ranks]) -> str:
    """R@K over K (logarithmic, 1 to 100 or the gallery), a line a direction: {"text to video": Ranks, ...}."""
    most = max(2, min(MOST, max(one.gallery for one in ranks.values())))
    ks = np.unique([*np.round(np.geomspace(1, most, 40)).astype(int), *(k for k in RECALLS if k <= most)])

    def x(k: float) -> float:
        return float(LEFT + (WIDTH - LEFT - RIGHT) * np.log(k) / np.log(most))

    parts = [_frame("R@K, percent of queries", [0, 25, 50, 75, 100], 100)]
    for k in (k for k in (1, 2, 5, 10, 20, 50, 100) if k <= most):
        parts.append(_tick(x(k), str(k)))
    parts.append(_axis_name("K, first items looked at"))
    for number, one in enumerate(ranks.values()):
        values = [100 * one.hits(int(k)).mean() for k in ks]
        points = " ".join(f"{x(k):.1f},{_y(value, 100):.1f}" for k, value in zip(ks, values, strict=True))
        parts.append(f'<polyline class="line s{number}" points="{points}"/>')
        for k, value in zip(ks, values, strict=True):
            if k in RECALLS:
                about = f"R@{k} {value:.1f}"
                parts.append(
                    f'<circle class="dot s{number}" cx="{x(k):.1f}" cy="{_y(value, 100):.1f}" r="4">'
                    f"<title>{about}</title></circle>"
                )
    return _svg("Recall at K", parts)


def rank_histogram(ranks: Mapping[str, Ranks]) -> str:
    """Which share of the queries found their answer at which rank, bars side by side for the directions."""
    labels, shares = _bins(ranks)
    top = float(np.ceil(max(10.0, *map(max, shares)) / 10) * 10)
    step = (WIDTH - LEFT - RIGHT) / len(labels)
    width = 0.8 * step / len(shares)
    parts = [_frame("share of queries, percent", [0, top / 2, top], top)]
    for place, label in enumerate(labels):
        left = LEFT + step * (place + 0.1)
        parts.append(_tick(left + 0.4 * step, label))
        for number, share in enumerate(shares):
            y = _y(share[place], top)
            parts.append(
                f'<rect class="bar s{number}" x="{left + number * width:.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{HEIGHT - BOTTOM - y:.1f}"><title>rank {label}: {share[place]:.1f} %</title></rect>'
            )
    parts.append(_axis_name("rank of the right answer"))
    return _svg("Ranks of the right answers", parts)


def legend(names: Sequence[str]) -> str:
    """The names of the directions in their colours."""
    each = (f'<span class="key s{number}">{escape(name)}</span>' for number, name in enumerate(names))
    return f'<p class="legend">{"".join(each)}</p>'


def _bins(ranks: Mapping[str, Ranks]) -> tuple[list[str], list[list[float]]]:
    gallery = max(one.gallery for one in ranks.values())
    edges = [edge for edge in EDGES if edge < gallery] + [gallery]
    lower = [1, *(edge + 1 for edge in edges[:-1])]
    labels = [str(low) if low == high else f"{low}-{high}" for low, high in zip(lower, edges, strict=True)]
    shares = []
    for one in ranks.values():
        # Ties give ranks such as 1.5, which count to the next whole one.
        counts = np.bincount(np.searchsorted(edges, one.expected(), side="left"), minlength=len(edges))
        shares.append([float(share) for share in 100 * counts[: len(edges)] / len(one.better)])
    return labels, shares


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)


def _frame(name: str, values: Sequence[float], top: float) -> str:
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(v, top):.1f}" y2="{_y(v, top):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{_y(v, top) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in values
    ]
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    turned = f'transform="rotate(-90 11 {middle:.0f})"'
    return "".join(lines) + f'<text class="name" x="11" y="{middle:.0f}" text-anchor="middle" {turned}>{name}</text>'


def _tick(x: float, label: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{escape(label)}</text>'


def _axis_name(name: str) -> str:
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    return f'<text class="name" x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(name)}</text>'


def _svg(name: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"<title>{escape(name)}</title>{''.join(parts)}</svg>"
    )
