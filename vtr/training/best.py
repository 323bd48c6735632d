"""The checkpoint that scored best so far: kept, and pointed at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
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


def scored(on: str) -> dict[str, str]:
    """What a score says of the shards that it was made on, by their digest; nothing where that is not known."""
    return {"scored_on": on} if on else {}


def other_shards(row: Mapping[str, Any], on: str) -> bool:
    """Whether a score was made on other shards than those with the digest `on`. Older scores do not say."""
    return bool(on) and row.get("scored_on", on) != on


class Best:
    """`best.json` of a run, `{"step", "metric", "value", "scored_on"}`, and the link `best` to that checkpoint.

    A best that comes after `start`, where a run goes on from an older checkpoint, is forgotten: it will come again. So
    is one of other shards than `scored_on`, a digest, or whose checkpoint is damaged; `forgotten` then tells why.
    The record tells which is the best; `main` mends a link that a kill has left behind it.
    """

    def __init__(self, run: Path, metric: str, start: int, *, scored_on: str = "", main: bool = True) -> None:
        self.run, self.metric, self.scored_on = run, metric, scored_on
        self.value: float | None = None
        self.forgotten = ""
        if metric and (run / RECORD).is_file():
            try:
                old = plainjson.load(run / RECORD)
                if old["metric"] == metric and old["step"] <= start:
                    self.value = float(old["value"])
                    self._follow(checkpoint.place(run, int(old["step"])), main=main)
                    if other_shards(old, scored_on):
                        self._forget(f"{old['step']}, was scored on other shards")
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
        wrong = checkpoint.check(recorded) if main and recorded.is_dir() else None
        if wrong is not None:
            self._forget(f"{int(recorded.name[5:])}, cannot be used ({wrong})")
        if not recorded.is_dir() or wrong is not None:
            self.value = None
            if main and link.is_symlink() and (not link.exists() or link.readlink().name == recorded.name):
                link.unlink(missing_ok=True)
        elif main and not (link.is_symlink() and link.readlink().name == recorded.name):
            checkpoint.mark_best(self.run, recorded)

    def _forget(self, why: str) -> None:
        self.value, self.forgotten = None, f"the best checkpoint so far, of step {why}: the best is sought anew"

    def mark(self, step: int, path: Path, *, main: bool) -> None:
        """Makes the checkpoint `path` the best one."""
        if main:
            record = {"step": step, "metric": self.metric, "value": self.value} | scored(self.scored_on)
            # The link follows, now or when it goes on.
            write_bytes(self.run / RECORD, json.dumps(record).encode())
            checkpoint.mark_best(self.run, path)
