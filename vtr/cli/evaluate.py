"""`vtr eval`: retrieval figures of a model or of embeddings; `vtr eval compare`: two results tested."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from vtr.cli import options as o
from vtr.cli.app import app, counting, examples, print_json, print_text, refuse_idle, say
from vtr.plaintext import printable

COMPARE = "compare"
comparing = typer.Typer(rich_markup_mode="rich")
# Embeddings need no model; JSON is no table.
IDLE = {"embeddings": ("batch_size", "workers", "device", "precision"), "as_json": ("format",)}
PROTOCOLS = "msrvtt-1ka msrvtt-full msvd lsmdc didemo activitynet vatex flickr30k coco-5k ucf101 hmdb51 own"


class _Eval(TyperCommand):
    """`vtr eval compare A B` goes to a command of its own; a run of that name is `vtr eval ./compare`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args[:1] == [COMPARE]:
            return get_command(comparing).make_context(f"{info_name} {COMPARE}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@app.command(
    "eval",
    cls=_Eval,
    epilog=examples(
        "vtr eval runs/mac-ft --shards shards/test --report report.html",
        "vtr eval --embeddings embeddings --dsl --format markdown",
    ),
)
def evaluate(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(help=o.MODELS, show_default=False),
    ] = None,
    shards: Annotated[
        list[Path] | None,
        typer.Option("--shards", help="Shards to evaluate on (vtr shard); of actions one a split.", show_default=False),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option("--embeddings", help="Instead of a run: embeddings, of vtr or any other origin."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option("--protocol", help=f"One of: {PROTOCOLS}.", autocompletion=o.complete_from(*PROTOCOLS.split())),
    ] = "own",
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions", help="Which captions count, of own data: all, first or paragraph.", show_default=False
        ),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Evaluate what is there of a test set, and say so.")
    ] = False,
    prompt: Annotated[str, typer.Option("--prompt", help="Of actions: the text that a class name stands in.")] = "{}",
    bank: Annotated[
        Path | None, typer.Option("--bank", help="Shards of training captions (or embeddings) for +QB-Norm.")
    ] = None,
    dsl: Annotated[bool, typer.Option("--dsl", help="Add the column +DSL (transductive).")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Add shuffled, reversed and single frames.")] = False,
    vtm: Annotated[bool, typer.Option("--vtm", help="Add the column +VTM rerank (pretraining by SimVTP).")] = False,
    vtm_top: Annotated[
        int | None, typer.Option("--vtm-top", help="How many candidates --vtm reranks; 32 if not given.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write a page of all of it to this file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the result as JSON, with all ranks beside.")] = None,
    format: Annotated[str, typer.Option("--format", help="Print the table as rich, markdown, latex or csv.")] = "rich",
    as_json: o.Json = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the intervals.")] = 0,
    batch_size: o.Batch = 32,
    workers: o.Workers = 1,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
) -> None:
    """Print R@1, R@5, R@10, MdR and MnR with 95 % intervals, text-to-video and video-to-text.

    vtr eval compare A B tests two results that --out wrote.
    """
    from vtr import api
    from vtr.errors import InputError
    from vtr.retrieval.formats import FORMATS

    refuse_idle(ctx, beside=IDLE)
    for name, path in (("--out", out), ("--report", report)):
        if path is not None and path.is_dir():
            raise InputError(f"{name} {path} is a directory", "name a file")
    if format not in FORMATS:
        raise InputError(f"the format {format!r} is unknown", f"choose one of: {', '.join(FORMATS)}")
    if (run is None) == (embeddings is None) or (run is not None and not shards):
        raise typer.BadParameter("give RUN and --shards DIR, or --embeddings DIR", param_hint="RUN")
    if out is not None or report is not None:
        from vtr.evaluation import targets

        out, report = targets.checked(out, report, run, [*(shards or ()), embeddings, bank])
    with counting("videos") as progress:
        result = api.evaluate(
            run, shards or (), embeddings=embeddings, protocol=protocol, captions=captions,
            allow_partial=allow_partial, prompt=prompt, bank=bank, dsl=dsl, probe=probe, seed=seed,
            vtm=vtm, vtm_top=vtm_top,
            device=device, precision=precision, batch_size=batch_size, workers=workers, progress=progress,
            command=shlex.join(["vtr", *sys.argv[1:]]),
        )  # fmt: skip
    # Printed first, written last, for a full disk must not cost the figures.
    if out is not None:
        result.seal(out)
    if as_json:
        print_json(result)
    else:
        _show(result, format)
    if out is not None:
        result.write(out)
    if report is not None:
        result.report(report)


@comparing.command(
    COMPARE,
    epilog=examples("vtr eval compare a.json b.json", "vtr eval compare a.json b.json --column +DSL --json"),
)
def compare(
    a: Annotated[Path, typer.Argument(help="A result, written by vtr eval --out.")],
    b: Annotated[Path, typer.Argument(help="Another one, of the same test set.")],
    column: Annotated[str, typer.Option("--column", help="What to compare: raw, or a trick that both have.")] = "raw",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the test.")] = 0,
    as_json: o.Json = False,
) -> None:
    """Test whether B differs from A: a paired test over the same queries."""
    from rich.console import Console

    from vtr import api
    from vtr.retrieval.table import differences_table

    found = api.compare(a, b, column=column, seed=seed)
    if as_json:
        print_json(found)
        return
    Console().print(differences_table(found))
    print_text(found["verdict"])


def _show(result: Any, format: str) -> None:
    from rich.console import Console

    from vtr.retrieval import formats, rows
    from vtr.retrieval.table import results_table

    if format != "rich":
        print_text(formats.TEXTS[format](result))
        if format == "csv":  # which has no place for them
            for note in rows.notes(result):
                say(f"note: {note}")
        return
    console = Console()
    console.print(results_table(result))
    for note in rows.notes(result):
        console.print(printable(note), style="dim", markup=False, highlight=False)
