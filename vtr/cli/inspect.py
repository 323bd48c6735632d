"""`vtr inspect`: what is in a shard directory, whether it is whole, and an index for tars that others wrote."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtr.cli import options as o
from vtr.cli.app import app, examples, once_called, print_json, print_text, progress, refuse_idle
from vtr.plaintext import printable, warn

if TYPE_CHECKING:
    from vtr.data.foreign import IndexSummary

CHECK, INDEX, RUN = "Checks", "An index for tars of others", "A run"
PROBLEMS = 5  # that are named
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
        int | None, typer.Option(min=1, help="Can they feed so many training processes?", rich_help_panel=CHECK)
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Can it be trained on them, here?", rich_help_panel=CHECK, autocompletion=o.complete_recipe),
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
            min=0, help="Decoding processes: of each trainer, if not the recipe's, or of this command.",
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
        Path | None, typer.Option(metavar="PNG", help="Draw what it restores or looks at.", rich_help_panel=RUN)
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(help="Shards whose clips it restores; synthetic clips if none.", rich_help_panel=RUN)
    ] = None,
    clips: Annotated[int, typer.Option(min=1, max=32, help="Clips to draw.", rich_help_panel=RUN)] = 3,
    max_bytes: o.MaxBytes = None,
    max_pixels: o.MaxPixels = None,
    max_packets: o.MaxPackets = None,
    max_gop: o.MaxGop = None,
    as_json: o.Json = False,
) -> None:  # fmt: skip
    """Show what shards hold, verify them, or index tars that others wrote; draw what a run restores."""
    refuse_idle(ctx, ABOUT, alone=("index", "reconstruct"))
    if reconstruct is not None:
        _reconstruct(path, reconstruct, shards, clips, as_json)
        return
    refuse_runs(path)
    limits = {"max_bytes": max_bytes, "max_pixels": max_pixels, "max_packets": max_packets, "max_gop": max_gop}
    if index:
        _index(path, caption_key, split, workers, max_skipped, time_limit, limits, as_json)
    else:
        _shards(
            path, as_json, sheet=sheet, samples=samples, mask_ratio=mask_ratio, verify=verify, recipe=recipe,
            num_processes=num_processes, workers=workers, batch_size=batch_size, frames=frames,
            settings=o.overrides(sets, train__accumulate=accumulate), time_limit_s=time_limit,
        )  # fmt: skip


def refuse_runs(path: str) -> None:
    """Raises InputError for a run directory."""
    from vtr.errors import InputError

    if (Path(path) / "run.json").is_file():
        raise InputError(
            f"{path} is a run, not a shard directory",
            "draw what it sees with --reconstruct OUT.png; what it is stands in its run.json and config.toml",
        )


def _reconstruct(path: str, out: Path, shards: Path | None, clips: int, as_json: bool) -> None:
    from vtr import api

    found = api.reconstruct(path, out, shards=shards, clips=clips)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if name not in ("run", "out", "captions"):
            print_text(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    print_text(str(out))


def _index(
    path: str,
    caption_key: str | None,
    split: str | None,
    workers: int | None,
    max_skipped: float,
    time_limit: float,
    limits: dict[str, int | None],
    as_json: bool,
) -> None:
    from vtr import api
    from vtr.data.limits import limits_of

    with progress(*_columns()) as bar:
        line = bar.add_task("index", total=None)
        summary = api.index_tars(
            path, caption_key=caption_key, split=split or "", workers=workers, max_skipped=max_skipped,
            time_limit_s=time_limit, limits=limits_of(limits),
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print_json(dataclasses.asdict(summary))
    else:
        _show_index(summary)


def _shards(path: str, as_json: bool, **asked: Any) -> None:
    from vtr import api

    with progress(*_columns()) as bar:
        line = bar.add_task("verify", total=None, visible=asked["verify"])
        found = api.inspect_shards(
            path, **asked, progress=lambda done, total: bar.update(line, completed=done, total=total)
        )
    if as_json:
        print_json(found)
    else:
        _show(found)
    problems = found.get("verified", {}).get("problems", []), found.get("decoding", {}).get("problems", [])
    if any(problems) or not all(check["ok"] for check in found.get("ready", [])):
        raise typer.Exit(1)


def _columns() -> tuple[Any, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()


def _show_index(summary: IndexSummary) -> None:
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


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Captions, keys and splits are anybody's: neither markup nor escape sequences in them mean anything here.
    title = Text(printable(found["path"]), style="italic")
    table = Table(box=None, show_header=False, title=title, title_justify="left")
    for name, text in _lines(found):
        table.add_row(name, Text(printable(text)))
    Console(soft_wrap=True, highlight=False).print(table)
    for warning in found["warnings"]:
        warn(warning)
    for problem in found.get("verified", {}).get("problems", [])[:PROBLEMS]:
        warn("{shard}: {key}: {kind}: {message}".format(**problem))
    for problem in found.get("decoding", {}).get("problems", []):
        warn(problem)
    for check in found.get("ready", []):
        if not check["ok"]:
            warn(f"{check['check']}: {check['told']}; {check['hint']}")


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    def spread(name: str, unit: str = "") -> str:
        of = found[name]
        return f"{of['min']:g} to {of['max']:g}{unit}, median {of['median']:g}"

    def counts(of: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in of.items())

    def twice(of: dict[str, Any]) -> str:
        most = "; ".join(f"{count} x {name[:40]!r}" for name, count in of["most"].items())
        return f"{of['distinct']} occur {of['occurrences']} times: {most}" if of["distinct"] else "none"

    lines = [
        ("samples", f"{found['samples']} with {found['captions']} captions in {found['shards']} shards"),
        ("bytes", f"{found['bytes'] / 1e6:.1f} MB; shards of {spread('shard_mb', ' MB')}"),
        ("store", f"{counts(found['stores'])}; to be decoded: {counts(found['decoders'])}"),
        ("splits", counts(found["splits"])),
        ("duration", f"{found['duration_s']['total']:.0f} s; {spread('duration_s', ' s')}"),
        ("frames", f"{found['frames']['total']}; {spread('frames')}; fps {spread('fps')}"),
        ("pictures", f"{counts(found['pictures'])}; short side {spread('short_side')}"),
        ("captions", f"{spread('captions_per_sample')} a sample; words {spread('words_per_caption')}"),
        ("same captions", twice(found["duplicates"]["captions"])),
        ("same videos", twice(found["duplicates"]["videos"])),
    ]
    if fed := found.get("decoding"):
        text = f"{fed['num_processes']} processes" if fed["num_processes"] > 1 else "a process"
        text += f" with {fed['workers']} workers" + (" each" if fed["num_processes"] > 1 else "")
        rate = f"{fed['clips_per_s']:.0f} clips/s of {fed['frames']} frames"
        text += f": {rate} ({fed['clips_per_s_per_core']:.0f} a core)"
        text += f", a batch in {fed['s_per_batch']:.3g} s" if "s_per_batch" in fed else ""
        if fed["num_processes"] * max(1, fed["workers"]) > fed["cores_here"]:
            text += f", if each has a core: this machine has {fed['cores_here']}"
        lines.append(("decoding", text))
    lines += [(check["check"], check["told"]) for check in found.get("ready", []) if check["ok"]]
    if checked := found.get("verified"):
        amount = f"{checked['members']} members, {checked['bytes'] / 1e6:.1f} MB, {checked['frames']} frames"
        lines.append(("verified", f"{amount}: {len(checked['problems'])} problems"))
    if "sheet" in found:
        lines.append(("sheet", found["sheet"]))
    return lines
