"""An evaluation put together: a model and shards, or embeddings alone, to a result with its evidence.

    shards --embed_views--> videos --+                                     +--> record (the result file)
    captions --the caption rule--> texts --> the protocol's check --> score +--> ranks (a row a query)
    embeddings ------------------------------------------------------------+--> evidence (for the report)

asked.py  how to evaluate; parts.py  the left half of the picture; match.py  its second pass, for a matching head;
record.py  the right half
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtr.errors import DataError, InputError
from vtr.evaluation.asked import Asked
from vtr.evaluation.parts import embedded, given
from vtr.evaluation.record import Result, recorded
from vtr.retrieval import paired, protocols
from vtr.retrieval.exact import Floats

if TYPE_CHECKING:
    from vtr.build import Loaded

__all__ = ["Asked", "Result", "of_embeddings", "of_model"]


def of_model(
    loaded: Loaded,
    shards: Sequence[Path],
    asked: Asked,
    *,
    batch: int = 32,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    command: str | None = None,
    together: bool = False,
) -> Result:
    """The result of a model on one shard directory, or on several splits of one action benchmark.

    `together`: the processes that train share the work; each gets the whole result, the same as one alone.

    Raises InputError, DataError: a protocol that the data are not of. WorkError: a video that cannot be read.
    """
    from vtr.build import clip_shape

    begin = time.perf_counter()
    protocol = protocols.known(asked.protocol)
    if not shards:
        raise InputError("no shards to evaluate on", "give --shards DIR (vtr shard makes one)")
    if len(shards) > 1 and (protocol is None or protocol.rule != "classes"):
        raise InputError("several shard directories are for splits of action protocols", "give --shards once")
    parts = [embedded(loaded, protocol, Path(at), asked, batch, workers, progress, together=together) for at in shards]
    bank = None if asked.bank is None else _bank_of_shards(loaded, asked.bank)
    shape = clip_shape(loaded.config)
    about = {
        **{name: loaded.meta[name] for name in ("model", "weights_sha256", "preprocessing", "frames")},
        "resolution": [shape.size, shape.size],
        "precision": str(loaded.embedder.dtype).removeprefix("torch."),
        "words": loaded.tokenizer.length,
        "shards": str(shards[0]) if len(shards) == 1 else [str(at) for at in shards],
        "embeddings": None,
        "command": command,
    }
    return recorded(parts, asked, protocol, about, bank, begin)


def of_embeddings(
    directory: Path, asked: Asked, *, shards: Path | None = None, command: str | None = None
) -> Result:  # fmt: skip
    """The result of vectors alone, of any origin; `shards` of the same ids gives a report its pictures.

    Raises InputError: an option that needs the model. DataError: as `paired.read`, or a protocol they are not of.
    """
    begin = time.perf_counter()
    protocol = protocols.known(asked.protocol)
    if asked.vtm:
        raise InputError(
            "--vtm needs the model, which sees videos and captions together", "give a run, not --embeddings"
        )
    if asked.probe or asked.prompt != "{}" or (protocol is None and asked.captions not in (None, "all")):
        raise InputError("--probe, --prompt and --captions change what is embedded", "give a run, not --embeddings")
    found = paired.read(directory)
    part = given(found, protocol, asked)
    if shards is not None:
        from vtr.data.index import ShardIndex

        index = ShardIndex.open(shards)
        row_of = {index.key(i): i for i in range(len(index))}
        part = replace(part, index=index, rows=np.array([row_of.get(name, -1) for name in found.ids]))
    bank = None if asked.bank is None else paired.unit_rows(_texts(asked.bank))
    names = ("model", "weights_sha256", "preprocessing", "frames")
    about = {
        **{name: found.meta.get(name) for name in names},
        "resolution": None,
        "precision": None,
        "words": None,
        "shards": None if shards is None else str(shards),
        "embeddings": str(directory),
        "command": command,
    }
    return recorded([part], asked, protocol, about, bank, begin)


def _bank_of_shards(loaded: Loaded, at: Path) -> Floats:
    from vtr.data.index import ShardIndex
    from vtr.retrieval.embed import captions_of, embed_captions

    return embed_captions(loaded.embedder, loaded.tokenizer, captions_of(ShardIndex.open(at)))


def _texts(directory: Path) -> Floats:
    """The text vectors of an export, whether it has videos or not; or of plain files."""
    from vtr.retrieval.embeddings import TEXT
    from vtr.retrieval.store import read

    if (directory / paired.TEXT).is_file():
        return paired.array(directory / paired.TEXT, "f", 2, "floats (rows, dimensions)")
    rows = read(directory).only(TEXT).vectors
    if not len(rows):
        raise DataError(f"{directory} holds no embeddings of texts", "embed with --captions")
    return rows
