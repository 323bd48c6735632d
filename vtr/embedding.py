"""Embeddings made, or added to: planned, then embedded part by part, by one process or several.

Every part is written whole by whoever has it; a run that was killed goes on with what is missing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vtr.atomic import explain_os_error, locked, refuse_links, remove_leftovers
from vtr.build import load_model
from vtr.data.limits import longer
from vtr.data.spans import Segments
from vtr.errors import DataError, InputError, WorkError
from vtr.retrieval import gone, parts, store
from vtr.retrieval.merge import merged
from vtr.retrieval.npy import FOLDERS, METADATA, TEXT_METADATA
from vtr.retrieval.parquet import NAMES
from vtr.retrieval.plan import PLAN, EmbeddingPlan, Options, Part, planned, read, refuse_other
from vtr.sharing import ASIDE, Job, launched, own_device, spread
from vtr.together import check_room

LAYOUTS = ("parquet", "npy")
LOCK = ".lock"
ANEW = ".anew"


@dataclass(frozen=True)
class Embedded:
    """What such a directory holds, and what was embedded now: `added` parts with `new` rows, `clips` of videos.

    `seconds` is what that took, once the model was loaded; processes that are started here load it for themselves.
    `skipped`: {id, kind, message} of each. `gone`: the videos whose files have gone and whose rows stay.
    """

    out: Path
    files: list[Path]
    rows: int
    added: int
    skipped: list[dict[str, str]]
    new: int = 0
    clips: int = 0
    seconds: float = 0.0
    gone: Sequence[str] = ()

    @property
    def clips_per_s(self) -> float | None:
        """None where no video was embedded now."""
        return self.clips / self.seconds if self.clips else None


def embed(
    job: Job,
    sources: Callable[[], list[Part]],
    options: Options,
    *,
    overwrite: bool = False,
    processes: int = 1,
    max_skipped: float = 0.05,
    progress: Callable[[int], None] | None = None,
) -> Embedded:
    """Embeds what of `sources()` is not in `job.out` yet; the same again does nothing.

    Under Accelerate's launcher its processes share the work; else `processes` of them are started here.
    Raises DataError: another model's or other options' embeddings are there. WorkError: more than the share
    `max_skipped` of the videos could not be decoded (the others are written).
    """
    _check(job.out, options, processes)
    rank, world, barrier = launched()
    loaded = load_model(job.run, own_device(job.device, rank, world), job.precision)
    out = job.out
    if overwrite:  # made beside the old one, which is there until the new one is whole
        job = replace(job, out=out / ANEW)
    with _held(out, main=rank == 0):
        given = sources() if rank == 0 else []
        if rank == 0:
            _merged(job.out, EmbeddingPlan(options, loaded.meta), given, anew=overwrite).write(job.out)
        barrier()
        plan = planned(job.out)
        left = [number for number in range(len(plan.parts)) if not parts.is_done(job.out, plan, number)]
        gone.refuse_missing(job.out, plan, left)
        barrier()  # all have looked before any writes: they share the same list
        begin = time.monotonic()
        if world > 1 or processes == 1 or len(left) < 2:
            job.do(loaded, plan, left[rank::world], progress)
        else:
            del loaded
            processes = min(processes, len(left))
            check_room(processes)
            spread(job, left, processes, progress)
        barrier()
        seconds = time.monotonic() - begin
        if rank > 0:
            return Embedded(out, [], 0, 0, [])
        skipped = parts.finish(job.out, plan)
        if overwrite:
            store.move(job.out, out)
    roots, again = {part.root for part in given}, set(left)
    asked = [number for number, part in enumerate(plan.parts) if number in again or part.root in roots]
    found = _summary(out, plan, left, seconds, skipped, max_skipped)
    return replace(found, gone=gone.named(plan, asked, skipped))


def _check(out: Path, options: Options, processes: int) -> None:
    if options.layout not in LAYOUTS:
        raise InputError(f"the format {options.layout!r} is unknown", f"choose one of: {', '.join(LAYOUTS)}")
    if options.dtype not in store.DTYPES:
        raise InputError(
            f"embeddings cannot be stored as {options.dtype!r}", f"choose one of {', '.join(store.DTYPES)}"
        )
    if options.segments:
        Segments.parse(options.segments)
    if processes < 1:
        raise InputError(f"{processes} processes, at least 1 is needed", "leave --num-processes out for one")
    if out.is_file():
        raise InputError(f"{out} is a file, embeddings are a directory", "give another --out")
    for name, what in (("index.parquet", "a shard directory"), ("run.json", "a run"), ("model.safetensors", "a run")):
        if (out / name).exists():
            raise InputError(f"{out} is {what}, no place for embeddings", "give another --out")


def _merged(out: Path, new: EmbeddingPlan, sources: list[Part], *, anew: bool) -> EmbeddingPlan:
    """The plan of `out` with `sources` in it. Raises DataError when what is there is of another kind."""
    out.mkdir(exist_ok=True)
    old, fresh = read(out), merged(new, sources)
    if anew:  # what a run before had begun is of use if it was the same
        if old != fresh:
            store.remove(out)
        return fresh
    if old is not None:
        refuse_other(old, new, out)
        return merged(old, sources)
    foreign = [*sorted(out.glob(NAMES)), *sorted(out.glob("*_emb"))]
    if foreign:
        raise DataError(
            f"{out} holds embeddings already, without a {PLAN}: {foreign[0].name}",
            "choose an empty directory, or give --overwrite",
        )
    return fresh


def _summary(
    out: Path, plan: EmbeddingPlan, added: list[int], seconds: float, skipped: list[dict[str, str]], max_skipped: float
) -> Embedded:
    rows = store.count(out)
    if skipped and len(skipped) > max_skipped * (len(skipped) + rows):
        first = "; ".join("{id} ({kind}: {message})".format(**entry) for entry in skipped[:3])
        raise WorkError(
            f"{len(skipped)} videos could not be decoded, of {rows} rows that could; first: {first}",
            f"{out / parts.SKIPPED_FILE} names them all; the others are written, accept that with --max-skipped 1"
            f"{longer({one['kind'] for one in skipped})}",
        )
    files = [file for number in range(len(plan.parts)) for file in parts.files_of(out, plan, number)]
    new, clips = parts.count(out, plan, added)
    return Embedded(out, files, rows, len(added), skipped, new, clips, seconds)


@contextmanager
def _held(out: Path, *, main: bool) -> Iterator[None]:
    """`out`, made if need be, for this command alone; what a killed one had begun is cleared away."""
    if not main:
        yield
        return
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, str(out)):
            for folder in (out, out / ANEW):
                refuse_links(folder, ANEW, *FOLDERS.values(), METADATA, TEXT_METADATA)
            try:
                _clear(out)
                yield
            finally:
                _clear(out)
    except OSError as error:
        raise explain_os_error(error, "while embedding", out) from error
    finally:
        if new:  # nothing came of it: a wrong path, say
            with suppress(OSError):
                out.rmdir()


def _clear(out: Path) -> None:
    for folder in (out, out / ANEW):
        for written in (folder, *folder.glob("*_emb"), *folder.glob("*metadata")):
            if not written.is_symlink():
                remove_leftovers(written)
        for left in folder.glob(f"{ASIDE}-*"):
            if left.is_symlink():
                left.unlink()
            shutil.rmtree(left, ignore_errors=True)
