"""docs/cli.md and docs/config.md, written from the command line and from vtr/config.py: `python -m vtr.cli.reference`.

A test holds the two pages to what this makes, so neither can fall behind.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtr.cli.app import FLOW

COMMAND = "python -m vtr.cli.reference docs"
MADE = f"<!-- Made by `{COMMAND}`: change the code, not this page. -->"
BOUNDS = {"_at_least": "at least {}", "_at_most": "at most {}", "_share": "0 to below 1"}


def cli_page() -> str:
    """Every command with its arguments, options, defaults and examples, as Markdown."""
    from typer.main import get_command

    from vtr.cli import app

    root: Any = get_command(app)
    lines = [
        "# The command line", "", MADE, "",
        "Results go to stdout, progress to stderr; `--json` prints a result for a program to read. Exit codes: 0 done, "
        "1 failed, 2 a wrong command or setting, 130 interrupted. `vtr --install-completion` teaches your shell the "
        "verbs, options, readers, recipes and protocols; `vtr --show-completion` prints what it would install. "
        "`vtr --limits TIMES VERB` raises those limits on files of strangers that have no option of their own: see "
        "[reliability.md](reliability.md#files-of-strangers).", "",
        *[f"- [`vtr {name}`](#vtr-{name}): {_summary(root.commands[name])}" for name in FLOW], "",
    ]  # fmt: skip
    for name in FLOW:
        lines += _command(f"vtr {name}", root.commands[name], 2)
    return "\n".join(lines).rstrip() + "\n"


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {path}", "", command.help or "", "")
    within = getattr(command, "commands", {})
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param not in arguments and "--help" not in param.opts]
    if not within:
        words = [param.name.upper() if param.required else f"[{param.name.upper()}]" for param in arguments]
        yield from (f"    {' '.join([path, *words])} [OPTIONS]", "")
    if arguments:
        yield from ("| argument | |", "|---|---|")
        yield from (f"| `{param.name.upper()}` | {_cell(param.help)} |" for param in arguments)
        yield ""
    if options and not within:
        yield from ("| option | default | |", "|---|---|---|")
        yield from (f"| {_names(param)} | {_default(param)} | {_cell(param.help)} |" for param in options)
        yield ""
    copied = [line.strip() for line in (command.epilog or "").splitlines() if line.strip().startswith("vtr ")]
    if copied:
        yield from ("```bash needs files of yours", *copied, "```", "")
    for name, part in within.items():
        yield from _command(f"{path} {name}", part, level + 1)


def _summary(command: Any) -> str:
    return str(command.help or "").split("\n", 1)[0]


def _names(param: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))


def _default(param: Any) -> str:
    if param.required:
        return "required"
    return "" if param.default is None or param.default is False else f"`{param.default}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def config_page() -> str:
    """Every section and setting with its type, default, bounds and comment, as Markdown."""
    from vtr import config

    source = Path(config.__file__).read_text("utf-8")
    notes = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    lines = [
        "# Settings", "", MADE, "",
        "A recipe is a TOML file with these sections (`vtr recipes NAME` prints one); `--set section.key=value` "
        "overrides one setting. What a recipe does not name has its default. `[finetune]` holds dotted keys that "
        "`vtr finetune` sets on top (`\"optim.lr\" = 1e-5`); each `[[stages]]` holds those of one stage of a "
        "pretraining.", "",
    ]  # fmt: skip
    for section in classes.values():
        name = section.name.removesuffix("Config").lower()
        if name:
            lines += _section(name, section, notes)
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, section: ast.ClassDef, notes: dict[int, str]) -> Iterator[str]:
    bounds = dict(_bounds(section))
    yield from (f"## [{name}]", "", ast.get_docstring(section) or "", "")
    yield from ("| setting | default | allowed | |", "|---|---|---|---|")
    for field in section.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value is not None:
            key, default = field.target.id, ast.literal_eval(field.value)
            shown = str(default).lower() if isinstance(default, bool) else repr(default).replace("'", '"')
            allowed = ", ".join(bounds.get(key, [])) or _kind(default)
            yield f"| `{key}` | `{shown}` | {allowed} | {_cell(notes.get(field.lineno))} |"
    yield ""


def _kind(default: object) -> str:
    return {bool: "true, false", int: "a whole number", float: "a number", str: "text"}[type(default)]


def _bounds(section: ast.ClassDef) -> Iterator[tuple[str, list[str]]]:
    """What the checks of a section say of each setting: its choices, or how small and large it may be."""
    found: dict[str, list[str]] = {}
    for call in ast.walk(section):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            continue
        for word in call.keywords:
            if call.func.id == "_choice" and isinstance(word.value, ast.Tuple):
                choices = _value(word.value.elts[1])
                found.setdefault(word.arg or "", []).extend(f"`{choice}`" for choice in choices)
            elif call.func.id in BOUNDS:
                limit = f"{int(_value(call.args[1])):,}" if len(call.args) > 1 else ""
                found.setdefault(word.arg or "", []).append(BOUNDS[call.func.id].format(limit))
    for parts in found.values():  # lower bounds first, choices as they stand
        parts.sort(key=lambda part: "" if part.startswith("`") else part)
    yield from found.items()


def _value(node: ast.expr) -> Any:
    """What stands there, or what the name that stands there means in vtr/config.py."""
    from vtr import config

    return getattr(config, node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


PAGES = {"cli.md": cli_page, "config.md": config_page}


def main() -> None:
    """Writes the pages into the folder that is named."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: {COMMAND}")
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
