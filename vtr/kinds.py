"""Names of models that are no runs of ours, taken apart: `KIND:NAME[,option=value ...]`."""

from __future__ import annotations

from collections.abc import Container


def is_of(kinds: Container[str], name: str) -> bool:
    """Whether `name` begins with one of `kinds` and a colon."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind in kinds


def apart(name: str, *, commas: bool = False) -> tuple[str, str, list[str]]:
    """`kind:a/b,frames=8` -> ("kind", "a/b", ["frames=8"]).

    With `commas` the name may have some: `kind:a,b,frames=8` names "a,b".
    """
    kind, _, rest = name.partition(":")
    source, *options = rest.split(",")
    while commas and options and "=" not in options[0]:
        source += f",{options.pop(0)}"
    return kind, source, options
