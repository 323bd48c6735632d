"""A command of the documentation held against what there is: verbs, options, names, settings, files, their arguments.

Nothing is run. A word in capitals stands for something of the reader's, as in `vtr eval RUN`.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import documentation_scripts as scripts
from documentation_text import ROOT, words_of

SHELL = ("trap", "wait", "source", "export", "python3", "cd")  # words of a job script, or of setting up
LAUNCHERS = {"accelerate": ("launch", "config"), "torchrun": ()}
EXAMPLE = "section.key"
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:vtr|bash|python|pytest|pip|accelerate|torchrun|for \w+ in) .+")
FILES = (".json", ".safetensors")
MEASURED = ("train.fed",)  # ratios that are called like settings
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*(\.\w+)?|.*[/$<*].*|.*\.\.\.")


def check(line: str, *, whole: bool = True) -> None:
    """Raises AssertionError where `line` names what there is not; unless `whole` it may leave arguments out."""
    if loop := re.fullmatch(r"for \w+ in .*?; do (.*); done", line):
        line = loop[1]
    words = [word if "[" in word[1:] else word.strip("[]").split("|")[0] for word in words_of(line)]  # [NAME], A|B
    words = [word for word in words if word not in ("...", "")]
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    try:
        if words:
            _check(words, whole=whole)
    except (AssertionError, LookupError) as error:
        raise AssertionError(f"{line}: {error}") from error


def check_quoted(text: str) -> None:
    """Raises AssertionError where a command or a setting is not as `text`, out of backticks, has it."""
    if COMMAND.fullmatch(text):
        check(text, whole=False)
    elif re.fullmatch(r"--set \S+=\S+", text):
        check(f"vtr pretrain RECIPE --shards DIR --out RUN {text}")
    elif text.startswith("--"):
        option = text.split(maxsplit=1)[0].partition("=")[0]
        assert option in every_option(), f"there is no option {option}"
    elif named := re.fullmatch(r"((?:data|model|objective|optim|train)\.\w+)(?: = .*)?", text):
        there = named[1] in settings() or Path(text).suffix in FILES or text in MEASURED
        assert there, f"there is no setting {text}"


def _check(words: list[str], *, whole: bool) -> None:
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["vtr"]:  # accelerate launch ... -m vtr VERB
        _launched(words[: words.index("-m")])
        words = words[words.index("-m") + 1 :]
    for end in (">", "|", "2>"):
        words = words[: words.index(end)] if end in words else words
    if words[0] == "vtr":
        vtr(words[1:], whole=whole)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), f"there is no module {words[2]}"
    elif words[0] == "python":
        scripts.python(words[1], words[2:])
    elif words[0] == "bash":
        scripts.script(words[1], words[2:])
    elif words[0] == "pytest":
        scripts.pytest_words(words[1:])
    elif words[:2] == ["pip", "install"]:
        asked = [name for word in words for part in re.findall(r"\[(.+)\]", word) for name in part.split(",")]
        assert set(asked) <= extras(), f"no extra has one of the names {asked}"
    elif words[0] in LAUNCHERS:
        _launched(words)
    else:
        assert words[0] in SHELL, f"what is {words[0]!r}?"


def _launched(words: Sequence[str]) -> None:
    if words[0] in LAUNCHERS and LAUNCHERS[words[0]]:
        assert words[1:2] == [] or words[1] in LAUNCHERS[words[0]], f"{words[0]} has no command {words[1]!r}"


@cache
def extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@cache
def root_command() -> Any:
    from typer.main import get_command

    from vtr.cli import app

    return get_command(app)


def vtr(words: Sequence[str], *, whole: bool) -> None:
    """Raises AssertionError where `vtr *words` would be refused for its words alone."""
    command, path, left = root_command(), ["vtr"], list(words)
    if left[:1] == ["--limits"]:
        left = left[2:]
    while hasattr(command, "commands") and left and not left[0].startswith("-"):
        if left[0] == "VERB" or (len(path) > 1 and PLACEHOLDER.fullmatch(left[0])):  # vtr bench SUBJECT
            return
        assert left[0] in command.commands, f"{' '.join(path)} has no command {left[0]!r}"
        command, path, left = command.commands[left[0]], [*path, left[0]], left[1:]
    if hasattr(command, "commands") and not left:  # `vtr bench`
        return
    if {"--help", "--version", "--install-completion", "--show-completion"} & set(left):  # they act while they are read
        assert set(left) <= options_of(command) | {"--help"}
        return
    given = _parsed(command, path, left, whole=whole)
    verb = path[-1]
    _named(verb, given)
    _set(given.get("sets") or (), given.get("recipe") if verb == "pretrain" else None)


def _parsed(command: Any, path: list[str], words: list[str], *, whole: bool) -> dict[str, Any]:
    """What the options and arguments of `words` are, by name."""
    try:
        return dict(command.make_context(" ".join(path), list(words)).params)
    except Exception as error:
        kind = type(error).__name__
        if kind == "BadOptionUsage" and not whole:  # `vtr search --like`
            return {}
        capitals = any(f"'{word}'" in str(error) for word in words if word.isupper())
        if kind != "MissingParameter" and not (kind == "BadParameter" and capitals):
            raise AssertionError(f"{kind}: {error}") from error
        assert not (whole and kind == "MissingParameter"), f"{error}"
    context = type(command).context_class(command, info_name=" ".join(path))
    given, _, _ = command.make_parser(context).parse_args(list(words))
    return dict(given)


def _named(verb: str, given: dict[str, Any]) -> None:
    """Readers, splits, recipes and protocols by their names."""
    from vtr import recipe
    from vtr.data.annotations import BENCHMARKS, READERS
    from vtr.retrieval.protocols import NAMES

    known = {"reader": READERS, "protocol": NAMES, "recipe": recipe.recipe_names()}
    known["name" if verb == "recipes" else "recipe"] = recipe.recipe_names()
    for what, names in known.items():
        value = given.get(what)
        fits = not isinstance(value, str) or value in names or PLACEHOLDER.fullmatch(value) or value.endswith(".toml")
        assert fits, f"there is no {what} {value!r}"
    benchmark = BENCHMARKS.get(str(given.get("reader")))
    if verb == "shard" and benchmark is not None and isinstance(given.get("split"), str):
        splits = {*benchmark.splits, *benchmark.groups}
        assert given["split"] in splits, f"{benchmark.name} has no split {given['split']!r}"


def _set(sets: Sequence[str], name: str | None) -> None:
    """Settings as `--set` takes them: of the recipe `name`, else of any."""
    from vtr import recipe
    from vtr.errors import ConfigError

    for key, _, value in (one.partition("=") for one in sets):
        assert key in settings() or key == EXAMPLE, f"there is no setting {key}"
        if PLACEHOLDER.fullmatch(value) or key == EXAMPLE:
            sets = [one for one in sets if not one.startswith(f"{key}=")]
    names, problems = recipe.recipe_names(), []
    for one in ([name] if name in names else names) if sets else ():
        try:
            recipe.override(recipe.load(str(one)), recipe.parse_sets(sets))
        except ConfigError as error:
            problems.append(str(error))
        else:
            return
    assert not problems, problems[0]


@cache
def settings() -> set[str]:
    """`section.key` of every setting."""
    from vtr import recipe
    from vtr.config import Config

    return {f"{part}.{key}" for part, keys in recipe.to_dict(Config()).items() for key in keys}


@cache
def every_option() -> set[str]:
    """The options of all verbs, and of the scripts that have some."""
    from typer.main import get_command

    from vtr.cli.evaluate import comparing

    of_scripts = (scripts.flags_in(ROOT / file) for file in ("examples/compare.py", "tests/reliability/fuzzing.py"))
    return {"--help"}.union(options_of(root_command()), options_of(get_command(comparing)), *of_scripts)


def options_of(command: Any) -> set[str]:
    """The options of a command and of those below it, as they are written."""
    found = {word for one in command.params for word in (*one.opts, *one.secondary_opts) if word.startswith("-")}
    for below in getattr(command, "commands", {}).values():
        found |= options_of(below)
    return found
