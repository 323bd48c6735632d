"""An evaluation put together: a model and shards, or embeddings alone, to a result with its evidence.

    shards --embed_views--> videos --+                                     +--> record (the result file)
    captions --the caption rule--> texts --> the protocol's check --> score +--> ranks (a row a query)
    embeddings ------------------------------------------------------------+--> evidence (for the report)

asked.py  how to evaluate; parts.py  the left half of the picture; match.py  its second pass, for a matching head;
record.py  the right half; bank.py  QB-Norm's captions; lost.py  what sharding left out
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vtr.errors import InputError
from vtr.evaluation import bank
from vtr.evaluation.asked import Asked
from vtr.evaluation.parts import embedded, given
from vtr.evaluation.record import Result, recorded
from vtr.retrieval import paired, protocols

if TYPE_CHECKING:
    from vtr.build import Loaded
    from vtr.retrieval.protocols import Protocol

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
    _refuse_one_split_twice(protocol, [Path(at) for at in shards])
    words = None if asked.bank is None else bank.of_shards(asked.bank, [Path(at) for at in shards])
    parts = [embedded(loaded, protocol, Path(at), asked, batch, workers, progress, together=together) for at in shards]
    texts = None if asked.bank is None or words is None else bank.embedded(loaded, asked.bank, *words)
    shape = clip_shape(loaded.config)
    about = {
        **_model(loaded.meta),
        "resolution": [shape.size, shape.size],
        "precision": str(loaded.embedder.dtype).removeprefix("torch."),
        "words": loaded.tokenizer.length,
        "shards": str(shards[0]) if len(shards) == 1 else [str(at) for at in shards],
        "embeddings": None,
        "vectors_sha256": None,
        "command": command,
    }
    return recorded(parts, asked, protocol, about, texts, begin)


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
    part = given(found, protocol, asked, shards)
    texts = None if asked.bank is None else bank.of_embeddings(asked.bank, found)
    about = {
        **_model(found.meta),
        "resolution": None,
        "precision": None,
        "words": None,
        "shards": None if shards is None else str(shards),
        "embeddings": str(directory),
        "vectors_sha256": found.vectors_sha256,
        "command": command,
    }
    return recorded([part], asked, protocol, about, texts, begin)


def _refuse_one_split_twice(protocol: Protocol | None, shards: Sequence[Path]) -> None:
    """Raises InputError: the mean over splits would count one more than once, and call itself surer than it is."""
    if len(shards) == 1:
        return
    from vtr.data.index import ShardIndex

    seen: dict[str, Path] = {}
    for at in shards:
        split = protocols.split_of(protocol, ShardIndex.open(at).facts("split").tolist())
        if split in seen:
            raise InputError(f"{seen[split]} and {at} are both of the split {split}", "give each split once")
        seen[split] = at


def _model(meta: Mapping[str, str]) -> dict[str, str | int | None]:
    """What a record says of the model; of vectors of another origin some of it is not known."""
    frames = meta.get("frames", "")
    found = {name: meta.get(name) for name in ("model", "weights_sha256", "preprocessing")}
    return {**found, "frames": int(frames) if re.fullmatch("[0-9]{1,9}", frames) else None}
