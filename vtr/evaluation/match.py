"""The matching head of a SimVTP run over the first candidates of every query, clip by clip: a second pass of the data.

A pair is scored once, for whichever direction asked for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtr.errors import InputError, RunError, WorkError
from vtr.models.joint import UnifiedEncoder
from vtr.models.matcher import Matcher, head_of
from vtr.models.released_simvtp import read_match_head
from vtr.released import is_released, parse
from vtr.retrieval.paired import Paired
from vtr.retrieval.rerank import candidates
from vtr.retrieval.score import Matches

if TYPE_CHECKING:
    from vtr.build import Loaded
    from vtr.data.index import ShardIndex

_CAPTIONS = 32  # that a clip is seen with at once


def matcher(loaded: Loaded) -> Matcher:
    """The matching head of a pretraining by SimVTP with its encoder. Raises InputError: it has none. RunError."""
    model, released = loaded.embedder.model, is_released(str(loaded.path))
    if not isinstance(model, UnifiedEncoder) or not (released or loaded.config.objective.name == "simvtp"):
        raise InputError(
            f"{loaded.path} has no matching head, which --vtm reranks with",
            "give a run that `vtr pretrain simvtp-...` made, or leave out --vtm",
        )
    where, state = _released(str(loaded.path)) if released else _kept(Path(loaded.path))
    head = head_of(state, str(where))
    if head.in_features != model.width:
        raise RunError(f"{where} is of a width of {head.in_features}, the model's is {model.width}")
    return Matcher(model, head, loaded.embedder.device, loaded.embedder.dtype)


def _released(name: str) -> tuple[Path, dict[str, Tensor]]:
    """The released file of `simvtp:PATH`, and the head in it."""
    _, path, _ = parse(name)
    return path, read_match_head(path)


def _kept(run: Path) -> tuple[Path, dict[str, Tensor]]:
    """Where a run keeps what training alone needs, and that."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from vtr.checkpoint import resolve
    from vtr.runfiles import EXTRAS

    file = resolve(run) / EXTRAS
    try:
        return file, load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file} cannot be read: {error}", "the matching head is kept in it") from error


def matched(
    loaded: Loaded,
    by: Matcher,
    pair: Paired,
    index: ShardIndex,
    rows: NDArray[np.int64],
    top: int,
    batch: int,
    workers: int,
    progress: Callable[[int], None] | None,
) -> tuple[Matches, float]:
    """The candidates both ways with their log-odds, and the seconds in the encoder; `rows` (N,) of `index`.

    Raises WorkError: a video that could be read a moment ago cannot be any more.
    """
    from vtr.build import clip_shape
    from vtr.data.index import IMAGE
    from vtr.data.loader import ClipDataset, batches, workers_watched
    from vtr.data.order import evaluation_slots

    described = np.flatnonzero(pair.captioned)
    t2v = candidates(pair.text, pair.video, top)
    v2t = candidates(pair.video[described], pair.text, top)
    asking = described[v2t.query]
    # Each pair as one number, caption + C * video, sorted: all of a clip's stand together.
    count = len(pair.text)
    asked = t2v.query + count * t2v.item, v2t.item + count * asking
    pairs = np.unique(np.concatenate(asked))
    found, spent = np.full(len(pairs), np.nan), 0.0
    place = np.full(len(index), -1)
    place[rows] = np.arange(len(rows))
    slots = evaluation_slots(len(index), batch, index.facts("decoder") == IMAGE)
    with workers_watched():
        for clips, _ in batches(ClipDataset(index, clip_shape(loaded.config)), slots, loaded.tokenizer, workers):
            begin = time.perf_counter()
            for clip, sample, ok in zip(clips.clips, clips.samples.tolist(), clips.ok.tolist(), strict=True):
                video = int(place[sample])
                if video < 0:
                    continue
                if not ok:
                    raise WorkError(f"{index.key(sample)} could be read, and now cannot be", "evaluate again")
                first, end = np.searchsorted(pairs, [count * video, count * (video + 1)])
                for at in range(first, end, _CAPTIONS):
                    part = pairs[at : min(at + _CAPTIONS, end)] - count * video
                    tokens = loaded.tokenizer([pair.captions[caption] for caption in part])
                    odds = by.log_odds(clip[None], torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention))
                    found[at : at + len(part)] = odds.cpu().numpy()
            spent += time.perf_counter() - begin
            if progress:
                progress(len(clips))
    scores = [found[np.searchsorted(pairs, one)] for one in asked]
    return Matches(top, {"t2v": (t2v, scores[0]), "v2t": (v2t, scores[1])}), spent
