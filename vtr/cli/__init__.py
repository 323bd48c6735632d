"""The command line: one file a verb, each a door to one function of `vtr.api`."""

from __future__ import annotations

from vtr.cli import bench, embed, evaluate, export, finetune, inspect, pretrain, search, shard
from vtr.cli.app import app, main

__all__ = ["app", "bench", "embed", "evaluate", "export", "finetune", "inspect", "main", "pretrain", "search", "shard"]
