"""How to evaluate, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtr.errors import InputError
from vtr.retrieval import protocols, stats


@dataclass(frozen=True)
class Asked:
    """How to evaluate. `captions`: the caption rule for own data; `prompt`: what a class name stands in."""

    protocol: str = protocols.OWN
    captions: str | None = None
    allow_partial: bool = False
    prompt: str = "{}"
    bank: Path | None = None
    dsl: bool = False
    probe: bool = False
    seed: int = 0
    draws: int = stats.DRAWS  # 0: no intervals

    def __post_init__(self) -> None:
        if "{}" not in self.prompt:
            raise InputError(f"the prompt {self.prompt!r} has no place for a class", "write {} where its name goes")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed {self.seed} must be at least 0 and below 2^32", "try --seed 0")
