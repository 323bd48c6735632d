"""`vtr inspect TARS --index`: an index for tars that others wrote."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from vtr.cli.app import columns, print_json, print_text, progress
from vtr.plaintext import warn

if TYPE_CHECKING:
    from vtr.data.foreign import IndexSummary


def index_tars(
    path: str,
    caption_key: str | None,
    split: str | None,
    workers: int | None,
    max_skipped: float,
    time_limit: float,
    limits: dict[str, int | None],
    as_json: bool,
) -> None:
    """Writes the index; prints how much it has, how it will be decoded, and what was left out."""
    from vtr import api
    from vtr.data.limits import limits_of

    with progress(*columns()) as bar:
        line = bar.add_task("index", total=None)
        summary = api.index_tars(
            path, caption_key=caption_key, split=split or "", workers=workers, max_skipped=max_skipped,
            time_limit_s=time_limit, limits=limits_of(limits),
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print_json(dataclasses.asdict(summary))
    else:
        _show(summary)


def _show(summary: IndexSummary) -> None:
    if summary.nothing_to_do:
        print_text(f"{summary.root} has an index of these tars already: nothing to do")
    readers = ", ".join(f"{count} by {name}" for name, count in summary.decoders.items())
    print_text(f"{summary.samples} samples, {summary.captions} captions in {summary.tars} tars")
    print_text(f"to be decoded: {readers}")
    if summary.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.skipped.items())
        print_text(f"left out {sum(summary.skipped.values())} ({kinds}): see {summary.root / 'skipped.jsonl'}")
    if summary.remarks:
        print_text("also in the tars: " + ", ".join(f"{count} {kind}" for kind, count in summary.remarks.items()))
    if summary.damaged:
        warn(summary.damage)
    if several := summary.remarks.get("several-videos"):
        warn(f"samples with several videos, of which the first is used: {several}; keys end at a name's first dot")
