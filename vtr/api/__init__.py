"""The verbs, as functions: read this first. Each composes the floors below; the command line only parses and prints."""

from __future__ import annotations

from vtr.api.hub import export
from vtr.api.library import embed, search, serve, write_page
from vtr.api.runs import finetune, pretrain
from vtr.api.scores import compare, evaluate, reconstruct
from vtr.api.shards import index_tars, inspect_shards, plan_shards, shard, shard_task

__all__ = [
    "compare",
    "embed",
    "evaluate",
    "export",
    "finetune",
    "index_tars",
    "inspect_shards",
    "plan_shards",
    "pretrain",
    "reconstruct",
    "search",
    "serve",
    "shard",
    "shard_task",
    "write_page",
]
