"""Efficient video-text retrieval by masked pretraining: MAC, SimVTP and MILES.

    import vtr
    vtr.shard("table", "captions.csv", "shards")
    run = vtr.pretrain("mac-tiny", "shards", "runs/mac")
    print(vtr.evaluate(run, "shards")["t2v"])

The verbs live in `vtr.api`; they and everything below load when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtr.version import __version__

if TYPE_CHECKING:
    from vtr.api import compare, embed, evaluate, export, finetune, index_tars, inspect_shards, pretrain, search, shard
    from vtr.build import load_model
    from vtr.config import Config
    from vtr.errors import VtrError

_HOMES = {
    **dict.fromkeys(("compare", "embed", "evaluate", "export", "finetune", "index_tars"), "vtr.api"),
    **dict.fromkeys(("inspect_shards", "pretrain", "search", "shard"), "vtr.api"),
    "load_model": "vtr.build",
    "Config": "vtr.config",
    "VtrError": "vtr.errors",
}
__all__ = [
    "Config",
    "VtrError",
    "__version__",
    "compare",
    "embed",
    "evaluate",
    "export",
    "finetune",
    "index_tars",
    "inspect_shards",
    "load_model",
    "pretrain",
    "search",
    "shard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vtr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
