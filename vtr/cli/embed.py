"""`vtr embed`: the vectors of videos and captions, to keep and to search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, counting, examples, print_json, print_text, refuse_idle, say
from vtr.cli.search import tell
from vtr.plaintext import warn

NEEDS = ((("port",), "says where a page is served", ("serve",)),)
# Of texts alone. Where there are embeddings already, these are theirs, and all that is added must agree.
OF_VIDEOS = {"text": ("segments", "captions", "workers", "max_skipped", "time_limit")}


@app.command(
    epilog=examples(
        "vtr embed runs/mac-ft --videos ~/Videos --segments 4s/2s --out mine --serve",
        "vtr embed runs/mac-ft --shards shards/test --out npy --format npy --captions",
    )
)
def embed(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help=o.MODELS)],
    out: o.Out,
    shards: Annotated[
        str | None, typer.Option("--shards", help="Shards to embed: a directory, URL or pattern of tars.")
    ] = None,
    videos: Annotated[Path | None, typer.Option("--videos", help="Videos to embed: a folder of them, or one.")] = None,
    text: Annotated[Path | None, typer.Option("--text", help="Texts to embed: a file with one a line.")] = None,
    segments: Annotated[str | None, typer.Option(help="A row for each span: 4s/2s is 4 s every 2 s.")] = None,
    format: Annotated[str, typer.Option(help="Write parquet, or npy with its metadata beside.")] = "parquet",
    dtype: Annotated[str, typer.Option(help="Numbers of the vectors: float32 or float16.")] = "float32",
    captions: Annotated[bool, typer.Option("--captions", help="Embed the videos' captions too, a row each.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace embeddings that are there.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Then open a search page, as vtr search does.")] = False,
    port: o.Port = 8000,
    as_json: o.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name the files written, too.")] = False,
    batch_size: o.Batch = 32,
    workers: o.Workers = 1,
    num_processes: Annotated[int, typer.Option(min=1, help="Embedding processes, a GPU each.")] = 1,
    max_skipped: Annotated[float, typer.Option(min=0, max=1, help="Share of videos that may be unreadable.")] = 0.05,
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds to decode a video in.")] = 300.0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
) -> None:
    """Write the normalised vector of every video, with the model it came from; run again, add what is new."""
    from vtr import api
    from vtr.retrieval.plan import PLAN

    refuse_idle(ctx, NEEDS, OF_VIDEOS if overwrite or not (out / PLAN).is_file() else {})
    if serve:  # what would end it is said before hours of work
        from vtr.serve.server import check

        check(port)
    with counting("videos") as progress:
        found = api.embed(
            run, shards, out, videos=videos, text=text, segments=segments, format=format, dtype=dtype,
            captions=captions, overwrite=overwrite, device=device, precision=precision, batch_size=batch_size,
            workers=workers, num_processes=num_processes, max_skipped=max_skipped, time_limit_s=time_limit,
            progress=progress,
        )  # fmt: skip
    if found.skipped:
        warn(f"{len(found.skipped)} videos could not be decoded: {out / 'skipped.jsonl'} names them")
    if found.gone:
        names = ", ".join(found.gone[:3]) + (f" and {len(found.gone) - 3} more" if len(found.gone) > 3 else "")
        one = len(found.gone) == 1
        has, its, it = ("video has", "its", "it") if one else ("videos have", "their", "them")
        say(f"{len(found.gone)} {has} gone, {its} rows stay: {names}; --overwrite leaves {it} out")
    if not found.files:  # another process of several tells
        return
    files = [str(file) for file in found.files]
    record = {
        "out": str(out), "files": files, "rows": found.rows, "added": found.added, "new": found.new,
        "clips": found.clips, "seconds": found.seconds, "clips_per_s": found.clips_per_s, "skipped": found.skipped,
        "gone": list(found.gone),
    }  # fmt: skip
    if not as_json:
        if verbose:
            print_text("\n".join(files))
        rate = "" if found.clips_per_s is None else f", {found.clips_per_s:.3g} clips/s"
        now = f"{found.new} of them now{rate}" if found.added else "nothing new"
        print_text(f"{out}: {found.rows} rows in {len(files)} file{'' if len(files) == 1 else 's'}, {now}")
    elif not serve:
        print_json(record)
    if serve:
        api.serve(
            out, run=str(run), device=device, shards=shards, port=port,
            tell=lambda at: tell(at, record if as_json else None),
        )  # fmt: skip
