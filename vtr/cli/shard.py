"""`vtr shard`: videos and captions to WebDataset tars."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from vtr.cli.app import app, examples, print_json, print_text, progress, warn
from vtr.cli.options import Json


@app.command(
    epilog=examples(
        "vtr shard table captions.csv shards/train",
        "vtr shard synthetic seed:0 shards/toy --split train --limit 1000",
    )
)
def shard(
    reader: Annotated[str, typer.Argument(help="How to read SOURCE: table, folder, synthetic, or a data set's name.")],
    source: Annotated[str, typer.Argument(help="A table, a folder, or seed:N for synthetic.")],
    out: Annotated[Path, typer.Argument(help="Shard directory to write.")],
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many videos.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where relative video paths start.")] = None,
    store: Annotated[str, typer.Option(help="video: the original bytes; frames: JPEGs, fast to train from.")] = "video",
    per_shard: Annotated[int | None, typer.Option(min=1, help="Videos a tar.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one a processor if not given.")] = None,
    max_skipped: Annotated[float, typer.Option(help="Fail when more than this share cannot be decoded.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Write videos and captions as WebDataset tars with an index; run it again to continue."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from vtr import api
    from vtr.data.shards import Progress as Done

    with progress(TextColumn("[bold]shard"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("shard", total=None)

        def show(done: Done) -> None:
            bar.update(task, completed=done.done, total=done.total)

        summary = api.shard(
            reader, source, out, split=split, limit=limit, root=root, store=store, per_shard=per_shard,
            workers=workers, max_skipped=max_skipped, progress=show,
        )  # fmt: skip
    for warning in summary.warnings:
        warn(warning)
    if as_json:
        print_json(dataclasses.asdict(summary))
        return
    if summary.nothing_to_do:
        print_text(f"{out} is whole already: nothing to do")
    print_text(
        f"{summary.samples} videos, {summary.captions} captions, {summary.duration_s:.0f} s "
        f"in {summary.shards} shards, {summary.bytes / 1e6:.1f} MB"
    )
    readers = ", ".join(f"{count} by {name}" for name, count in sorted(summary.decoders.items()))
    print_text(f"to be decoded: {readers}" if readers else "nothing to decode")
    if summary.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.skipped.items()))
        print_text(f"skipped {sum(summary.skipped.values())} ({kinds}): see {out / 'skipped.jsonl'}")
