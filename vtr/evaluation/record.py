"""Parts to the record of a result: every column scored, and what a reader has to know of the test set."""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtr.atomic import replacing_all
from vtr.evaluation.asked import Asked
from vtr.evaluation.bank import Bank
from vtr.evaluation.parts import EmbeddedSet
from vtr.retrieval import paired, protocols, result, score, stats
from vtr.retrieval.published import published
from vtr.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

    from vtr.retrieval.protocols import Protocol

NAMED = 5  # undecodable videos that a result names


class Result(dict[str, Any]):
    """The record of an evaluation, as `vtr.retrieval.result.FIELDS` describes it, with its evidence.

    `seconds` of wall clock, in the "encoders" and in "all", are no part of it: the same evaluation has the same record.
    """

    def __init__(
        self, record: dict[str, Any], columns: list[score.Scored], parts: list[EmbeddedSet], seconds: dict[str, float]
    ) -> None:
        super().__init__(record)
        self.columns, self.parts, self.seconds = columns, parts, seconds

    def ranks(self) -> pa.Table:
        """A row a query and column; see `result.ranks_table`."""
        return result.ranks_table(self.columns, [part.scored for part in self.parts])

    def seal(self, path: Path) -> None:
        """Has the record name its ranks, as they will stand beside `path`."""
        self.update(result.sealed(path, self._packed))

    def write(self, path: Path) -> None:
        """The result file and its ranks beside it. Raises WorkError: the disk is full. BusyError."""
        result.write(path, self, self._packed)

    @cached_property
    def _packed(self) -> bytes:
        return result.packed(self.ranks())

    def report(self, path: Path) -> None:
        """The page of this result. Raises WorkError: the disk is full."""
        from vtr.retrieval.report import Shown, page

        shown = [
            Shown(part.scored.paired, ranks, part.scored.actions, part.index, part.rows, part.found.split)
            for part, ranks in zip(self.parts, self.columns[0].ranks, strict=True)
        ]
        text = page(self, shown)
        with replacing_all([Path(os.path.realpath(path))]) as (aside,):
            aside.write_text(text, encoding="utf-8", errors="replace")


def recorded(
    parts: list[EmbeddedSet],
    asked: Asked,
    protocol: Protocol | None,
    about: dict[str, Any],
    bank: Bank | None,
    begin: float,
) -> Result:
    """The result of `parts`, scored; `about` says of the model and of where the data are. `begin`: when all began."""
    vectors = None if bank is None else bank.vectors
    columns = score.score([part.scored for part in parts], bank=vectors, dsl=asked.dsl)
    raw, others = columns[0], columns[1:]
    sets = [part.found for part in parts]
    problems = list(dict.fromkeys(problem for one in sets for problem in one.problems))
    first = sets[0]
    kinds = sum((Counter(part.lost) for part in parts), Counter[str]())
    videos = sum(one.found[0] for one in sets)
    captions = first.found[1] if first.rule == "classes" else sum(one.found[1] for one in sets)
    expected = [sum(n) if None not in (n := [one.expected[i] for one in sets]) else None for i in (0, 1)]  # type: ignore[arg-type]
    several = len(parts) > 1
    record = {
        "schema": result.SCHEMA,
        "t2v": None,
        "v2t": None,
        **_numbers(raw, asked),
        "columns": {
            one.name: {
                **_numbers(one, asked), "assumes": one.assumes,
                **({"bank": bank.about} if bank is not None and one.name == score.QB_NORM else {}),
            }
            for one in others
        },
        "probe": {one.name: _numbers(one, asked) for one in score.probe([part.scored for part in parts])} or None,
        "splits": {
            part.found.split: _numbers(score.score([part.scored])[0], asked) for part in parts if several
        },
        "published": [row.record() for row in published(first.name)] if not problems else [],
        "protocol": {
            "name": first.name, "title": first.title, "rule": first.rule, "rule_in_words": protocols.RULES[first.rule],
            "split": ", ".join(one.split for one in sets) or None, "modality": first.modality,
            "partial": bool(problems), "problems": problems,
            "unchecked": list(dict.fromkeys(what for one in sets for what in one.unchecked)),
        },
        "expected": {"videos": expected[0], "captions": first.expected[1] if first.rule == "classes" else expected[1]},
        "found": {"videos": videos, "captions": captions},
        "undecodable": {
            "count": kinds.total(), "kinds": dict(kinds),
            "first": [name for part in parts for name in part.lost_names][:NAMED],
        },
        "videos": videos,
        "captions": captions,
        "nan": sum(next(iter(ranks.values())).nan for ranks in raw.ranks),
        "distractors": sum(
            0 if part.scored.actions else int((~part.scored.paired.captioned).sum()) for part in parts
        ),
        "captions_full": sum(part.captions_full for part in parts),
        "similarity": result.SIMILARITY,
        "tie_rule": result.TIE_RULE,
        "interval": {
            "level": stats.LEVEL, "draws": asked.draws, "of": "videos, with all their captions", "how": "percentile"
        },
        "seed": asked.seed,
        "manifest_sha256": [part.manifest_sha256 for part in parts if part.manifest_sha256],
        "split_sha256": _split_sha256(parts),
        "ranks": None,
        "ranks_sha256": None,
        "version": __version__,
        **about,
    }  # fmt: skip
    if protocol is not None and protocol.rule == "classes":
        record["protocol"]["prompt"] = asked.prompt
    spent = {"encoders": sum(part.encode_s for part in parts), "all": time.perf_counter() - begin}
    return Result(result.ordered(record), columns, parts, spent)


def _numbers(scored: score.Scored, asked: Asked) -> dict[str, Any]:
    intervals = scored.intervals(asked.seed, asked.draws) if asked.draws else None
    return {**result.rounded(scored.numbers()), "intervals": result.rounded(intervals)}


def _split_sha256(parts: list[EmbeddedSet]) -> str | None:
    if not parts[0].scored.actions:
        return parts[0].scored.paired.split_sha256()
    # A video's class is its caption.
    pairs = [part.scored.paired for part in parts]
    keys = [f"{part.found.split}/{key}" for part, one in zip(parts, pairs, strict=True) for key in one.captions]
    names = [one.ids[label] for one in pairs for label in one.owner]
    return paired.split_sha256(keys, names, np.arange(len(keys)))
