"""How to evaluate, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtr.errors import InputError
from vtr.retrieval import protocols, rerank, stats


@dataclass(frozen=True)
class Asked:
    """How to evaluate. `captions`: the caption rule for own data; `prompt`: what a class name stands in.

    `vtm`: rerank the first `vtm_top` candidates of each query by the matching head of a pretraining by SimVTP.
    Raises InputError: what is asked for does not go together, or there is no such protocol.
    """

    protocol: str = protocols.OWN
    captions: str | None = None
    allow_partial: bool = False
    prompt: str = "{}"
    bank: Path | None = None
    dsl: bool = False
    probe: bool = False
    vtm: bool = False
    vtm_top: int | None = None  # rerank.TOP
    seed: int = 0
    draws: int = stats.DRAWS  # 0: no intervals

    def __post_init__(self) -> None:
        if "{}" not in self.prompt:
            raise InputError(f"the prompt {self.prompt!r} has no place for a class", "write {} where its name goes")
        if self.vtm_top is not None and not self.vtm:
            raise InputError("--vtm-top says how many candidates --vtm reranks", "add --vtm, or leave it out")
        if self.vtm_top is not None and self.vtm_top < 1:
            raise InputError(f"--vtm-top {self.vtm_top} reranks nothing", f"{rerank.TOP} is usual")
        stats.check_seed(self.seed)
        protocol = protocols.known(self.protocol)
        actions = protocol is not None and protocol.rule == "classes"
        if self.prompt != "{}" and not actions:
            raise InputError(
                f"--prompt is what a class name stands in, the protocol {self.protocol} has captions",
                "leave it out, or give a protocol of actions",
            )
        if actions:
            tricks = {"--bank": self.bank is not None, "--dsl": self.dsl, "--vtm": self.vtm}
            given = " and ".join(flag for flag, on in tricks.items() if on)
            if given:
                raise InputError(f"{given}: of retrieval, not of choosing among class names", f"leave out {given}")
