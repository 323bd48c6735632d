"""JSON that others wrote, read so that whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vtr.plainfile import read_bytes


def loads(text: str | bytes) -> Any:
    """`json.loads`, with one kind of error: ValueError, for bad bytes and for nesting without end too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def load(path: Path) -> Any:
    """What `loads` makes of a regular file. Raises OSError for what is none, or cannot be read."""
    return loads(read_bytes(path))


def finite(value: Any) -> Any:
    """`value` with null for each number, however deep, that JSON has no word for: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def is_unicode(*texts: str) -> bool:
    """Whether none has half a surrogate pair: JSON can write it, and names that are not UTF-8 are read so."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
