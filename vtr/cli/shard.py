"""`vtr shard`: videos and captions to WebDataset tars."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtr.cli import options as o
from vtr.cli.app import app, columns, examples, print_json, print_text, progress, refuse_idle
from vtr.plaintext import warn

if TYPE_CHECKING:
    from vtr.data.manifest import ShardSummary
    from vtr.data.shards import Progress
    from vtr.data.tasks import PlanSummary, TaskSummary

# Written out, since help must not import the readers; a test compares.
READERS = (
    "table, folder, synthetic, msrvtt, msvd, lsmdc, didemo, activitynet, vatex, webvid, cc3m, coco, flickr30k, ucf101, "
    "hmdb51"
)
OF_WORK = {"plan_only": ("workers", "time_limit", "max_skipped")}
ROOTLESS = ("folder", "synthetic")  # readers whose videos lie in SOURCE, or nowhere
FRAMES, TASKS = "Stored frames and small videos", "Several processes or machines"


@app.command(
    epilog=examples(
        "vtr shard table captions.csv shards/train --store frames",
        "vtr shard synthetic seed:0 shards/toy --split train --limit 1000",
    )
)
def shard(
    ctx: typer.Context,
    reader: Annotated[str,
        typer.Argument(
            help=f"How to read SOURCE: {READERS}.", show_default=False,
            autocompletion=o.complete_from(*READERS.split(", ")),
        ),
    ],
    source: Annotated[str, typer.Argument(help="A table, a folder, or seed:N for synthetic.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Shard directory to write.", show_default=False)],
    split: Annotated[
        str | None,
        typer.Option(
            help="Only this split; a SOURCE that names none (a folder, a table without a column split) is taken whole, "
            "as this one."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many videos.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where relative video paths start.")] = None,
    store: Annotated[str, typer.Option(help="video: the original bytes; frames: JPEGs, fast to train from.")] = "video",
    per_shard: Annotated[int | None, typer.Option(min=1, help="Videos in a tar.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one a processor if not given.")] = None,
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds for one video; more, and it is skipped.")] = 300.0,
    max_skipped: Annotated[float, typer.Option(help="Fail when more than this share cannot be decoded.")] = 0.05,
    fps: Annotated[float | None, typer.Option(help="Frames a second, 4 if not given.", rich_help_panel=FRAMES)] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="Frames to store of a video at most, 64 if not given.", rich_help_panel=FRAMES)
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(help="Frames to store of a video: exactly so many, evenly spaced.", rich_help_panel=FRAMES),
    ] = None,
    short_side: Annotated[
        int | None, typer.Option(help="Pixels of the shorter side, 256 if not given.", rich_help_panel=FRAMES)
    ] = None,
    quality: Annotated[int | None, typer.Option(help="JPEG quality, 90 if not given.", rich_help_panel=FRAMES)] = None,
    transcode: Annotated[
        bool,
        typer.Option(
            "--transcode", help="With --store video: every frame, re-encoded small with a key frame every 12.",
            rich_help_panel=FRAMES,
        ),
    ] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Note the plan for tasks; write no shard.", rich_help_panel=TASKS)
    ] = False,
    task: Annotated[
        int | None, typer.Option(help="Do this part of the shards, from 0; needs --num-tasks.", rich_help_panel=TASKS)
    ] = None,
    num_tasks: Annotated[int | None, typer.Option(help="Tasks that share the work.", rich_help_panel=TASKS)] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster to do the work: auto, or host:port.",
                                 rich_help_panel=TASKS),
    ] = None,
    max_bytes: o.MaxBytes = None,
    max_pixels: o.MaxPixels = None,
    max_packets: o.MaxPackets = None,
    max_gop: o.MaxGop = None,
    as_json: o.Json = False,
) -> None:  # fmt: skip
    """Write videos and captions as WebDataset tars with an index; run it again to continue."""
    from vtr import api
    from vtr.data.limits import limits_of
    from vtr.data.store import make_store
    from vtr.errors import InputError

    refuse_idle(ctx, beside=OF_WORK)
    if root is not None and reader in ROOTLESS:
        raise InputError(f"--root does nothing for the reader {reader}, which names no relative paths", "take it out")
    if (task is None) != (num_tasks is None):
        raise InputError("--task and --num-tasks go together", "of four tasks the first is --task 0 --num-tasks 4")
    if sum((plan_only, task is not None, ray is not None)) > 1:
        raise InputError("--plan-only, --task and --ray are three ways to share the work", "give one of them")
    if ray is not None and workers is not None:
        raise InputError("--workers counts processes of this machine, --ray works on others", "give one of the two")
    how: dict[str, Any] = {"split": split, "limit": limit, "root": root, "per_shard": per_shard}
    how["store"] = make_store(
        store, transcode=transcode, fps=fps, max_frames=max_frames, frames=frames, short_side=short_side,
        quality=quality,
    )  # fmt: skip
    given = {"max_bytes": max_bytes, "max_pixels": max_pixels, "max_packets": max_packets, "max_gop": max_gop}
    how["limits"] = limits_of(given)
    if plan_only:
        with _progress() as (reading, _):
            plan = api.plan_shards(reader, source, out, reading=reading, announce=warn, **how)
        print_json(dataclasses.asdict(plan)) if as_json else _show_plan(plan)
        return
    how |= {"workers": workers, "max_skipped": max_skipped, "time_limit_s": time_limit}
    announced: list[str] = []

    def announce(warning: str) -> None:
        announced.append(warning)
        warn(warning)

    with _progress() as (reading, show):
        how |= {"reading": reading, "announce": announce}
        if task is None or num_tasks is None:
            done: ShardSummary | TaskSummary = api.shard(reader, source, out, ray=ray, progress=show, **how)
        else:
            done = api.shard_task(reader, source, out, task, num_tasks, progress=show, **how)
    _show(done, announced, as_json)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[Progress], None]]]:
    """One line that first counts the samples that are read, and then those that are sharded."""
    with progress(*columns()) as bar:
        line = bar.add_task("read", total=None)
        yield (
            lambda samples: bar.update(line, completed=samples),
            lambda done: bar.update(line, description="shard", completed=done.done, total=done.total),
        )


def _show(done: ShardSummary | TaskSummary, announced: list[str], as_json: bool) -> None:
    from vtr.data.tasks import TaskSummary

    whole = done.whole if isinstance(done, TaskSummary) else done
    for warning in () if whole is None else whole.warnings:
        if warning not in announced:  # a task reads what was planned, and takes no census of its own
            warn(warning)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    if isinstance(done, TaskSummary) and not (done.whole and done.whole.nothing_to_do):
        _show_task(done)
    if whole is not None:
        _show_whole(whole)


def _show_plan(plan: PlanSummary) -> None:
    print_text(f"{plan.samples} videos are to go into {plan.shards} shards of {plan.out}")
    tasks = min(plan.shards, 4)
    print_text(f"add to this command, in place of --plan-only: --task 0 --num-tasks {tasks}, and so on, anywhere")


def _show_task(done: TaskSummary) -> None:
    print_text(
        f"task {done.task} of {done.num_tasks}: {done.samples} videos in {done.shards} shards, "
        f"{done.bytes / 1e6:.1f} MB, {done.skipped} skipped"
    )
    if done.whole is None:
        print_text(
            f"{done.left} shards are left to other tasks"
            if done.left
            else "all shards are done; a task still at work ends"
        )
        _show_pace(done.pace, "as they are stored")


def _show_whole(done: ShardSummary) -> None:
    if done.nothing_to_do:
        print_text(f"{done.out} is whole already: nothing to do")
    print_text(
        f"{done.samples} videos, {done.captions} captions, {done.duration_s:.0f} s "
        f"in {done.shards} shards, {done.bytes / 1e6:.1f} MB"
    )
    readers = ", ".join(f"{count} by {name}" for name, count in sorted(done.decoders.items()))
    print_text(f"to be decoded: {readers}" if readers else "nothing to decode")
    _show_pace(done.pace, "from stored frames" if set(done.decoders) <= {"jpeg", "image"} else "from these videos")
    if done.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(done.skipped.items()))
        print_text(f"skipped {sum(done.skipped.values())} ({kinds}): see {done.out / 'skipped.jsonl'}")


def _show_pace(pace: dict[str, float] | None, what: str) -> None:
    """How quickly clips were decoded, and the hint that there is a quicker store."""
    if pace is None:
        return
    now, then = pace["clips_per_s_per_core"], pace["frame_store_clips_per_s_per_core"]
    tried = f"{pace['clips']:.0f} clips of {pace['frames_a_clip']:.0f} frames tried"
    print_text(
        f"one core decodes {now:.0f} clips/s {what} ({tried})"
        + (f"; --store frames would give {then:.0f}" if then > 1.5 * now else "")
    )
