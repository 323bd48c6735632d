"""`vtr search`: the videos nearest to a text or to a video, printed, as a page, or served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vtr.cli import options as o
from vtr.cli.app import app, counting, examples, once_called, print_json, print_text, refuse_idle, say
from vtr.plaintext import warn

NEEDS = (
    (("port",), "says where a page is served", ("serve",)),
    (("shards",), "says where the videos of a page are", ("html", "serve")),
    (("time_limit",), "bounds the decoding of videos", ("like", "html", "serve")),
    (("index_at",), "says where a search library keeps its index", ("backend",)),
)
SERVED = {"serve": ("html", "k")}


@app.command(
    cls=once_called(backend="--index"),
    epilog=examples('vtr search embeddings "a red circle moves left"', "vtr search embeddings --serve"),
)
def search(
    ctx: typer.Context,
    embeddings: Annotated[Path, typer.Argument(help="Embeddings made by vtr embed.")],
    text: Annotated[str | None, typer.Argument(help="What to find.")] = None,
    like: Annotated[Path | None, typer.Option("--like", help="A video file, instead of a text.")] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="A file with one text a line.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    html: Annotated[Path | None, typer.Option("--html", help="Write the hits as a page to this file.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Open a search page on this machine.")] = False,
    port: o.Port = 8000,
    backend: Annotated[
        str,
        typer.Option(
            "--backend", help="What finds the nearest vectors: exact, faiss or lancedb.",
            autocompletion=o.complete_from("exact", "faiss", "lancedb"),
        ),
    ] = "exact",
    index_at: Annotated[
        str | None, typer.Option(help="Where faiss or lancedb keeps its index; LanceDB takes s3://.")
    ] = None,
    shards: Annotated[
        str | None, typer.Option(help="The URL of the shards that were embedded, to show their videos.", metavar="URL")
    ] = None,
    run: Annotated[str | None, typer.Option(help="The run that made the embeddings, if it has moved.")] = None,
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds to decode a video in.")] = 60.0,
    as_json: o.Json = False,
    device: o.Device = "auto",
) -> None:  # fmt: skip
    """Print the videos nearest to a text, or to a video; or serve a page to search in."""
    from vtr import api
    from vtr.atomic import check_writable

    refuse_idle(ctx, NEEDS, SERVED)
    if serve:
        api.serve(
            embeddings, text=text, like=like, queries=queries, run=run, index=backend, index_at=index_at, device=device,
            shards=shards, time_limit_s=time_limit, port=port, tell=lambda at: tell(at, {} if as_json else None),
        )  # fmt: skip
        return
    place = None if html is None else check_writable(html, make=True)
    found = api.search(
        embeddings, text, like=like, queries=queries, k=k, run=run, index=backend, index_at=index_at, device=device,
        time_limit_s=time_limit,
    )  # fmt: skip
    groups: list[dict[str, Any]] = found if queries is not None else [{"query": text or str(like), "hits": found}]
    if place is not None:
        with counting("pictures") as progress:
            left_out = api.write_page(embeddings, groups, place, progress, shards=shards, time_limit_s=time_limit)
        if left_out:
            from vtr.data.apart import without

            warn(without(left_out))
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    from vtr.retrieval.table import hits_table

    for group in groups:
        if queries is not None:
            print_text(group["query"])
        Console().print(hits_table(group["hits"]))
    if html is not None:
        say(f"wrote {html}")


def tell(address: str, record: dict[str, Any] | None) -> None:
    """Prints where the page is; as JSON, with what `record` holds, unless that is None."""
    if record is not None:
        print_json({**record, "address": address})
    else:
        print_text(f"search at {address} (Ctrl-C ends it)")
