"""What a run says while it goes: a live panel on a terminal, else plain lines on stderr; and metrics.jsonl."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vtr import plainjson
from vtr.atomic import write_bytes
from vtr.plaintext import on_stderr
from vtr.training.best import other_shards

# Without a terminal, at most one line in so many seconds.
PLAIN_EVERY_S = 5.0


class RunLog:
    """Progress of `total` steps, from `start` on. `metrics.jsonl` loses lines past `start`: they will come again.

    `scored` tells whether the last evaluation of `start` itself is there, and on the shards `scored_on`, a digest.
    Without `show`, as in all processes but the main one, nothing is said or written.
    """

    def __init__(self, path: Path, total: int, start: int, *, scored_on: str = "", show: bool = True) -> None:
        self.path, self.total, self.show, self.scored = path, total, show, False
        if show:
            found = [row for row in trim(path, start) if row["step"] == start and "loss" not in row]
            self.scored = bool(found) and not other_shards(found[-1], scored_on)
        self._console = on_stderr()
        self._last = 0.0
        self._live: Live | None = None
        self._file: TextIO | None = None
        if show and sys.stderr is not None and sys.stderr.isatty():
            self._live = Live(panel(start, total, {}), console=self._console, auto_refresh=False)

    def __enter__(self) -> RunLog:
        self._file = self.path.open("a") if self.show else None
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._file:
            self._file.close()

    def note(self, text: str) -> None:
        """A line for the person who watches."""
        if self.show:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def figures(self, step: int, values: dict[str, Any]) -> None:
        """One line of metrics.jsonl, and the figures on the screen."""
        if self._file is None:
            return
        self.record(step, values)
        if self._live:
            self._live.update(panel(step, self.total, values), refresh=True)
        elif time.monotonic() - self._last > PLAIN_EVERY_S or step == self.total:
            self._last = time.monotonic()
            self.note(
                f"step {step}/{self.total}  loss {values['loss']:.3f}  lr {values['lr']:.2e}  "
                f"{values['samples_per_s']:.0f} samples/s  {clock(values['left_s'])} left"
            )

    def record(self, step: int, values: dict[str, Any]) -> None:
        """A line of metrics.jsonl alone (an evaluation, say)."""
        if self._file:
            self._file.write(json.dumps(plainjson.finite({"step": step, **values}), allow_nan=False) + "\n")
            self._file.flush()


def trim(path: Path, start: int) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines up to step `start`, and the file without those past it: they will come again."""
    if not path.exists():
        return []
    rows, kept = [], []
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        try:
            row = plainjson.loads(line)
            if row["step"] <= start:
                rows.append(row)
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # the torn last line of a killed run
            continue
    write_bytes(path, "".join(kept).encode())
    return rows


def clock(seconds: float) -> str:
    """Seconds as 1:05 or 2:03:04."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


# What the panel shows: a figure's name in metrics.jsonl, on the screen, and how it is written.
SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("loss", "loss", lambda value: f"{value:.3f}"),
    ("lr", "learning rate", lambda value: f"{value:.2e}"),
    ("samples_per_s", "samples/s", lambda value: f"{value:.0f}"),
    ("data_wait", "data wait", lambda value: f"{value:.0%}"),
    ("memory_gb", "memory", lambda value: f"{value:.1f} GB"),
    ("left_s", "left", clock),
)


def panel(step: int, total: int, values: Mapping[str, Any]) -> RenderableType:
    """What a terminal shows of a run at `step`, one that its figures are not known of yet included."""
    table = Table.grid(padding=(0, 2))
    for start in range(0, len(SHOWN), 3):
        cells: list[Text | str] = []
        for name, words, write in SHOWN[start : start + 3]:
            cells += [Text(words, "dim"), write(values[name]) if name in values else "-"]
        table.add_row(*cells)
    return Panel(Group(Padding(ProgressBar(total, step)), table), title=f"step {step} of {total}", title_align="left")
