"""A run for other libraries."""

from __future__ import annotations

from pathlib import Path

from vtr import plainjson
from vtr.atomic import explain_os_error, locked
from vtr.errors import InputError


def export(
    run: Path | str,
    out: Path | str,
    *,
    to: str = "hf",
    result: Path | str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes a run as a directory that transformers ("hf") or sentence-transformers loads, or as two ONNX models.

    `result`, a file of `vtr eval --out`, goes into the model card. Returns the files.
    """
    import os
    import shutil

    from vtr.hub.write import EXTRAS, write_hub

    out = Path(out)
    if to not in EXTRAS:
        raise InputError(f"runs cannot be exported to {to!r}", f"choose one of: {', '.join(EXTRAS)}")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not overwrite):
        raise InputError(f"{out} is there already", "give another --out, or --overwrite")
    if overwrite and out.is_dir() and any(out.iterdir()) and not (out / "processor_config.json").is_file():
        raise InputError(f"{out} is no export of a run, so it is not overwritten", "give another --out")
    try:
        told = None if result is None else dict(plainjson.load(Path(result)))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{result} is no result: {error}", "make one: vtr eval RUN --shards DIR --out FILE") from error
    place = out.resolve()
    aside = place.parent / f".{place.name}.tmp-{os.getpid()}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.parent / f".{place.name}.lock", str(out)):
            try:
                aside.mkdir()
                write_hub(to, run, aside, told)
                if place.is_dir():
                    shutil.rmtree(place)
                aside.replace(place)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise explain_os_error(error, "while exporting", place.parent) from error
    return sorted(path for path in out.rglob("*") if path.is_file())
