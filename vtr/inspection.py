"""What a run makes of a few clips, as a picture: what stayed visible, what SimVTP restores, what a word looks at.

Letters: B clips, S slots, n cells of a slot, T frames, L text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr import build, makers, runfiles
from vtr.atomic import check_writable, replacing
from vtr.config import OWN
from vtr.data.index import IMAGE, ShardIndex
from vtr.data.loader import ClipDataset, batches
from vtr.data.order import evaluation_slots
from vtr.drawing import Row, film, frames_of, heat, sheet
from vtr.errors import InputError, RunError
from vtr.masking import hidden_cells, visible_cells
from vtr.models.dual import DualEncoder
from vtr.models.patches import visible_patches
from vtr.objectives.mac import MAC
from vtr.objectives.miles import MILES
from vtr.objectives.simvtp import SimVTP
from vtr.rng import fold_in_rows
from vtr.types import Batch

GREY, LONG = 128, 4
COLOURS = "restored: the true mean and contrast of each hidden tube and colour; from the model is the pattern within it"


@dataclass(frozen=True)
class Seen:
    """What is drawn of one clip, and what the model made of it."""

    rows: list[Row]
    figures: dict[str, Any]


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
    if config.objective.name == OWN:
        raise RunError(
            f"{run} was trained with an objective of its own; what that hides or restores it does not say",
            "give a run of mac, simvtp or miles",
        )
    objective = makers.make_objective(config, model.eval(), words)
    if not isinstance(objective, (SimVTP, MAC, MILES)):
        name = config.objective.name
        raise RunError(
            f"{run} was trained by {name}, which hides nothing that can be drawn", "give a run of mac, simvtp or miles"
        )
    runfiles.read_extras(folder, objective)
    objective.eval()
    found, captions = _samples(config, words, shards, clips)
    seen: list[Seen] = []
    with torch.no_grad():
        for batch in found:
            seen += (
                _restored(objective, batch, words, seed)
                if isinstance(objective, SimVTP)
                else _looked_at(objective, batch, words, seed)
            )
    place.parent.mkdir(parents=True, exist_ok=True)
    note = COLOURS if isinstance(objective, SimVTP) else ""
    with replacing(place) as file:
        sheet([clip.rows for clip in seen], captions, note).save(file, "PNG")
    figures = [clip.figures for clip in seen]
    told = _restoring(figures) if isinstance(objective, SimVTP) else _looking(figures)
    return {
        "run": str(run),
        "out": str(out),
        "clips": [key for batch in found for key in batch.keys],
        "captions": captions,
        **told,
    }


def _restoring(clips: list[dict[str, Any]]) -> dict[str, Any]:
    hidden = sum(clip["hidden"] for clip in clips)
    return {
        "pixel_error": round(sum(clip["error"] for clip in clips) / len(clips), 4),
        "words_right": round(sum(clip["right"] for clip in clips) / max(1, hidden), 4),
        "words_hidden": hidden,
    }


def _looking(clips: list[dict[str, Any]]) -> dict[str, Any]:
    return {"words": [clip["word"] for clip in clips], "visible": clips[0]["visible"], "cells": clips[0]["cells"]}


def _samples(config: Any, words: Any, shards: Path | None, count: int) -> tuple[list[Batch], list[str]]:
    """The first `count` samples and their captions, images and videos in batches of their own."""
    if shards is not None:
        index = ShardIndex.open(shards)
        count = min(count, len(index))
        slots = evaluation_slots(count, count, (index.facts("decoder") == IMAGE)[:count])
        found = []
        for batch, errors in batches(ClipDataset(index, build.clip_shape(config)), slots, words, 0):
            if errors:
                raise InputError(f"{errors[0][0]} in {shards} cannot be read: {errors[0][2]}", "choose other shards")
            found.append(batch)
        return found, [index.captions(i)[0] for i in range(count)]
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
    return [batch], captions


def _restored(objective: SimVTP, batch: Batch, words: Any, seed: int) -> list[Seen]:
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
    right = (guesses == batch.ids) & lost
    errors = (restored.float() - _standard(true, objective.pixel_floor)).square().mean((1, 2))
    found = []
    for i in range(len(batch)):
        seen, guessed = (
            _text(words, given[i], batch.attention[i]),
            _text(words, torch.where(lost, guesses, batch.ids)[i], batch.attention[i]),
        )
        rows = [
            Row("clip", frames_of(batch.clips[i])),
            Row("visible", film(shown[i], model.patch, model.tubelet), seen),
            Row("restored", film(filled[i], model.patch, model.tubelet), guessed),
        ]
        found.append(
            Seen(rows, {"error": float(errors[i]), "right": int(right[i].sum()), "hidden": int(lost[i].sum())})
        )
    return found


def _standard(true: Tensor, floor: float) -> Tensor:
    return ((true - true.mean(-1, keepdim=True)) / _deviation(true, floor)).transpose(2, 3).flatten(2)


def _deviation(true: Tensor, floor: float) -> Tensor:
    """(B,M,3,t*p*p) in 0..255 -> (B,M,3,1): what a tube's colour is divided by; `floor` is of 0..1."""
    return true.var(-1, keepdim=True).sqrt() + floor * 255


def _looked_at(objective: MAC | MILES, batch: Batch, words: Any, seed: int) -> list[Seen]:
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
    found = []
    for i in range(len(batch)):
        # Of the longer words, which mean something, the one whose patches differ most.
        tokens_of = [words.backend.id_to_token(int(token)) for token in batch.ids[i]]
        long = batch.maskable[i] & torch.tensor([len(token) >= LONG for token in tokens_of])
        spread = cosines[i].flatten(1).std(1)
        place = int(spread.masked_fill(~(long if long.any() else batch.maskable[i]), -1).argmax())
        word = words.backend.id_to_token(int(batch.ids[i, place]))
        rows = [
            Row("clip", frames_of(batch.clips[i])),
            Row("mask", film(masked[i], encoder.patch, encoder.tubelet)),
            Row(f"'{word}'", heat(batch.clips[i], cosines[i, place], encoder.grid, encoder.tubelet)),
        ]
        found.append(Seen(rows, {"word": word, "visible": int(visible.shape[-1]), "cells": encoder.cells}))
    return found


def _text(words: Any, ids: Tensor, attention: Tensor) -> str:
    tokens = [words.backend.id_to_token(int(token)) for token in ids[attention][1:-1]]
    return " ".join("_" if token == "[MASK]" else token for token in tokens).replace(" ##", "")  # noqa: S105
