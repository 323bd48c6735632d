"""What an export is made of: parts, each embedded by itself and written whole, noted before the work begins.

`OUT/plan.json` holds the options, the model and the parts. A part is one tar of a shard directory, a number of video
files, or a number of lines of text; its file carries the part's digest, so that a part is done where the two are equal.
What is embedded later is added as further parts: earlier ones stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vtr import plainjson
from vtr.atomic import write_bytes
from vtr.errors import DataError
from vtr.retrieval.meta import AGREE

PLAN = "plan.json"
FORMAT = 1
SHARD, FILES, TEXT_LINES = "shard", "files", "text"
ITEM = {SHARD: (str, int, int, str), FILES: (str, int, int), TEXT_LINES: (str, str)}  # types in an item of each


@dataclass(frozen=True)
class Part:
    """Items of one kind below `root`.

    `shard`: one item [tar, first sample, samples, digest of what it holds]. `files`: [relative path, bytes, mtime in
    ns] each. `text`: [id, caption] each.
    """

    kind: str
    root: str
    items: tuple[tuple[Any, ...], ...]

    def digest(self, plan: Plan) -> str:
        """What decides the rows of this part beside the bytes that the items name; where they are does not."""
        weights = plan.meta.get("weights_sha256", "")
        fields = [self.kind, self.items, asdict(plan.options), weights]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


@dataclass(frozen=True)
class Options:
    """What all parts of an export have in common beside the model."""

    layout: str = "parquet"
    dtype: str = "float32"
    segments: str = ""
    captions: bool = False


@dataclass(frozen=True)
class Plan:
    """The parts of an export, in the order of their files."""

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
        write_bytes(directory / PLAN, (json.dumps(record, ensure_ascii=False, indent=0) + "\n").encode())

    def with_parts(self, new: Sequence[Part]) -> Plan:
        """This plan and `new`, less what is in it already; files that have changed take their old place."""
        parts = list(self.parts)
        tars = {part.items[0][3]: n for n, part in enumerate(parts) if part.kind == SHARD}
        texts = {(part.root, part.items) for part in parts if part.kind == TEXT_LINES}
        for part in new:
            if part.kind == SHARD:
                number = tars.get(part.items[0][3])
                if number is None:
                    parts.append(part)
                else:  # the same samples: they may have moved
                    parts[number] = replace(part, items=parts[number].items)
            elif part.kind == TEXT_LINES and (part.root, part.items) not in texts:
                parts.append(part)
        files = [part for part in new if part.kind == FILES]
        return replace(self, parts=tuple(_with_files(parts, files)))


def read(directory: Path) -> Plan | None:
    """The plan noted in `directory`, or None. Raises DataError for a damaged one, or another version's."""
    try:
        record = plainjson.loads((directory / PLAN).read_bytes())
        if record["format"] != FORMAT:
            raise DataError(f"{directory} was embedded by another version of vtr", "embed into another directory")
        parts = [
            Part(part["kind"], part["root"], tuple(tuple(item) for item in part["items"])) for part in record["parts"]
        ]
        meta = {str(key): str(value) for key, value in record["meta"].items()}
        _check(options := Options(**record["options"]), parts)
        return Plan(options, meta, tuple(parts))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{directory / PLAN} is damaged", f"remove {directory} and embed again") from error


def planned(directory: Path) -> Plan:
    """The plan noted in `directory`. Raises DataError when there is none, and what `read` raises."""
    plan = read(directory)
    if plan is None:
        raise DataError(f"{directory / PLAN} has gone", "run the same command again")
    return plan


def _check(options: Options, parts: Sequence[Part]) -> None:
    """Raises ValueError or TypeError for what no plan says: an export may come from anybody."""
    texts = [
        options.layout,
        options.dtype,
        options.segments,
        *(text for part in parts for text in (part.kind, part.root)),
    ]
    if not all(isinstance(text, str) for text in texts) or type(options.captions) is not bool:
        raise TypeError("a text is no text")
    for part in parts:
        if part.kind not in ITEM or not part.items:
            raise ValueError(part.kind)
        for item in part.items:
            if tuple(map(type, item)) != ITEM[part.kind]:
                raise TypeError("an item is of another kind")
            if part.kind == FILES and (PurePosixPath(item[0]).is_absolute() or ".." in PurePosixPath(item[0]).parts):
                raise ValueError("a file lies outside of its folder")


def refuse_other(old: Plan, new: Plan, directory: Path) -> None:
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


def _with_files(parts: list[Part], new: Sequence[Part]) -> list[Part]:
    """A file is known by its whole path; one with another size or time makes its part anew, a new one is added."""
    known = {
        str(Path(part.root) / item[0]): (number, place)
        for number, part in enumerate(parts)
        if part.kind == FILES
        for place, item in enumerate(part.items)
    }
    for part in new:
        added = []
        for item in part.items:
            at = known.get(str(Path(part.root) / item[0]))
            if at is None:
                added.append(item)
                continue
            old = parts[at[0]]
            if old.items[at[1]][1:] != item[1:]:
                items = list(old.items)
                items[at[1]] = (items[at[1]][0], *item[1:])
                parts[at[0]] = replace(old, items=tuple(items))
        if added:
            parts.append(replace(part, items=tuple(added)))
    return parts
