"""`vtr inspect`: its options, and which of its three works they ask for: shards, tars of others, a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, examples, once_called, refuse_idle
from vtr.cli.inspect_run import draw, refuse_runs
from vtr.cli.inspect_shards import tell_shards
from vtr.cli.inspect_tars import index_tars

CHECK, INDEX, RUN = "Checks", "An index for tars of others", "A run"
ABOUT = (
    (
        ("caption_key", "split", "max_skipped", "max_bytes", "max_pixels", "max_packets", "max_gop"),
        "says how an index is made",
        ("index",),
    ),
    (("samples", "mask_ratio"), "says what a contact sheet shows", ("sheet",)),
    (("workers",), "says how many processes decode", ("num_processes", "verify", "index")),
    (("frames",), "says what a process is fed", ("num_processes", "recipe")),
    (("accumulate", "sets"), "changes a recipe", ("recipe",)),
    (("time_limit",), "bounds the decoding", ("num_processes", "verify", "sheet", "index")),
    (("shards", "clips"), "says what a run restores", ("reconstruct",)),
)


@app.command(
    cls=once_called(num_processes="--world-size"),
    epilog=examples(
        "vtr inspect shards/train --sheet sheet.png --recipe mac-tiny",
        "vtr inspect runs/simvtp --reconstruct restored.png --shards shards/test",
    ),
)
def inspect(
    ctx: typer.Context,
    path: Annotated[
        str, typer.Argument(help="A shard directory, or tars: 'dir/{000..010}.tar'; or a run.", show_default=False)
    ],
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Write a contact sheet.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=400, help="Samples on the contact sheet.")] = 24,
    mask_ratio: Annotated[
        float, typer.Option(help="With --sheet: show so much of each frame hidden, as MAC does.")
    ] = 0.0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte, decode every frame.", rich_help_panel=CHECK)
    ] = False,
    num_processes: Annotated[
        int | None, typer.Option(min=1, help="Check that they feed so many training processes.", rich_help_panel=CHECK)
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Check that this can be trained on them, here.",
            rich_help_panel=CHECK,
            autocompletion=o.complete_recipe,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Clips a step, over all processes, if not the recipe's.", rich_help_panel=CHECK),
    ] = None,
    accumulate: o.Accumulate = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Frames that a training sees of a video: the recipe's, or 4.", rich_help_panel=CHECK),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Decoding processes: with --num-processes of each trainer, else of this command.",
            rich_help_panel=CHECK,
        ),
    ] = None,
    sets: o.Sets = None,
    index: Annotated[
        bool, typer.Option("--index", help="Write the index that training reads.", rich_help_panel=INDEX)
    ] = False,
    caption_key: Annotated[
        str | None, typer.Option(help="Field of the json that holds the captions.", rich_help_panel=INDEX)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the samples that name none.", rich_help_panel=INDEX)
    ] = None,
    max_skipped: Annotated[
        float, typer.Option(help="Fail when more than this share cannot be used.", rich_help_panel=INDEX)
    ] = 0.05,
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds for decoding one video.")] = 300.0,
    reconstruct: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw what a run restores or looks at.", rich_help_panel=RUN)
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(help="Whose clips --reconstruct draws; synthetic if none.", rich_help_panel=RUN)
    ] = None,
    clips: Annotated[int, typer.Option(min=1, max=32, help="Clips that --reconstruct draws.", rich_help_panel=RUN)] = 3,
    max_bytes: o.MaxBytes = None,
    max_pixels: o.MaxPixels = None,
    max_packets: o.MaxPackets = None,
    max_gop: o.MaxGop = None,
    as_json: o.Json = False,
) -> None:  # fmt: skip
    """Show what shards hold, verify them, or index tars that others wrote; draw what a run restores."""
    refuse_idle(ctx, ABOUT, alone=("index", "reconstruct"))
    if reconstruct is not None:
        draw(path, reconstruct, shards, clips, as_json)
        return
    refuse_runs(path)
    limits = {"max_bytes": max_bytes, "max_pixels": max_pixels, "max_packets": max_packets, "max_gop": max_gop}
    if index:
        index_tars(path, caption_key, split, workers, max_skipped, time_limit, limits, as_json)
    else:
        tell_shards(
            path, as_json, sheet=sheet, samples=samples, mask_ratio=mask_ratio, verify=verify, recipe=recipe,
            num_processes=num_processes, workers=workers, batch_size=batch_size, frames=frames,
            settings=o.overrides(sets, train__accumulate=accumulate), time_limit_s=time_limit,
        )  # fmt: skip
