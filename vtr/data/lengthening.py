"""How much longer the rules of a stranger's tokenizer can make a caption, before any caption meets them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vtr import bounds
from vtr.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST = 1000  # times a caption's length, and tokens beside those of its words: real ones have 2 to 20, and 1 to 4


def check(tokenizer: Tokenizer) -> None:
    """Raises DataError where rules may make a caption more than `MOST` times as long, or add as many tokens."""
    times = _times(_state(tokenizer.normalizer)) * _times(_state(tokenizer.pre_tokenizer))
    most = bounds.at_most(MOST)
    if times > most:
        raise DataError(
            f"the tokenizer's rules may make a caption {times:.0e} times as long, at most {most} is usual", bounds.HINT
        )
    added = _added(_state(tokenizer.post_processor))
    if added > most:
        raise DataError(f"the tokenizer adds {added} tokens to every caption, at most {most} is usual", bounds.HINT)


def _state(rule: Any) -> dict[str, Any]:
    """A rule as it stands in tokenizer.json; empty where there is none."""
    return {} if rule is None else dict(json.loads(rule.__getstate__()))


def _times(rule: Mapping[str, Any]) -> float:
    """How many times as many bytes of a text a normalizer, or what splits into words, can make."""
    kind = rule.get("type")
    if kind == "Sequence":
        return math.prod(_times(one) for one in rule.get("normalizers", rule.get("pretokenizers", ())))
    if kind == "ByteLevel":  # a letter of two bytes for each byte, and a space before each word
        return 3.0
    if kind == "Metaspace":  # of each space, and before each word
        return 1.0 + len(rule["replacement"].encode())
    if kind == "Prepend":
        return 1.0 + len(rule["prepend"])
    if kind == "Precompiled":
        return _longest(rule["precompiled_charsmap"])
    if kind == "Replace":
        said = rule["pattern"].get("String")
        # An expression can match a single letter, and the nothing between two.
        return max(1.0, len(rule["content"]) / len(said)) if said else 1.0 + len(rule["content"])
    return 1.0


def _longest(charsmap: str) -> float:
    """The bytes of the longest text that a letter becomes by a compiled table of SentencePiece's, at least 1.

    Its layout: 4 bytes, the size of the tree of letters; the tree; the texts, each with a zero byte behind it.
    """
    table = base64.b64decode(charsmap)
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return float(max(1, *map(len, texts.split(b"\0"))))


def _added(rule: Mapping[str, Any]) -> int:
    """How many tokens, or further copies of the text, a post-processor puts beside a text."""
    kind = rule.get("type")
    if kind == "Sequence":
        return sum(_added(one) for one in rule["processors"])
    if kind != "TemplateProcessing":
        return 2
    tokens = {name: len(token["ids"]) for name, token in rule["special_tokens"].items()}
    pieces = [piece["SpecialToken"]["id"] if "SpecialToken" in piece else "" for piece in rule["single"]]
    return sum(tokens.get(name, 1) for name in pieces) - 1  # the text itself is one of them
