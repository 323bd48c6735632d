"""Rows of frames with words, drawn one clip below the other on one sheet.

Letters: S slots, n cells of a slot, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, GAP, SHOWN = 112, 4, 4  # pixels of a frame, between frames, and frames of a clip that are drawn
LEFT, LINE = 90, 14  # pixels before the first frame, and of a line of words
MOST = 4000  # letters of a text that are drawn: more than any text model reads
WIDTH = LEFT + SHOWN * (SIDE + GAP)


@dataclass(frozen=True)
class Row:
    """A line of pictures: its name, T' frames (T',H,W,3) in 0..255, and what it reads below."""

    name: str
    frames: Tensor
    words: str = ""


def film(patches: Tensor, patch: int, tubelet: int) -> Tensor:
    """(S,n,3*t*p*p) -> (S*t,H,W,3): patches, laid out as `visible_patches` gives them, back to frames."""
    slots, cells = patches.shape[:2]
    side = int(cells**0.5)
    x = patches.view(slots, side, side, 3, tubelet, patch, patch).permute(0, 4, 1, 5, 2, 6, 3)
    return x.reshape(slots * tubelet, side * patch, side * patch, 3)


def frames_of(clip: Tensor) -> Tensor:
    """(T,3,H,W) -> (T,H,W,3), as numbers that can be drawn with."""
    return clip.permute(0, 2, 3, 1).float()


def heat(clip: Tensor, cosines: Tensor, grid: int, tubelet: int) -> Tensor:
    """(T,3,H,W), (S,n) -> (T,H,W,3): the frames in grey, red where the cosine is the clip's highest."""
    grey = frames_of(clip).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    low, high = cosines.min(), cosines.max()
    warm = ((cosines - low) / (high - low).clamp(min=1e-6)).view(-1, 1, grid, grid)
    warm = F.interpolate(warm, clip.shape[-2:], mode="nearest").repeat_interleave(tubelet, 0).permute(0, 2, 3, 1)
    colour = torch.cat([warm * 255, torch.zeros_like(warm), (1 - warm) * 255], dim=-1)
    return 0.5 * grey + 0.5 * colour


def sheet(clips: Sequence[Sequence[Row]], captions: Sequence[str], note: str = "") -> Image:
    """The rows of each clip below each other, its caption above, its name and words beside; the `note` at the foot."""
    from PIL import Image, ImageDraw, ImageFont

    font: Any = ImageFont.load_default()
    above = [lines(caption, font, WIDTH - 2 * GAP) for caption in captions]
    below = [[lines(row.words, font, WIDTH - LEFT - GAP) for row in rows] for rows in clips]
    foot = lines(note, font, WIDTH - 2 * GAP)
    height = GAP + LINE * len(foot)
    for texts, words in zip(above, below, strict=True):
        height += LINE * len(texts) + sum(SIDE + GAP + LINE * len(text) for text in words) + GAP
    page = Image.new("RGB", (WIDTH, height), "white")
    draw, y = ImageDraw.Draw(page), 0

    def write(x: int, texts: list[str]) -> None:
        nonlocal y
        for text in texts:
            draw.text((x, y), text, fill="black", font=font)
            y += LINE

    for rows, texts, words in zip(clips, above, below, strict=True):
        write(GAP, texts)
        for row, text in zip(rows, words, strict=True):
            draw.text((GAP, y + SIDE // 2), row.name, fill="black", font=font)
            some = torch.linspace(0, len(row.frames) - 1, min(SHOWN, len(row.frames))).round().long()
            for column, frame in enumerate(row.frames[some]):
                picture = Image.fromarray(frame.round().clamp(0, 255).to(torch.uint8).numpy())
                nearest = Image.Resampling.NEAREST
                page.paste(picture.resize((SIDE, SIDE), nearest), (LEFT + column * (SIDE + GAP), y))
            y += SIDE
            write(LEFT, text)
            y += GAP
        y += GAP
    write(GAP, foot)
    return page


def lines(text: str, font: Any, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken between words, and within one that is wider than that."""
    found, line = [], ""
    for word in (text if len(text) <= MOST else f"{text[:MOST]} ..").split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            found.append(line)
        line = word
        while font.getlength(line) > width:
            fits = 1
            while font.getlength(line[: fits + 1]) <= width:
                fits += 1
            found.append(line[:fits])
            line = line[fits:]
    return [*found, line] if line else found
