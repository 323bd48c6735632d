"""Recipes: TOML in, a checked Config out, and back; overrides and differences by dotted key."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import math
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vtr.config import HEEDED, OWN, Config
from vtr.errors import ConfigError

SECTIONS = {f.name: f for f in dataclasses.fields(Config) if f.name not in ("finetune", "stages")}
FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """The recipes that come with vtr."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def about(recipe: str) -> str:
    """What the comment on top of a recipe says first: its first sentence."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text(recipe).splitlines())
    return re.split(r"(?<=[.;]) ", " ".join(line.lstrip("# ") for line in lines), maxsplit=1)[0].rstrip(".;")


def text(recipe: str) -> str:
    """The TOML of a recipe's name or of a file, comments and all. Raises ConfigError for one that is missing."""
    return _find(recipe).read_text("utf-8")


def _find(recipe: str) -> Path:
    path = Path(recipe)
    if not path.suffix and recipe in recipe_names():
        path = FOLDER / f"{recipe}.toml"
    if not path.is_file():
        close = difflib.get_close_matches(recipe, recipe_names(), 1, 0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"there is no recipe {recipe!r}",
            f"{hint}recipes are: {', '.join(recipe_names())}, or the path of a .toml file",
        )
    return path


def load(recipe: str) -> Config:
    """The config of a recipe's name or of a TOML file. Raises ConfigError for one that is missing or wrong."""
    path = _find(recipe)
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "see that you may read it") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not TOML: it is nested too deep", "see `vtr/recipes` for how it looks") from error
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}", "see `vtr/recipes` for how a recipe looks") from error
    if not tables:
        raise ConfigError(f"{path} is empty", f"begin with a recipe that comes with vtr: {', '.join(recipe_names())}")
    return from_dict(tables)


def from_dict(tables: Mapping[str, Any]) -> Config:
    """A config from nested tables, every key and type checked."""
    flat = {}
    for section, table in tables.items():
        if section == "finetune" and isinstance(table, dict):
            continue
        if section == "stages" and isinstance(table, list) and all(isinstance(stage, dict) for stage in table):
            continue
        if not isinstance(table, dict):
            raise ConfigError(f"{section} = {table!r} stands outside a section", f"sections are: {', '.join(SECTIONS)}")
        if section not in SECTIONS:
            close = difflib.get_close_matches(section, [*SECTIONS, "finetune", "stages"], 1, 0.5)
            hint = f"did you mean [{close[0]}]? " if close else ""
            raise ConfigError(
                f"there is no section [{section}]", f"{hint}sections are: {', '.join(SECTIONS)}, finetune"
            )
        flat.update({f"{section}.{key}": value for key, value in table.items()})
    config = override(Config(), flat)
    later = _dotted(tables.get("finetune", {}))
    override(config, later)  # a wrong key shows now, not after the pretraining
    stages = tuple(_dotted(stage) for stage in tables.get("stages", []))
    config = dataclasses.replace(config, finetune=later, stages=stages)
    staged(config)
    return config


def staged(config: Config) -> list[Config]:
    """The config of each stage of a pretraining, without stages of its own; of a plain recipe itself alone."""
    plain = dataclasses.replace(config, stages=())
    return [override(plain, stage) for stage in config.stages] or [plain]


def _dotted(table: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optim": {"lr": 1}}`, as TOML reads an unquoted `optim.lr = 1`, and `{"optim.lr": 1}` alike to the latter."""
    flat: dict[str, Any] = {}
    for section, value in table.items():
        flat |= {f"{section}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {section: value}
    return flat


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with dotted keys set: `{"optim.lr": 1e-4}`, in all of its stages too.

    Raises ConfigError naming an unknown key or a wrong type.
    """
    changed: dict[str, dict[str, Any]] = {}
    for dotted, value in values.items():
        section, _, key = dotted.partition(".")
        changed.setdefault(section, {})[key] = _checked(dotted, value)
    parts = {name: dataclasses.replace(getattr(config, name), **keys) for name, keys in changed.items()}
    stages = tuple({key: value for key, value in stage.items() if key not in values} for stage in config.stages)
    return dataclasses.replace(config, **parts, stages=stages)


def refuse_unheeded(stages: Sequence[Config], given: Mapping[str, Any]) -> None:
    """Raises ConfigError for a setting in `given` that no objective of these `stages` looks at."""
    names = dict.fromkeys(stage.objective.name for stage in stages)
    for dotted, value in given.items():
        section, _, key = dotted.partition(".")
        lookers = [name for name, heeded in HEEDED.items() if section == "objective" and key in heeded]
        if lookers and not names.keys() & lookers:
            raise ConfigError(
                f"{dotted} = {value!r} does nothing: the objective {' and '.join(names)} does not look at it",
                f"leave it out; these do: {', '.join(lookers)}",
            )


def parse_sets(sets: Sequence[str]) -> dict[str, Any]:
    """`["optim.lr=1e-4", "data.flip=false"]` -> dotted keys and values, read as TOML where that works, else as text."""
    values = {}
    for text in sets:
        dotted, equals, raw = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text!r} has no value", "write --set section.key=value")
        try:
            values[dotted.strip()] = tomllib.loads(f"v = {raw}")["v"]
        except (ValueError, RecursionError):
            values[dotted.strip()] = raw.strip()
    return values


def to_dict(config: Config) -> dict[str, Any]:
    """Nested tables, as they stand in TOML."""
    tables = {name: dataclasses.asdict(getattr(config, name)) for name in SECTIONS}
    if config.objective.name == OWN:  # which has none of the other settings
        tables["objective"] = {"name": OWN}
    tables |= {"finetune": dict(config.finetune)} if config.finetune else {}
    return tables | ({"stages": [dict(stage) for stage in config.stages]} if config.stages else {})


def to_toml(config: Config) -> str:
    """The config as TOML that `load` reads back."""
    import tomli_w

    return str(tomli_w.dumps(to_dict(config)))


def difference(old: Config, new: Config, but: Sequence[str] = ()) -> list[str]:
    """Lines `section.key: old -> new`, one for each setting that differs and is none of `but`."""
    lines = []
    for name in SECTIONS:
        before, after = dataclasses.asdict(getattr(old, name)), dataclasses.asdict(getattr(new, name))
        changed = [key for key in before if before[key] != after[key] and f"{name}.{key}" not in but]
        lines += [f"{name}.{key}: {before[key]!r} -> {after[key]!r}" for key in changed]
    return lines


def _checked(dotted: str, value: Any) -> Any:
    section, _, key = dotted.partition(".")
    every = {f"{s}.{f.name}": f for s in SECTIONS for f in dataclasses.fields(type(getattr(Config(), s)))}
    if dotted not in every:
        elsewhere = [known for known in every if known.endswith(f".{key or section}")]
        close = elsewhere or difflib.get_close_matches(dotted, every, 1, 0.4)
        raise ConfigError(
            f"there is no setting {dotted!r}",
            f"did you mean {close[0]}?" if close else f"sections are: {', '.join(SECTIONS)}",
        )
    wanted = typing.get_type_hints(type(getattr(Config(), section)))[key]
    if wanted is float and type(value) is int:
        with contextlib.suppress(OverflowError):
            value = float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise ConfigError(f"{dotted} = {value!r} is of the wrong type", f"it must be {_NAMES[wanted]}")
    return value


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
