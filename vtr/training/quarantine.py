"""Videos that could not be read while training: named in a file, counted, and too many stop the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vtr.atomic import write_bytes
from vtr.errors import WorkError

# A few bad videos are life, and come again in every epoch; beyond them, one in a hundred is a broken data set. So is
# one in two, however few there are, once enough were seen to tell.
FEW, SHARE_OF_MANY, SHARE_OF_FEW, ENOUGH = 20, 0.01, 0.5, 16


class Quarantine:
    """`quarantine.jsonl` of a run: each bad video once, `{"key", "kind", "message"}`."""

    def __init__(self, path: Path) -> None:
        self.path, self.kinds = path, Counter[str]()
        self._seen = 0
        self._bad: set[str] = set()
        self._known: set[str] = set()
        if path.exists():
            text = path.read_text()
            self._known = {key for line in text.splitlines() if (key := _key(line)) is not None}
            if text and not text.endswith("\n"):  # a killed run's last line: the next must not stick to it
                write_bytes(path, text[: text.rfind("\n") + 1].encode())

    def add(self, rows: int, errors: Sequence[tuple[str, str, str]]) -> None:
        """Counts a batch of `rows` samples, of which `errors` (key, kind, message) could not be read.

        Raises WorkError past the limit, naming the kinds and the last video.
        """
        self._seen += rows
        for key, kind, message in errors:
            self.kinds[kind] += 1
            self._bad.add(key)
            if key not in self._known:
                self._known.add(key)
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
        return str(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError):
        return None
