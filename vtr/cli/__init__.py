"""The command line: one file a verb, each a door to one function of `vtr.api`."""

from __future__ import annotations

from vtr.cli import bench, embed, env, evaluate, export, finetune, inspect, pretrain, recipes, search, shard
from vtr.cli.app import app, main

__all__ = [
    "app", "bench", "embed", "env", "evaluate", "export", "finetune", "inspect", "main", "pretrain", "recipes",
    "search", "shard",
]  # fmt: skip
