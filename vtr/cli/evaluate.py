"""`vtr eval`: retrieval figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, counting, examples, print_json, write_json


@app.command(
    "eval",
    epilog=examples(
        "vtr eval runs/mac-ft --shards shards/test", "vtr eval runs/mac-ft --shards shards/test --json > result.json"
    ),
)
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run, or one of its checkpoints.")],
    shards: o.Shards,
    out: Annotated[Path | None, typer.Option("--out", help="Write the result as JSON to this file too.")] = None,
    as_json: o.Json = False,
    batch_size: o.Batch = 32,
    workers: o.Workers = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
) -> None:
    """Print R@1, R@5, R@10, MdR and MnR, text-to-video and video-to-text."""
    from rich.console import Console

    from vtr import api
    from vtr.errors import InputError
    from vtr.retrieval.table import results_table

    if out is not None and out.is_dir():
        raise InputError(f"--out {out} is a directory", "name a file, result.json say")
    with counting("videos") as progress:
        result = api.evaluate(
            run, shards, device=device, precision=precision, batch_size=batch_size, workers=workers, progress=progress
        )
    if as_json:
        print_json(result)
    else:
        Console().print(results_table({way: result[way] for way in ("t2v", "v2t")}))
        if result["nan"]:
            Console(stderr=True).print(f"{result['nan']} similarities were NaN and rank last", style="yellow")
    if out is not None:  # last, for a full disk must not cost the figures
        write_json(out, result)
