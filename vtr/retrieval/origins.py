"""Which part of the plan of embeddings made each of their rows, and where the file behind a row is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vtr.retrieval import parts
from vtr.retrieval.embeddings import Embeddings
from vtr.retrieval.plan import FILES, SHARD, Part, printable, read


class Origins:
    """The parts behind the N `rows` of videos in the planned embeddings `directory`; of others, none."""

    def __init__(self, directory: Path, rows: Embeddings) -> None:
        self._sources, self._ids = rows.source, rows.ids
        plan = read(directory) if directory.is_dir() else None
        counts = [] if plan is None else parts.video_rows(directory, plan)
        self._parts = plan.parts if plan else ()
        self._part_of: npt.NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)
        if len(self._part_of) != len(rows):
            self._part_of = np.full(len(rows), -1)

    def part(self, row: int) -> Part | None:
        """The part that made a row, None where the embeddings have no plan."""
        number = int(self._part_of[row])
        return None if number < 0 else self._parts[number]

    def video(self, row: int) -> tuple[str, ...]:
        """What the rows of one video have in common, and no row of another: two folders may both hold an x.mp4."""
        part, own = self.part(row), (self._sources[row], self._ids[row])
        if part is None:
            return own
        return (part.root, part.items[0][0], *own) if part.kind == SHARD else (part.root, *own)

    def file(self, row: int) -> Path | None:
        """The video file that a row was made from, None for a sample of a shard or where nothing is known of it."""
        part, name = self.part(row), self._sources[row]
        # A row tells of its file below the folder of its part: embeddings may come from anybody.
        if part is None or part.kind != FILES or name.startswith("/") or ".." in Path(name).parts:
            return None
        if "\\x" in name:  # the text of a name that is no UTF-8
            name = next((item[0] for item in part.items if printable(item[0]) == name), name)
        return Path(part.root) / name
