"""The checkpoint that scored best so far: kept, and pointed at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vtr import checkpoint, plainjson
from vtr.atomic import write_bytes
from vtr.errors import ConfigError, RunError

# Where it is better to be lower; of all other figures more is better.
LOWER = ("MdR", "MnR")
RECORD = "best.json"


def check_scored(metric: str, scored: Iterable[str]) -> None:
    """Raises ConfigError for a `train.best` that is none of the figures `scored`."""
    names = list(scored)
    if metric and metric not in names:
        raise ConfigError(f"train.best = {metric!r} is not scored", f"choose one of: {', '.join(names)}")


class Best:
    """`best.json` of a run, `{"step", "metric", "value"}`, and the link `best` to that checkpoint.

    A best that comes after `start`, where a run goes on from an older checkpoint, is forgotten: it will come again.
    The record tells which is the best; `main` mends a link that a kill has left behind it.
    """

    def __init__(self, run: Path, metric: str, start: int, *, main: bool = True) -> None:
        self.run, self.metric = run, metric
        self.value: float | None = None
        if metric and (run / RECORD).is_file():
            try:
                old = plainjson.load(run / RECORD)
                if old["metric"] == metric and old["step"] <= start:
                    self.value = float(old["value"])
                    self._follow(checkpoint.place(run, int(old["step"])), main=main)
            except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
                raise RunError(f"{run / RECORD} is damaged: {error}", "remove it, and the next best is kept") from error

    def beaten_by(self, results: dict[str, float], accelerator: Any) -> bool:
        """Whether `results` are better, as the main process has it: rounding must not part the processes.

        Raises ConfigError when the metric is not among them.
        """
        if not self.metric:
            return False
        check_scored(self.metric, results)
        sign = -1 if self.metric.split()[-1] in LOWER else 1
        better = self.value is None or sign * results[self.metric] > sign * self.value
        better = better and not math.isnan(results[self.metric])  # which nothing would ever be better than
        if accelerator.num_processes > 1:
            mine = torch.tensor([float(better and accelerator.is_main_process)], device=accelerator.device)
            better = bool(accelerator.reduce(mine).item())
        if better:
            self.value = results[self.metric]
        return better

    def _follow(self, recorded: Path, *, main: bool) -> None:
        link = self.run / checkpoint.BEST
        if not recorded.is_dir():
            self.value = None
            if main and link.is_symlink() and not link.exists():
                link.unlink(missing_ok=True)
        elif main and not (link.is_symlink() and link.readlink().name == recorded.name):
            checkpoint.mark_best(self.run, recorded)

    def mark(self, step: int, path: Path, *, main: bool) -> None:
        """Makes the checkpoint `path` the best one."""
        if main:
            record = {"step": step, "metric": self.metric, "value": self.value}
            # The link follows, now or when it goes on.
            write_bytes(self.run / RECORD, json.dumps(record).encode())
            checkpoint.mark_best(self.run, path)
