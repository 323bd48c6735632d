"""QB-Norm's bank: captions of other videos, told from the test's own.

What is compared is an id with its caption: a short caption alone may well be said of two videos. Where ids or captions
are not the same on both sides, as of a set that was sharded by another reader, it is whether one side's are all among
the other's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr.errors import DataError
from vtr.retrieval import paired
from vtr.retrieval.exact import Floats

if TYPE_CHECKING:
    from vtr.build import Loaded
    from vtr.data.index import ShardIndex

Named = Sequence[tuple[str, str]]  # id and caption, both as the data have them


@dataclass(frozen=True)
class Bank:
    """(K, E) unit vectors of captions, with what a record says of them."""

    vectors: Floats
    about: dict[str, Any]


def of_shards(at: Path, tests: Sequence[Path]) -> tuple[Named, int]:
    """The captions of the shards `at`, by id, and how many of them are said in the test, too.

    Raises DataError: they are those of one of the shards `tests`.
    """
    from vtr.data.index import ShardIndex

    bank = _named(ShardIndex.open(at))
    tested: set[str] = set()
    for test in tests:
        named = _named(ShardIndex.open(test))
        _refuse(at, bank, named)
        tested.update(text for _, text in named)
    return bank, _shared(bank, tested)


def embedded(loaded: Loaded, at: Path, captions: Named, shared: int) -> Bank:
    """The bank of what `of_shards` gave."""
    from vtr.retrieval.embed import embed_captions

    vectors = embed_captions(loaded.embedder, loaded.tokenizer, [text for _, text in captions])
    return Bank(vectors, _about(at, captions, shared))


def of_embeddings(at: Path, test: paired.Paired) -> Bank:
    """The texts of embeddings, whether they have videos or not, or of plain files.

    Raises DataError: no texts there, or those of `test`.
    """
    vectors, captions = _texts(at)
    unit = paired.unit_rows(vectors)
    own, tested = [row.tobytes() for row in unit], {row.tobytes() for row in test.text}
    if test.named and any(text for _, text in captions):
        _refuse(at, captions, [(test.ids[row], text) for row, text in zip(test.owner, test.captions, strict=True)])
    else:
        _refuse_all(at, own, tested)
    # Of texts without words, their vectors say whether they are the same.
    shared = max(_shared(captions, set(test.captions)), sum(row in tested for row in own))
    return Bank(unit, _about(at, captions, shared) | {"vectors_sha256": paired.vectors_sha256(vectors)})


def _named(index: ShardIndex) -> Named:
    return [(index.key(i), caption) for i in range(len(index)) for caption in index.captions(i)]


def _texts(at: Path) -> tuple[Floats, Named]:
    if (at / paired.TEXT).is_file():
        vectors = paired.array(at / paired.TEXT, "f", 2, "floats (rows, dimensions)")
        texts = paired.lines(at / paired.CAPTIONS, len(vectors)) or [""] * len(vectors)
        if (at / paired.VIDEO).is_file() and (at / paired.IDS).is_file():
            found = paired.read(at)
            return vectors, [(found.ids[row], text) for row, text in zip(found.owner, texts, strict=True)]
        return vectors, [("", text) for text in texts]
    from vtr.retrieval.embeddings import TEXT
    from vtr.retrieval.store import read

    rows = read(at).only(TEXT)
    if not len(rows):
        raise DataError(f"{at} holds no embeddings of texts", "embed with --captions")
    texts = [text if isinstance(text, str) else " ".join(text) for text in rows.captions]
    return rows.vectors, list(zip(rows.ids, texts, strict=True))


def _shared(bank: Named, tested: Collection[str]) -> int:
    return sum(bool(text) and text in tested for _, text in bank)


def _about(at: Path, captions: Named, shared: int) -> dict[str, Any]:
    texts = sorted(text for _, text in captions)
    lines = "".join(f"{json.dumps(text)}\n" for text in texts)
    digest = hashlib.sha256(lines.encode()).hexdigest() if any(texts) else None
    return {
        "path": str(at), "captions": len(captions), "shared_captions": shared, "captions_sha256": digest,
        "vectors_sha256": None,
    }  # fmt: skip


def _refuse(at: Path, bank: Named, test: Named) -> None:
    both = sorted(set(bank) & set(test))
    if both:
        raise _is_the_test(at, f"{len(both)} of its {len(bank)} captions are, the first is of {both[0][0]!r}")
    _refuse_all(at, {text for _, text in bank}, {text for _, text in test})


def _refuse_all(at: Path, bank: Collection[Any], test: Collection[Any]) -> None:
    if set(bank) <= set(test):
        raise _is_the_test(at, "all of it is")
    if set(test) <= set(bank):
        raise _is_the_test(at, "it has every one of them")


def _is_the_test(at: Path, how: str) -> DataError:
    return DataError(
        f"the bank {at} is of the captions that are tested: {how}",
        "QB-Norm knows nothing of the test: give the training split to --bank",
    )
