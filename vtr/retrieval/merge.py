"""Sources that come again: what is embedded stays, what has changed takes its old place, nothing comes twice.

    a tar           is known by what it holds, then by its name; one that the index does not name any more goes
    a video file    by its path; one that has gone stays
    a line of text  by its id and words; the lines that a file has no more go

What was moved is known by what is in it: all that was embedded of it is in the new place, and the old one is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtr.data.index import ShardIndex
from vtr.data.remote import url_of
from vtr.retrieval.plan import FILES, SHARD, TEXT_LINES, EmbeddingPlan, Part, printable

LINES = 100_000  # in a part


def merged(plan: EmbeddingPlan, new: Sequence[Part]) -> EmbeddingPlan:
    """`plan` with the parts `new`, all of one kind and root: what is to be embedded has another digest or is last."""
    if not new:
        return plan
    parts = list(plan.parts)
    _follow(parts, new)
    {SHARD: _put_tars, FILES: _put_files, TEXT_LINES: _put_lines}[new[0].kind](parts, new)
    return replace(plan, parts=tuple(parts))


def _follow(parts: list[Part], new: Sequence[Part]) -> None:
    """Parts of a root that is not there any more are below the root of `new` now, if all that they hold is there."""
    kind, root = new[0].kind, new[0].root
    has = _marks(new) - _marks(part for part in parts if (part.kind, part.root) == (kind, root))
    for other in dict.fromkeys(part.root for part in parts if part.kind == kind and part.root != root):
        if url_of(other) is not None or Path(other).exists():
            continue
        own = [n for n, part in enumerate(parts) if (part.kind, part.root) == (kind, other)]
        marks = _marks(parts[n] for n in own)
        if marks and marks <= has:
            has -= marks  # what one source was is not another as well
            for n in own:
                parts[n] = replace(parts[n], root=root)


def _marks(parts: Iterable[Part]) -> Counter[Any]:
    """What items are known by wherever they are: a tar's digest, a file's name and size, a line's words."""
    return Counter(item[:2] if part.kind == FILES else item[-1] for part in parts for item in part.items)


def _put_tars(parts: list[Part], new: Sequence[Part]) -> None:
    root, given = new[0].root, {part.items[0][0] for part in new}
    left = {n for n, part in enumerate(parts) if part.kind == SHARD and part.items}
    for known_by in (_content, _name):
        places = {known_by(parts[n]): n for n in left}
        unknown = []
        for part in new:
            n = places.pop(known_by(part), None)
            if n is None:
                unknown.append(part)
            else:
                parts[n] = part
                left.remove(n)
        new = unknown
    parts += new
    own = [n for n in left if parts[n].root == root]
    others = {shard.name for shard in ShardIndex(root).shards} - given if own else set()  # which a pattern left out
    for n in own:
        if parts[n].items[0][0] not in others:
            parts[n] = replace(parts[n], items=())


def _content(part: Part) -> str:
    return str(part.items[0][2])


def _name(part: Part) -> str:
    return f"{part.root}/{part.items[0][0]}"


def _put_files(parts: list[Part], new: Sequence[Part]) -> None:
    known = {
        Path(part.root, item[0]): (n, place)
        for n, part in enumerate(parts)
        if part.kind == FILES
        for place, item in enumerate(part.items)
    }
    for part in new:
        added = []
        for item in part.items:
            at = known.get(Path(part.root, item[0]))
            if at is None:
                added.append(item)
                continue
            n, place = at
            items = list(parts[n].items)
            if items[place][1:] != item[1:]:
                items[place] = (items[place][0], *item[1:])
                parts[n] = replace(parts[n], items=tuple(items))
        if added:
            parts.append(replace(part, items=tuple(added)))


def _put_lines(parts: list[Part], new: Sequence[Part]) -> None:
    root = new[0].root
    wanted = _told_apart(parts, root, [item for part in new for item in part.items])
    left = Counter(wanted)
    own = {n: list(part.items) for n, part in enumerate(parts) if (part.kind, part.root) == (TEXT_LINES, root)}
    stale = []
    for n, items in own.items():
        for place, item in enumerate(items):
            if left[item]:
                left[item] -= 1
            else:
                stale.append((n, place))
    fresh = []
    for item in wanted:
        if left[item]:
            left[item] -= 1
            fresh.append(item)
    for (n, place), line in zip(stale, fresh, strict=False):  # what is new takes the places of what has gone
        own[n][place] = line
    for n, place in reversed(stale[len(fresh) :]):
        del own[n][place]
    for n, items in own.items():
        parts[n] = replace(parts[n], items=tuple(items))
    rest = fresh[len(stale) :]
    parts += [Part(TEXT_LINES, root, tuple(rest[at : at + LINES])) for at in range(0, len(rest), LINES)]


def _told_apart(parts: Sequence[Part], root: str, lines: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """`lines` with FOLDER/FILE:NUMBER for FILE:NUMBER where files of that name in other folders came before `root`."""
    roots = list(dict.fromkeys([*(part.root for part in parts if part.kind == TEXT_LINES), root]))
    path = Path(root).parts
    others = [Path(other).parts for other in roots[: roots.index(root)] if Path(other).name == path[-1]]
    if not others:
        return lines
    length = next(n for n in range(2, len(path) + 1) if all(path[-n:] != other[-n:] for other in others))
    own, apart = f"{printable(path[-1])}:", f"{printable(Path(*path[-length:]))}:"
    return [
        (apart + name.removeprefix(own), words)
        if name.startswith(own) and name.removeprefix(own).isdigit()
        else (name, words)
        for name, words in lines
    ]
