"""What a folder of sentence-transformers may ask for: the library's modules, below it, as large as their weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtr import bounds, plainjson
from vtr.errors import OWN_VECTORS, ConfigError, RunError
from vtr.models.configs import BESIDE, TIMES, check_folder, check_kernels, check_layers, integers, weights_bytes

# What a module's config may hand on to transformers. Among the rest is what loads code, other files, or another size.
ARGUMENTS = [f"{what}_{kind}" for what in ("model", "config", "tokenizer", "processor") for kind in ("args", "kwargs")]
HARMLESS = {
    "dtype", "torch_dtype", "max_length", "model_max_length", "padding_side", "truncation_side", "use_fast",
    "do_lower_case", "add_pooling_layer", "min_pixels", "max_pixels", "fps", "num_frames",
}  # fmt: skip
CONFIGS = ("config.json", "cnn_config.json", "lstm_config.json", "wordembedding_config.json", "router_config.json")


def check_modules(folder: Path, name: str) -> None:
    """Raises RunError or ConfigError where `folder`, the model `name`, asks for more.

    The library refuses foreign modules too, from 6.0 on; older ones import them.
    """
    try:
        modules = [(str(one["type"]), str(one.get("path", ""))) for one in plainjson.load(folder / "modules.json")]
        configs = {file: plainjson.load(file) for file in sorted(folder.rglob("*config.json")) if file.is_file()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder / 'modules.json'} is damaged, or a config beside it: {error}", OWN_VECTORS) from error
    for kind, place in modules:
        if not kind.startswith("sentence_transformers."):
            raise RunError(f"{name} wants code that is no part of sentence-transformers: {kind[:80]!r}", OWN_VECTORS)
        if not (folder / place).resolve().is_relative_to(folder.resolve()):
            raise RunError(f"{name} has a module outside of its folder: {place[:80]!r}", OWN_VECTORS)
    for file, told in configs.items():
        if isinstance(told, Mapping):
            _check(file, told)


def _check(file: Path, told: Mapping[str, Any]) -> None:
    base = str(told.get("base_model_name_or_path") or "")
    if file.name == "adapter_config.json" and (base.startswith((".", "/", "~")) or Path(base).exists()):
        raise ConfigError(f"{file} is for a model in another folder, {base[:80]!r}", "merge the adapter into its model")
    check_kernels(told, str(file))
    check_layers(told, str(file))
    for name in ARGUMENTS:
        given = told.get(name) or {}
        more = sorted(set(map(str, given)) - HARMLESS) if isinstance(given, Mapping) else [str(given)]
        if more:
            raise ConfigError(
                f"{file} asks in its {name} for what vtr does not pass on: {', '.join(more)[:200]}",
                "take it out of that file if the model works without; code that comes with a model never runs",
            )
    if "model_type" in told and file.name == CONFIGS[0]:
        check_folder(file.parent)
    elif file.name in CONFIGS:
        largest = sorted(value for _, value in integers(told))[-2:]
        wanted, held = largest[0] * largest[-1] if largest else 0, weights_bytes(file.parent)
        if wanted > bounds.at_most(TIMES * held + BESIDE):
            raise ConfigError(
                f"{file} is of a module of {wanted} numbers, and the weights beside it have {held} bytes",
                f"take config and weights from one model; {bounds.HINT}",
            )
