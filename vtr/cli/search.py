"""`vtr search`: the videos nearest to a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, examples, print_json


@app.command(
    epilog=examples(
        'vtr search embeddings "a red circle moves left"', 'vtr search embeddings "a dog runs on a beach" -k 20 --json'
    )
)
def search(
    embeddings: Annotated[Path, typer.Argument(help="An export made by vtr embed.")],
    text: Annotated[str, typer.Argument(help="What to find.")],
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    run: Annotated[Path | None, typer.Option(help="The run that made the export, if it has moved.")] = None,
    as_json: o.Json = False,
    device: o.Device = "auto",
) -> None:
    """Print the videos nearest to a text."""
    from rich.console import Console

    from vtr import api
    from vtr.retrieval.table import hits_table

    hits = api.search(embeddings, text, k=k, run=run, device=device)
    if as_json:
        print_json(hits)
    else:
        Console().print(hits_table(hits))
