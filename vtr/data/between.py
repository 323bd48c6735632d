"""The bytes of a tar that belong to no member: headers, padding, the end. Whether they are as they were written.

    | header | data ... padding | header | data ... padding | 0 ... 0 |
      ^^^^^^            ^^^^^^^   ^^^^^^            ^^^^^^^   ^^^^^^^

A tar of ours is a function of its members, so that each of these bytes is known. Of a tar of others the sums of headers
are looked at, the places of members, and that padding is zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtr.data.tarheaders import AFTER_END, BLOCK, DAMAGE, Problem, read_entries
from vtr.data.tarwriter import Member, ending, header
from vtr.errors import DataError

# Problems that cost something; others stand in tars of anybody.
COSTS = (*DAMAGE, AFTER_END)
PADDING = "bad-padding"
Named = tuple[str, Member]  # its key and itself


def check_ours(path: Path, members: Iterable[Named]) -> Iterator[Problem]:
    """What of a tar that `TarWriter` wrote is not what it writes for `members`, which are all, in their order."""
    with path.open("rb") as file:
        end, last = 0, ""  # of the member before
        for key, member in members:
            name, padding = f"{key}.{member.ext}", bytes(-end % BLOCK)
            head = header(name, member.size)
            found = os.pread(file.fileno(), len(padding) + len(head), end)
            if member.offset != end + len(padding) + len(head):
                yield _not_there(key, member)
            elif found[len(padding) :] != head:
                message = f"the header of {name}, at byte {end + len(padding)}, is not the one that was written"
                yield Problem("bad-header", key, message)
            if found[: len(padding)] != padding:
                yield _padding(last, end)
            end, last = member.offset + member.size, key
        wanted = ending(end)
        if os.pread(file.fileno(), len(wanted) + 1, end) != wanted:
            message = f"what follows the last member, from byte {end} on, is not the end that was written"
            yield Problem(PADDING, last, message)


def check_others(path: Path, members: Iterable[Named]) -> Iterator[Problem]:
    """What is wrong with a tar that anybody wrote, or between it and the places of its `members`."""
    try:
        entries, problems = read_entries(path)
    except DataError as error:
        yield Problem("bad-tar", "", error.message)
        return
    yield from (problem for problem in problems if problem.kind in COSTS)
    sizes = {entry.offset: entry.size for entry in entries}
    with path.open("rb") as file:
        for key, member in members:
            end = member.offset + member.size
            if sizes.get(member.offset) != member.size:
                yield _not_there(key, member)
            elif any(os.pread(file.fileno(), -end % BLOCK, end)):
                yield _padding(key, end)


def _not_there(key: str, member: Member) -> Problem:
    message = f"{key}.{member.ext} is not where the index says, at byte {member.offset - BLOCK}"
    return Problem("bad-header", key, message)


def _padding(key: str, end: int) -> Problem:
    return Problem(PADDING, key, f"the bytes after a member of {key}, from byte {end} on, are not zero")
