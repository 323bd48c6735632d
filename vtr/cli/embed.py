"""`vtr embed`: the vectors of videos, to keep and to search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, counting, examples, print_json, print_text


@app.command(
    epilog=examples(
        "vtr embed runs/mac-ft --shards shards/test --out embeddings",
        "vtr embed runs/mac-ft --shards shards/test --out npy --format npy --captions",
    )
)
def embed(
    run: Annotated[Path, typer.Argument(help="A run, or one of its checkpoints.")],
    shards: o.Shards,
    out: o.Out,
    format: Annotated[str, typer.Option(help="parquet, or npy with its metadata beside.")] = "parquet",
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    captions: Annotated[bool, typer.Option("--captions", help="Embed the captions too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
    as_json: o.Json = False,
    batch_size: o.Batch = 32,
    workers: o.Workers = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
) -> None:
    """Write the normalised vector of every video, with the model it came from."""
    from vtr import api

    with counting("videos") as progress:
        files = api.embed(
            run, shards, out, format=format, dtype=dtype, captions=captions, overwrite=overwrite, device=device,
            precision=precision, batch_size=batch_size, workers=workers, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json({"files": [str(file) for file in files]})
    else:
        print_text("\n".join(str(file) for file in files))
