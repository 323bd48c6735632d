"""The shapes of the synthetic world, drawn at any place and size, however turned."""

from __future__ import annotations

import math

from PIL import ImageDraw


def draw_shape(
    draw: ImageDraw.ImageDraw,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    fill: tuple[int, ...],
    hole: tuple[int, ...],
) -> None:
    """Draws the `shape` around `centre`, of `radius` pixels, turned by `angle` radians; what is cut out is `hole`."""
    x, y = centre
    if shape in ("circle", "ring"):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        if shape == "ring":
            inner = radius * 0.55
            draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=hole)
        # A disc looks the same however it turns: a notch shows the turning.
        bite = radius * 0.3
        tip = (x + radius * 0.85 * math.cos(angle - 1.6), y + radius * 0.85 * math.sin(angle - 1.6))
        draw.ellipse((tip[0] - bite, tip[1] - bite, tip[0] + bite, tip[1] + bite), fill=hole)
        return
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    draw.polygon([(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in _OUTLINES[shape]], fill=fill)


def _star() -> list[tuple[float, float]]:
    radii = (1.15, 0.48)
    return [(radii[i % 2] * math.sin(math.pi * i / 5), -radii[i % 2] * math.cos(math.pi * i / 5)) for i in range(10)]


# Outlines in units of the radius, y downwards.
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0.0, -1.15), (1.05, 0.75), (-1.05, 0.75)],
    "star": _star(),
    "cross": [
        (-0.33, -1.05), (0.33, -1.05), (0.33, -0.33), (1.05, -0.33), (1.05, 0.33), (0.33, 0.33),
        (0.33, 1.05), (-0.33, 1.05), (-0.33, 0.33), (-1.05, 0.33), (-1.05, -0.33), (-0.33, -0.33),
    ],
}  # fmt: skip
