"""Sources that come again: what an export has of them stays, what has changed takes its old place, nothing comes twice.

    a tar           is known by what it holds, then by its name; one that the index does not name any more goes
    a video file    by its path; one that has gone stays
    a line of text  by its id and words; the lines that a file has no more go

A folder or file of text that was moved is known by what is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtr.data.index import ShardIndex
from vtr.data.remote import url_of
from vtr.retrieval.plan import FILES, SHARD, TEXT_LINES, Part, Plan

LINES = 100_000  # in a part


def merged(plan: Plan, new: Sequence[Part]) -> Plan:
    """`plan` with the parts `new`, all of one kind and root: what is to be embedded has another digest or is last."""
    if not new:
        return plan
    parts = list(plan.parts)
    _follow(parts, new)
    {SHARD: _put_tars, FILES: _put_files, TEXT_LINES: _put_lines}[new[0].kind](parts, new)
    return replace(plan, parts=tuple(parts))


def _follow(parts: list[Part], new: Sequence[Part]) -> None:
    """Parts of a root that is not there any more, some of which `new` has, are below the root of `new` now."""
    kind, root = new[0].kind, new[0].root
    has = _marks(new)
    others = {part.root for part in parts if part.kind == kind} - {root}
    for other in others:
        if url_of(other) is None and not Path(other).exists():
            own = [n for n, part in enumerate(parts) if (part.kind, part.root) == (kind, other)]
            if has & _marks(parts[n] for n in own):
                for n in own:
                    parts[n] = replace(parts[n], root=root)


def _marks(parts: Iterable[Part]) -> set[Any]:
    """What items are known by wherever they are: a tar's digest, a file's name and size, a line's words."""
    return {item[:2] if part.kind == FILES else item[-1] for part in parts for item in part.items}


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
    texts = [n for n, part in enumerate(parts) if part.kind == TEXT_LINES]
    elsewhere = {item for n in texts if parts[n].root != root for item in parts[n].items}
    wanted = [item for part in new for item in part.items if item not in elsewhere]
    left = Counter(wanted)
    own = {n: list(parts[n].items) for n in texts if parts[n].root == root}
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
