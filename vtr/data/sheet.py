"""A contact sheet: samples from all over a shard directory, each with four of its frames, its key and a caption.

Below the frames of each, where asked for, are the same with what a mask hides of them in grey.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vtr.data import stored
from vtr.data.apart import LIMIT_S, PATIENCE, Decoder
from vtr.data.index import ShardIndex
from vtr.errors import VideoError

FRAMES = 4
TALL, WIDE = 104, 176  # of one picture, in pixels
TEXT, GAP, COLUMNS = 34, 8, 2
BACKGROUND, INK, FAINT, HIDDEN = (250, 250, 248), (20, 20, 20), (120, 120, 120), (160, 160, 160)
GRID = 14  # cells a side, as 16 x 16 patches make of 224 x 224 pixels


def make_sheet(
    index: ShardIndex, samples: int = 24, mask_ratio: float = 0.0, time_limit_s: float = LIMIT_S
) -> tuple[Image.Image, int]:
    """The sheet of so many samples, evenly spaced in the order of the index; a damaged one shows its error instead.

    Beside it how many were not tried, since several before them hung or crashed the decoder.

    A `mask_ratio` above 0 shows that share of the cells of each frame hidden, as MAC does. Raises ConfigError for one
    that is not in [0, 1). A sample that is not decoded in `time_limit_s` is damaged too.
    """
    count = min(samples, len(index))
    chosen = [(2 * k + 1) * len(index) // (2 * count) for k in range(count)]
    rows = -(-count // COLUMNS)
    cell = FRAMES * (WIDE + 2) + GAP
    tall = 2 * TALL + 2 if mask_ratio else TALL  # of the pictures of a sample
    width, height = min(count, COLUMNS) * cell + GAP, rows * (tall + TEXT + GAP) + GAP
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    with Decoder(time_limit_s, PATIENCE) as decode:
        for place, i in enumerate(chosen):
            left = GAP + place % COLUMNS * cell
            top = GAP + place // COLUMNS * (tall + TEXT + GAP)
            size = f"{index.fact(i, 'width')}x{index.fact(i, 'height')}"
            facts = f"{index.key(i)}   {index.fact(i, 'duration_s'):.1f} s   {size}"
            _write(draw, (left, top + tall + 2), facts, FAINT, font, cell - GAP)
            _write(draw, (left, top + tall + 17), index.captions(i)[0], INK, font, cell - GAP)
            try:
                pictures = _frames(index, i, decode)
            except VideoError as error:
                _write(draw, (left, top + tall // 2), f"{error.kind}: {error.message}", (180, 0, 0), font, cell - GAP)
                continue
            lines = [pictures, _masked(pictures, i, mask_ratio)] if mask_ratio else [pictures]
            for line, several in enumerate(lines):
                for k, picture in enumerate(several):
                    x = left + k * (WIDE + 2) + (WIDE - picture.width) // 2
                    sheet.paste(picture, (x, top + line * (TALL + 2) + (TALL - picture.height) // 2))
    return sheet, decode.left_out


def _masked(pictures: list[Image.Image], sample: int, ratio: float) -> list[Image.Image]:
    """The same pictures with the cells in grey that a mask of its own hides of each."""
    import torch

    from vtr.masking import visible_cells, visible_count
    from vtr.rng import fold_in_rows

    cells = GRID * GRID
    seeds = fold_in_rows(0, torch.tensor([sample]))
    visible = visible_cells(seeds, len(pictures), cells, visible_count(cells, ratio))[0]
    shown = torch.zeros(len(pictures), cells, dtype=torch.bool).scatter(1, visible, True).view(-1, GRID, GRID)
    masks = [Image.fromarray(one.numpy()).resize(picture.size) for one, picture in zip(shown, pictures, strict=True)]
    return [
        Image.composite(picture, Image.new("RGB", picture.size, HIDDEN), mask)
        for picture, mask in zip(pictures, masks, strict=True)
    ]


def _frames(index: ShardIndex, i: int, decode: Decoder) -> list[Image.Image]:
    """The middles of four equal parts, one of an image, each made to fit its place."""
    frames = int(index.fact(i, "frames"))
    numbers = sorted({(2 * k + 1) * frames // (2 * FRAMES) for k in range(FRAMES)})
    pictures = []
    for frame in decode(stored.decode, stored.fetch(index, i, numbers)):
        picture = Image.fromarray(np.ascontiguousarray(frame))
        scale = min(WIDE / picture.width, TALL / picture.height)
        pictures.append(picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))))
    return pictures


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> None:
    """One line, cut where it would leave its cell."""
    text = " ".join(text.split())
    whole = text
    while text and draw.textlength(text + ("..." if text != whole else ""), font=font) > width:
        text = text[: -max(1, len(text) // 20)]
    draw.text(at, text + ("..." if text != whole else ""), fill=colour, font=font)
