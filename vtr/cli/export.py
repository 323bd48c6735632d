"""`vtr export`: a run as a directory for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, examples, print_json, print_text


@app.command(
    epilog=examples(
        "vtr export runs/mac-ft --to hf --out exported", "vtr export runs/mac-ft --to onnx --out onnx --json"
    )
)
def export(
    run: Annotated[str, typer.Argument(help=f"{o.RUNS}.")],
    out: o.Out,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="What it is for: hf, sentence-transformers or onnx.",
            autocompletion=o.complete_from("hf", "sentence-transformers", "onnx"),
        ),
    ] = "hf",
    result: Annotated[Path | None, typer.Option(help="A result of vtr eval, for the model card.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what vtr export wrote there before.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write a run for transformers, for sentence-transformers or as ONNX, with a model card."""
    from vtr import api

    files = api.export(run, out, to=to, result=result, overwrite=overwrite)
    if as_json:
        print_json({"files": [str(file) for file in files]})
    else:
        print_text("\n".join(str(file) for file in files))
