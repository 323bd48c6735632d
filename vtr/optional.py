"""Libraries that vtr does without until somebody asks for what they do."""

from __future__ import annotations

import importlib
from typing import Any

from vtr.errors import InputError


def library(module: str, why: str, extra: str) -> Any:
    """The module of the extra `vtr[extra]`; `why` are the words before its name in an error: "LoRA needs".

    Raises InputError when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{why} {module}, which is not installed", f"pip install 'vtr[{extra}]'") from error
