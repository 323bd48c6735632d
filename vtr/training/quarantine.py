"""Videos that could not be read while training: named in a file, counted, and too many stop the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vtr import plainjson
from vtr.atomic import write_bytes
from vtr.errors import WorkError

# A few bad videos are life, and come again in every epoch; beyond them, one in a hundred is a broken data set. So is
# one in two, however few there are, once enough were seen to tell.
FEW, SHARE_OF_MANY, SHARE_OF_FEW, ENOUGH = 20, 0.01, 0.5, 16


class Quarantine:
    """`quarantine.jsonl` of a run: each bad video once, `{"key", "kind", "message"}`; of a mixture also its "shards".

    Of several processes each counts the same, what all of them saw, and one writes: `gather` gives every process the
    concatenated lists of all, and is called by `agree` alone, in which all take part.
    """

    def __init__(
        self, path: Path, *, gather: Callable[[list[Any]], list[Any]] | None = None, write: bool = True
    ) -> None:
        self.path, self.kinds, self.gather, self.write = path, Counter[str](), gather, write
        self._waiting: list[tuple[int, Sequence[tuple[str, ...]]]] = []
        self._seen = 0
        self._bad: set[tuple[str, str]] = set()  # (shards, key), for two directories may have the same key
        self._known: set[tuple[str, str]] = set()
        if path.exists():
            text = path.read_text("utf-8", errors="replace")
            self._known = {name for line in text.splitlines() if (name := _name(line)) is not None}
            if write and text and not text.endswith("\n"):  # a killed run's last line: the next must not stick to it
                write_bytes(path, text[: text.rfind("\n") + 1].encode())

    def add(self, rows: int, errors: Sequence[tuple[str, ...]]) -> None:
        """Counts a batch of `rows` samples, of which `errors` (key, kind, message[, shards]) could not be read.

        Raises WorkError past the limit, naming the kinds and the last video; of several processes, `agree` does.
        """
        if self.gather is None:
            self._count(rows, errors)
        else:
            self._waiting.append((rows, errors))

    def agree(self) -> None:
        """Counts what all processes have seen since the last time. Raises as `add`, in all of them or in none."""
        if self.gather is not None:
            found = self.gather(self._waiting)
            self._waiting = []
            # Whole, not batch by batch: which process comes first must not decide whether a limit is passed.
            self._count(sum(rows for rows, _ in found), [error for _, errors in found for error in errors])

    def _count(self, rows: int, errors: Sequence[tuple[str, ...]]) -> None:
        self._seen += rows
        for key, kind, message, *source in errors:
            self.kinds[kind] += 1
            name = ("".join(source), key)
            self._bad.add(name)
            if name not in self._known:
                self._known.add(name)
                line = {"key": key, "kind": kind, "message": message} | ({"shards": name[0]} if source else {})
                if self.write:
                    with self.path.open("a") as file:
                        file.write(json.dumps(line) + "\n")
        bad = self.kinds.total()
        many = len(self._bad) > FEW and bad > SHARE_OF_MANY * self._seen
        if errors and (many or (self._seen >= ENOUGH and bad > SHARE_OF_FEW * self._seen)):
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
            raise WorkError(
                f"{bad} of {self._seen} samples could not be read ({kinds}), the last: {key}: {message}",
                f"{self.path} names them; make the shards anew, or see whether the disk is well"
                f"{'; data.time_limit_s gives each longer' if self.kinds['timeout'] else ''}",
            )


def _name(line: str) -> tuple[str, str] | None:
    try:
        found = plainjson.loads(line)
        return str(found.get("shards", "")), str(found["key"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
