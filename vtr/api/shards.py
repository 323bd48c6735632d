"""Shards: written, planned and written in tasks, indexed, inspected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr.errors import InputError

if TYPE_CHECKING:
    from vtr.data.foreign import IndexSummary
    from vtr.data.manifest import ShardSummary
    from vtr.data.tasks import PlanSummary, TaskSummary


def shard(
    reader: str,
    source: str,
    out: Path | str,
    *,
    split: str | None = None,
    limit: int | None = None,
    root: Path | None = None,
    reading: Callable[[int], None] | None = None,
    announce: Callable[[str], None] | None = None,
    **how: Any,
) -> ShardSummary:
    """Videos and captions to WebDataset tars with an index; `how` goes to `vtr.data.shards.write_shards`.

    `reading` hears how many samples have been read of `source`; `announce`, before anything is written, each thing that
    it lacks of what is published, and which split all are taken as where it names none.
    """
    from vtr.data.shards import write_shards

    read, given = _reading(reader, source, split, limit, root, reading, announce)
    samples, census = read()
    return write_shards(samples, Path(out), reader=reader, source=source, options=given, census=census, **how)


def plan_shards(
    reader: str,
    source: str,
    out: Path | str,
    *,
    split: str | None = None,
    limit: int | None = None,
    root: Path | None = None,
    reading: Callable[[int], None] | None = None,
    announce: Callable[[str], None] | None = None,
    **how: Any,
) -> PlanSummary:
    """Notes in `out` what `shard` would do, for `shard_task` to do; `how` goes to `vtr.data.tasks.note`."""
    from vtr.data import tasks

    read, given = _reading(reader, source, split, limit, root, reading, announce)
    return tasks.note(read, Path(out), reader=reader, source=source, options=given, **how)


def shard_task(
    reader: str,
    source: str,
    out: Path | str,
    task: int,
    num_tasks: int,
    *,
    split: str | None = None,
    limit: int | None = None,
    root: Path | None = None,
    reading: Callable[[int], None] | None = None,
    announce: Callable[[str], None] | None = None,
    **how: Any,
) -> TaskSummary:
    """Every `num_tasks`-th shard, from `task` on; the last task to end completes `out` as `shard` would have."""
    from vtr.data import tasks

    read, given = _reading(reader, source, split, limit, root, reading, announce)
    return tasks.write_task(read, Path(out), task, num_tasks, reader=reader, source=source, options=given, **how)


def index_tars(path: Path | str, *, workers: int | None = None, **how: Any) -> IndexSummary:
    """An index for WebDataset tars that others wrote; `how` goes to `vtr.data.foreign.write_index`."""
    from vtr.data import foreign, patterns
    from vtr.data.crew import cores

    return foreign.write_index(patterns.find(str(path)), workers=workers or cores(), **how)


def inspect_shards(
    path: Path | str,
    *,
    sheet: Path | None = None,
    samples: int = 24,
    mask_ratio: float = 0.0,
    verify: bool = False,
    num_processes: int | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    frames: int | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    time_limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What shards hold; with `verify` what is damaged in them.

    `num_processes`: whether a training of so many is "ready" to go on them, and how fast its "decoding" is, of clips of
    `frames` (4) in steps of `batch_size`, by `workers` of each process (0: by itself). With `recipe` all of these come
    from it, where they are not given, and "ready" tells of all that it needs here, in so many processes or one (see
    `vtr.readiness`); `settings` are set in it, by dotted key.
    `sheet` is the PNG file of a contact sheet of so many `samples`, with `mask_ratio` of each frame hidden beside it.
    """
    config = None
    if recipe is not None:  # before all that takes time: its name may be mistyped
        from vtr.recipe import load, override, staged

        given = {"data.workers": workers, "train.batch_size": batch_size, "data.frames": frames}
        given = {key: value for key, value in given.items() if value is not None}
        config = override(load(recipe), {**(settings or {}), **given})
    from vtr.atomic import check_writable, replacing
    from vtr.data import facts, feed, manifest, shares
    from vtr.data import verify as verifying
    from vtr.data.apart import without
    from vtr.data.crew import cores
    from vtr.data.index import ShardIndex

    if num_processes is None and batch_size is not None and recipe is None:
        raise InputError("--batch-size alone feeds nobody", "add --num-processes, the number of training processes")
    place = None if sheet is None else check_writable(Path(sheet))
    index = ShardIndex.open(path)
    found = facts.describe(index) | {"warnings": manifest.warnings_of(index)}
    fed: dict[str, Any] = {"workers": workers or 0, "batch_size": batch_size, "frames": 4 if frames is None else frames}
    if config is not None:
        from vtr.readiness import report

        found["ready"] = report(config, index, num_processes or 1)
        first = staged(config)[0]
        fed = {"workers": first.data.workers, "batch_size": first.train.batch_size, "frames": first.data.frames}
    elif num_processes is not None:
        found["ready"] = [shares.checked("feeds", lambda: shares.feeds(index, num_processes, batch_size))]
    if num_processes is not None:
        found["decoding"] = feed.feed(index, num_processes, **fed, time_limit_s=time_limit_s)
    if verify:
        done = verifying.verify(index, workers=workers or cores(), time_limit_s=time_limit_s, progress=progress)
        found["verified"] = dataclasses.asdict(done)
    if place is not None:
        from vtr.data import sheet as contact

        picture, left_out = contact.make_sheet(index, samples, mask_ratio, time_limit_s)
        with replacing(place) as file:
            picture.save(file, "PNG")
        found["sheet"] = str(sheet)
        if left_out:
            found["warnings"] = [*found["warnings"], without(left_out)]
    return found


def _reading(
    reader: str,
    source: str,
    split: str | None,
    limit: int | None,
    root: Path | None,
    tell: Callable[[int], None] | None,
    announce: Callable[[str], None] | None,
) -> tuple[Callable[[], tuple[Any, Any]], dict[str, Any]]:
    """A function that gives the samples of `source` and their census, and the options that a plan remembers."""
    from vtr.data import annotations

    options = annotations.ReaderOptions(split=split, limit=limit, root=root, tell=tell, warn=announce)

    def read() -> tuple[Any, Any]:
        samples = annotations.read(reader, source, options)
        census = annotations.take_census(reader, source, options, samples)
        if announce is not None:
            for warning in census.warnings():
                announce(warning)
        return samples, census.record()

    return read, {"split": split, "limit": limit}
