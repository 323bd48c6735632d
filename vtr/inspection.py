"""What a run makes of a few clips, as a picture: what stayed visible, what SimVTP restores, what a word looks at.

Letters: B clips, S slots, n cells of a slot, T frames, L text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr import build, makers, runfiles
from vtr.atomic import check_writable, replacing
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, batches
from vtr.errors import InputError, RunError
from vtr.masking import hidden_cells, visible_cells
from vtr.models.dual import DualEncoder
from vtr.models.patches import visible_patches
from vtr.objectives.mac import MAC
from vtr.objectives.miles import MILES
from vtr.objectives.simvtp import SimVTP
from vtr.rng import fold_in_rows
from vtr.types import Batch

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, GAP, SHOWN = 112, 4, 4  # pixels of a frame, between frames, and frames of a clip that are drawn
GREY, LONG = 128, 4


@dataclass(frozen=True)
class Row:
    """A line of pictures: its name, T' frames (T',H,W,3) in 0..255, and what it reads below."""

    name: str
    frames: Tensor
    words: str = ""


def reconstruct(run: Path, out: Path, shards: Path | None, clips: int = 3, seed: int = 0) -> dict[str, Any]:
    """Draws `clips` clips of `shards` (synthetic ones without) as `run` sees them into `out`, and returns the figures.

    Of SimVTP: the clip, what stayed visible, what it restores, and its guesses of the hidden words. Of MAC and MILES:
    the clip, its mask, and for a word how near each patch is to it. Raises InputError for a file that is no PNG's name,
    RunError for a run that hides nothing.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"--reconstruct {out} is no PNG", "name a file that ends in .png")
    place = check_writable(out, make=True)
    config, model, words, folder = build.load_parts(run)
    objective = makers.make_objective(config, model.eval(), words)
    if not isinstance(objective, (SimVTP, MAC, MILES)):
        raise RunError(
            f"{run} was trained by contrast alone, which hides nothing", "give a run of mac, simvtp or miles"
        )
    runfiles.read_extras(folder, objective)
    objective.eval()
    batch, captions = _samples(config, words, shards, clips)
    with torch.no_grad():
        if isinstance(objective, SimVTP):
            blocks, figures = _restored(objective, batch, words, seed)
        else:
            blocks, figures = _looked_at(objective, batch, words, seed)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place) as file:
        _drawn(blocks, captions).save(file, "PNG")
    return {"run": str(run), "out": str(out), "clips": list(batch.keys), "captions": captions, **figures}


def _samples(config: Any, words: Any, shards: Path | None, count: int) -> tuple[Batch, list[str]]:
    if shards is not None:
        index = ShardIndex.open(shards)
        count = min(count, len(index))
        dataset = ClipDataset(index, build.clip_shape(config))
        batch, errors = next(iter(batches(dataset, [[(0, i) for i in range(count)]], words, 0)))
        if errors:
            raise InputError(f"{errors[0][0]} in {shards} cannot be read: {errors[0][2]}", "choose other shards")
        return batch, [index.captions(i)[0] for i in range(count)]
    from itertools import islice

    from vtr.data import synthetic
    from vtr.data.clips import evaluation_crop, segment_frames

    scenes = list(islice(synthetic.scenes(0, "test"), count))
    data = config.data
    numbers = segment_frames(synthetic.FRAMES, data.frames)
    films = [evaluation_crop(synthetic.render(scene)[numbers], data.resize, data.size) for scene in scenes]
    captions = [synthetic.caption(scene) for scene in scenes]
    tokens = words(captions)
    batch = Batch(
        clips=torch.stack(films),
        ids=torch.from_numpy(tokens.ids),
        attention=torch.from_numpy(tokens.attention),
        maskable=torch.from_numpy(tokens.maskable),
        samples=torch.arange(count),
        ok=torch.ones(count, dtype=torch.bool),
        keys=tuple(f"synthetic-{i}" for i in range(count)),
    )
    return batch, captions


def _restored(objective: SimVTP, batch: Batch, words: Any, seed: int) -> tuple[list[list[Row]], dict[str, Any]]:
    """For each clip: itself, what stayed visible, and the whole with its hidden tubes restored."""
    model = objective.model
    visible, hidden, lost = objective.masks(batch, seed)
    tubes = model.tubes(batch.clips, visible)
    given = torch.where(lost, objective.mask_id, batch.ids)
    joint = objective.together(tubes, model.words(given), batch.attention)
    restored = objective.decoder(joint[:, : tubes.shape[1]], visible, hidden)  # (B,M,P), standardised
    guesses = objective.word_head(joint[:, tubes.shape[1] :]).argmax(-1)

    # The target's mean and deviation are the true ones, as in the papers' pictures: a tube's colour is not restored.
    true = visible_patches(batch.clips, hidden, model.patch, model.tubelet).flatten(1, 2).float()
    true = true.view(*true.shape[:2], 3, -1)
    values = restored.view(*true.shape[:2], -1, 3).transpose(2, 3)
    values = values * _deviation(true, objective.pixel_floor) + true.mean(-1, keepdim=True)
    whole = visible_patches(batch.clips, None, model.patch, model.tubelet).float()  # (B,S,n,3*t*p*p)
    places = hidden[..., None].expand(-1, -1, -1, whole.shape[-1])
    filled = whole.scatter(2, places, values.flatten(2).view_as(places).clamp(0, 255))
    shown = whole.scatter(2, places, torch.full_like(places, GREY, dtype=whole.dtype))
    blocks = []
    for i in range(len(batch)):
        seen, guessed = (
            _text(words, given[i], batch.attention[i]),
            _text(words, torch.where(lost, guesses, batch.ids)[i], batch.attention[i]),
        )
        blocks.append([
            Row("clip", _frames(batch.clips[i])),
            Row("visible", _film(shown[i], model.patch, model.tubelet), seen),
            Row("restored", _film(filled[i], model.patch, model.tubelet), guessed),
        ])  # fmt: skip
    right = (guesses == batch.ids) & lost
    error = (restored.float() - _standard(true, objective.pixel_floor)).square().mean()
    return blocks, {
        "pixel_error": round(float(error), 4),
        "words_right": round(float(right.sum() / lost.sum().clamp(min=1)), 4),
        "words_hidden": int(lost.sum()),
    }


def _standard(true: Tensor, floor: float) -> Tensor:
    return ((true - true.mean(-1, keepdim=True)) / _deviation(true, floor)).transpose(2, 3).flatten(2)


def _deviation(true: Tensor, floor: float) -> Tensor:
    """(B,M,3,t*p*p) in 0..255 -> (B,M,3,1): what a tube's colour is divided by; `floor` is of 0..1."""
    return true.var(-1, keepdim=True).sqrt() + floor * 255


def _looked_at(objective: MAC | MILES, batch: Batch, words: Any, seed: int) -> tuple[list[list[Row]], dict[str, Any]]:
    """For each clip: itself, its mask, and the cosines of its patches and one word of its caption."""
    model: DualEncoder = objective.model
    encoder = model.video
    slots = batch.clips.shape[1] // encoder.tubelet
    visible = visible_cells(fold_in_rows(seed, batch.samples), slots, encoder.cells, objective.visible, objective.mask)
    hidden = hidden_cells(visible, encoder.cells)
    patches = visible_patches(batch.clips, None, encoder.patch, encoder.tubelet).float()
    masked = torch.where(hidden[..., None], GREY, patches)
    tokens = F.normalize(model.vid_proj(encoder(batch.clips)[:, 1:]), dim=-1)
    states = model.text.model(input_ids=batch.ids, attention_mask=batch.attention.long()).last_hidden_state
    spoken = F.normalize(model.txt_proj(states), dim=-1)
    cosines = torch.einsum("bne,ble->bln", tokens, spoken).view(len(batch), -1, slots, encoder.cells)
    blocks, chosen = [], []
    for i in range(len(batch)):
        # Of the longer words, which mean something, the one whose patches differ most.
        tokens_of = [words.backend.id_to_token(int(token)) for token in batch.ids[i]]
        long = batch.maskable[i] & torch.tensor([len(token) >= LONG for token in tokens_of])
        spread = cosines[i].flatten(1).std(1)
        place = int(spread.masked_fill(~(long if long.any() else batch.maskable[i]), -1).argmax())
        chosen.append(words.backend.id_to_token(int(batch.ids[i, place])))
        blocks.append([
            Row("clip", _frames(batch.clips[i])),
            Row("mask", _film(masked[i], encoder.patch, encoder.tubelet)),
            Row(f"'{chosen[-1]}'", _heat(batch.clips[i], cosines[i, place], encoder.grid, encoder.tubelet)),
        ])  # fmt: skip
    return blocks, {"words": chosen, "visible": int(visible.shape[-1]), "cells": encoder.cells}


def _text(words: Any, ids: Tensor, attention: Tensor) -> str:
    tokens = [words.backend.id_to_token(int(token)) for token in ids[attention][1:-1]]
    return " ".join("_" if token == "[MASK]" else token for token in tokens).replace(" ##", "")  # noqa: S105


def _film(patches: Tensor, patch: int, tubelet: int) -> Tensor:
    """(S,n,3*t*p*p) -> (S*t,H,W,3): patches, laid out as `visible_patches` gives them, back to frames."""
    slots, cells = patches.shape[:2]
    side = int(cells**0.5)
    x = patches.view(slots, side, side, 3, tubelet, patch, patch).permute(0, 4, 1, 5, 2, 6, 3)
    return x.reshape(slots * tubelet, side * patch, side * patch, 3)


def _frames(clip: Tensor) -> Tensor:
    return clip.permute(0, 2, 3, 1).float()


def _heat(clip: Tensor, cosines: Tensor, grid: int, tubelet: int) -> Tensor:
    """(T,3,H,W), (S,n) -> (T,H,W,3): the frames in grey, red where the cosine is the clip's highest."""
    grey = _frames(clip).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    low, high = cosines.min(), cosines.max()
    warm = ((cosines - low) / (high - low).clamp(min=1e-6)).view(-1, 1, grid, grid)
    warm = F.interpolate(warm, clip.shape[-2:], mode="nearest").repeat_interleave(tubelet, 0).permute(0, 2, 3, 1)
    colour = torch.cat([warm * 255, torch.zeros_like(warm), (1 - warm) * 255], dim=-1)
    return 0.5 * grey + 0.5 * colour


def _drawn(blocks: list[list[Row]], captions: list[str]) -> Image:
    """The rows of each clip below each other, its caption above, its name and words beside."""
    from PIL import Image, ImageDraw

    left, line = 90, 14
    width = left + SHOWN * (SIDE + GAP)
    heights = [line + sum(SIDE + GAP + (line if row.words else 0) for row in rows) + GAP for rows in blocks]
    sheet = Image.new("RGB", (max(width, 560), sum(heights)), "white")
    draw, y = ImageDraw.Draw(sheet), 0
    for rows, caption in zip(blocks, captions, strict=True):
        draw.text((GAP, y), caption, fill="black")
        y += line
        for row in rows:
            draw.text((GAP, y + SIDE // 2), row.name, fill="black")
            some = torch.linspace(0, len(row.frames) - 1, min(SHOWN, len(row.frames))).round().long()
            for column, frame in enumerate(row.frames[some]):
                picture = Image.fromarray(frame.round().clamp(0, 255).to(torch.uint8).numpy())
                nearest = Image.Resampling.NEAREST
                sheet.paste(picture.resize((SIDE, SIDE), nearest), (left + column * (SIDE + GAP), y))
            y += SIDE + GAP
            if row.words:
                draw.text((left, y - GAP), row.words, fill="black")
                y += line
        y += GAP
    return sheet
