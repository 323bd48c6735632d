"""What a run of ours leaves in a directory, by name; of what is there while at work nothing else is ever removed."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

MANIFEST = "manifest.json"
SKIPPED = "skipped.jsonl"  # that of embeddings, too
PART = r"\d{6,}\.parquet|plan\.(json|parquet)|task-\d+-of-\d+\.lock"
BEGUN = rf"(\d{{6,}}\.tar|index\.parquet|{re.escape(SKIPPED)}|{re.escape(MANIFEST)}|{PART})\.tmp-\d+"


def remove_begun(folder: Path) -> None:
    """Removes what our writers that were killed had begun in `folder`; call it only under the lock."""
    _remove(folder, BEGUN)


def remove_parts(folder: Path) -> None:
    """Removes the parts in `folder` and, if nothing of others is left in it, `folder`."""
    _remove(folder, f"{PART}|{BEGUN}")
    with suppress(OSError):
        folder.rmdir()


def _remove(folder: Path, names: str) -> None:
    found: list[Path] = []
    with suppress(OSError):  # there is no such folder
        found = list(folder.iterdir())
    for path in found:
        if re.fullmatch(names, path.name):
            with suppress(OSError):  # another task was quicker, or it is a folder
                path.unlink()
