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
    """`quarantine.jsonl` of a run: each bad video once, `{"key", "kind", "message"}`.

    Of several processes each counts the same, what all of them saw, and one writes: `gather` gives every process the
    concatenated lists of all, and is called by `agree` alone, in which all take part.
    """

    def __init__(
        self, path: Path, *, gather: Callable[[list[Any]], list[Any]] | None = None, write: bool = True
    ) -> None:
        self.path, self.kinds, self.gather, self.write = path, Counter[str](), gather, write
        self._waiting: list[tuple[int, Sequence[tuple[str, str, str]]]] = []
        self._seen = 0
        self._bad: set[str] = set()
        self._known: set[str] = set()
        if path.exists():
            text = path.read_text("utf-8", errors="replace")
            self._known = {key for line in text.splitlines() if (key := _key(line)) is not None}
            if write and text and not text.endswith("\n"):  # a killed run's last line: the next must not stick to it
                write_bytes(path, text[: text.rfind("\n") + 1].encode())

    def add(self, rows: int, errors: Sequence[tuple[str, str, str]]) -> None:
        """Counts a batch of `rows` samples, of which `errors` (key, kind, message) could not be read.

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

    def _count(self, rows: int, errors: Sequence[tuple[str, str, str]]) -> None:
        self._seen += rows
        for key, kind, message in errors:
            self.kinds[kind] += 1
            self._bad.add(key)
            if key not in self._known:
                self._known.add(key)
                if self.write:
                    with self.path.open("a") as file:
                        file.write(json.dumps({"key": key, "kind": kind, "message": message}) + "\n")
        bad = self.kinds.total()
        many = len(self._bad) > FEW and bad > SHARE_OF_MANY * self._seen
        if errors and (many or (self._seen >= ENOUGH and bad > SHARE_OF_FEW * self._seen)):
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
            raise WorkError(
                f"{bad} of {self._seen} samples could not be read ({kinds}), the last: {key}: {message}",
                f"{self.path} names them; make the shards anew, or see whether the disk is well",
            )


def _key(line: str) -> str | None:
    try:
        return str(plainjson.loads(line)["key"])
    except (ValueError, KeyError, TypeError):
        return None
