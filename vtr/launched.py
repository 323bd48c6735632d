"""What a launcher of several processes says of them, in the environment."""

from __future__ import annotations

import os

from vtr.errors import ConfigError

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
HINT = "unset RANK and WORLD_SIZE and give --num-processes N, or start with torchrun or accelerate launch"
DIGITS = 9


def is_launched() -> bool:
    """Whether a launcher says which of its processes this is."""
    return "RANK" in os.environ


def is_main_process() -> bool:
    """Whether this is the process that speaks and writes: before they are connected none knows better."""
    return os.environ.get("RANK", "0") == "0"


def launched_processes() -> int:
    """How many processes a launcher says that it started; 1 without one.

    Raises ConfigError where what it says of them, or of the place of this one, is no number or cannot be.
    """
    told = {name: os.environ[name] for name in NAMES if name in os.environ}
    wrong = [name for name, value in told.items() if not (value.isdecimal() and len(value) <= DIGITS)]
    if wrong:
        raise ConfigError(f"the environment says {_said(wrong)}, where a launcher of processes puts a number", HINT)
    numbers = {name: int(value) for name, value in told.items()}
    world = numbers.get("WORLD_SIZE", 1)
    wrong = [name for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE") if numbers.get(name) == 0]
    if not wrong and numbers.get("RANK", 0) >= world:
        wrong = [name for name in ("RANK", "WORLD_SIZE") if name in told]
    if wrong:
        raise ConfigError(
            f"the environment says {_said(wrong)}: a RANK counts from 0, to one less than WORLD_SIZE", HINT
        )
    return world


def _said(names: list[str]) -> str:
    return ", ".join(f"{name}={os.environ[name]}" for name in names)
