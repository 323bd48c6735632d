"""`vtr inspect SHARDS`: what shards hold, whether they are whole, and whether a training can go on them."""

from __future__ import annotations

from typing import Any

import typer

from vtr.cli.app import columns, print_json, progress
from vtr.plaintext import printable, warn

PROBLEMS = 5  # that are named


def tell_shards(path: str, as_json: bool, **asked: Any) -> None:
    """Prints what `vtr.api.inspect_shards` finds, asked so. Raises typer.Exit where it is not well."""
    from vtr import api

    with progress(*columns()) as bar:
        line = bar.add_task("verify", total=None, visible=asked["verify"])
        found = api.inspect_shards(
            path, **asked, progress=lambda done, total: bar.update(line, completed=done, total=total)
        )
    if as_json:
        print_json(found)
    else:
        show(found)
    problems = found.get("verified", {}).get("problems", []), found.get("decoding", {}).get("problems", [])
    if any(problems) or not all(check["ok"] for check in found.get("ready", [])):
        raise typer.Exit(1)


def show(found: dict[str, Any]) -> None:
    """Prints what was found in shards; what is wrong with them goes to stderr."""
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
