"""What embeddings are made of: parts, each embedded by itself and written whole, noted before the work begins.

`OUT/plan.json` holds the options, the model and the parts. A part is one tar of a shard directory, a number of video
files, or a number of lines of text; its file carries the part's digest, so that a part is done where the two are equal.
What is embedded later is added as further parts: see merge.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vtr import plainjson
from vtr.atomic import write_bytes
from vtr.errors import DataError
from vtr.retrieval.meta import AGREE

PLAN = "plan.json"
FORMAT = 2
SHARD, FILES, TEXT_LINES = "shard", "files", "text"
ITEM = {SHARD: (str, int, str), FILES: (str, int, int, str), TEXT_LINES: (str, str)}  # types in an item of each


@dataclass(frozen=True)
class Part:
    """Items of one kind below `root`; none where what was embedded has gone since.

    `shard`: one item [tar, samples, digest of what it holds]. `files`: [relative path, bytes, mtime in ns, digest of
    its captions] each. `text`: [id, caption] each, of the file `root`.
    """

    kind: str
    root: str
    items: tuple[tuple[Any, ...], ...]

    def digest(self, plan: EmbeddingPlan) -> str:
        """What decides the rows of this part beside the bytes that the items name; where they are does not."""
        weights = plan.meta.get("weights_sha256", "")
        name = Path(self.root).name if self.kind == TEXT_LINES else ""  # the source of a line
        fields = [self.kind, name, self.items, asdict(plan.options), weights]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


@dataclass(frozen=True)
class Options:
    """What all parts of embeddings have in common beside the model."""

    layout: str = "parquet"
    dtype: str = "float32"
    segments: str = ""
    captions: bool = False


@dataclass(frozen=True)
class EmbeddingPlan:
    """The parts of embeddings, in the order of their files."""

    options: Options
    meta: Mapping[str, str]
    parts: tuple[Part, ...] = ()

    def write(self, directory: Path) -> None:
        """Notes the plan, at once and whole."""
        record = {
            "format": FORMAT,
            "options": asdict(self.options),
            "meta": dict(self.meta),
            "parts": [{"kind": part.kind, "root": part.root, "items": part.items} for part in self.parts],
        }
        text = json.dumps(record, ensure_ascii=False, indent=0) + "\n"
        # Half a surrogate, of a name that is not UTF-8, stands as JSON's own escape.
        write_bytes(directory / PLAN, text.encode("utf-8", "backslashreplace"))


def read(directory: Path) -> EmbeddingPlan | None:
    """The plan noted in `directory`, or None. Raises DataError for a damaged one, or another version's."""
    try:
        record = plainjson.load(directory / PLAN)
        if record["format"] != FORMAT:
            raise DataError(f"{directory} was embedded by another version of vtr", "embed into another directory")
        parts = [
            Part(part["kind"], part["root"], tuple(tuple(item) for item in part["items"])) for part in record["parts"]
        ]
        meta = {str(key): str(value) for key, value in record["meta"].items()}
        _check(options := Options(**record["options"]), parts)
        return EmbeddingPlan(options, meta, tuple(parts))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{directory / PLAN} is damaged", f"remove {directory} and embed again") from error


def planned(directory: Path) -> EmbeddingPlan:
    """The plan noted in `directory`. Raises DataError when there is none, and what `read` raises."""
    plan = read(directory)
    if plan is None:
        raise DataError(f"{directory / PLAN} has gone", "run the same command again")
    return plan


def _check(options: Options, parts: Sequence[Part]) -> None:
    """Raises ValueError or TypeError for what no plan says: embeddings may come from anybody."""
    texts = [
        options.layout,
        options.dtype,
        options.segments,
        *(text for part in parts for text in (part.kind, part.root)),
    ]
    if not all(isinstance(text, str) for text in texts) or type(options.captions) is not bool:
        raise TypeError("a text is no text")
    for part in parts:
        if part.kind not in ITEM or (part.kind == SHARD and len(part.items) > 1):
            raise ValueError(part.kind)
        for item in part.items:
            if tuple(map(type, item)) != ITEM[part.kind]:
                raise TypeError("an item is of another kind")
            if part.kind == FILES and (PurePosixPath(item[0]).is_absolute() or ".." in PurePosixPath(item[0]).parts):
                raise ValueError("a file lies outside of its folder")


def refuse_other(old: EmbeddingPlan, new: EmbeddingPlan, directory: Path) -> None:
    """Raises DataError unless `new` may add to `old`: the same model and options."""
    hint = "embed into another directory, or all of it anew with --overwrite"
    for key in AGREE:
        before, now = old.meta.get(key, ""), new.meta.get(key, "")
        if key != "model" and before != now:
            raise DataError(
                f"{directory} holds embeddings of another model: its {key} is {before[:60]} ({old.meta['model']}), "
                f"this one's is {now[:60]} ({new.meta['model']})",
                hint,
            )
    changed = [
        f"{name} was {value or 'none'} and is {asdict(new.options)[name] or 'none'}"
        for name, value in asdict(old.options).items()
        if asdict(new.options)[name] != value
    ]
    if changed:
        raise DataError(f"{directory} was embedded with other options: {', '.join(changed)}", hint)


def printable(path: Path | str) -> str:
    """A path as text that every file can hold: bytes of it that are no UTF-8 stand as \\xe9, say."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
