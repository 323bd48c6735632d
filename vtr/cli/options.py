"""Options that several verbs take, and how they become config overrides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from vtr.errors import InputError

RUNS = "A run, a checkpoint, frozen:PATH, miles:PATH, simvtp:PATH, st:DIR, hf:DIR"
MODELS = f"{RUNS}, clip:NAME, siglip:NAME, open_clip:NAME, timm:NAME."
TrainShards = Annotated[
    list[str],
    typer.Option(
        "--shards", help="Shards to train on: a directory; may come again, with shares: DIR=0.7.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Where to write.", show_default=False)]
EvalShards = Annotated[
    Path | None, typer.Option("--eval-shards", help="Shards to score at the end, and each train.eval_every.")
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        help="Begin with a run, frozen:PATH, miles:PATH, simvtp:PATH, clip:NAME, timm:NAME or videomae:NAME.",
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, section.key=value; may come again.", metavar="KEY=VALUE")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Remove what is in --out and start over.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Fail unless --out holds a run to go on with; one that is there goes on anyway."),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 takes a free one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option("--device", help="Device: auto, cpu, cuda, cuda:1 ...")]
Precision = Annotated[str, typer.Option("--precision", help="Precision: auto, fp32, bf16 or fp16.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Clips at a time.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, max=1024, help="Decoding processes; 0: this one, which no time limit guards.")
]

LIMITS = "Limits on one video; shards remember those that are raised"
MaxBytes = Annotated[int | None, typer.Option("--max-bytes", help="Largest file, in bytes.", rich_help_panel=LIMITS)]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Largest picture, in pixels.", rich_help_panel=LIMITS)
]
MaxPackets = Annotated[
    int | None, typer.Option("--max-packets", help="Most coded frames of a video.", rich_help_panel=LIMITS)
]
MaxGop = Annotated[
    int | None, typer.Option("--max-gop", help="Most frames from a key frame to the next.", rich_help_panel=LIMITS)
]

Epochs = Annotated[float | None, typer.Option("--epochs", help="Passes over the data.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps, instead of epochs.")]
TrainBatch = Annotated[int | None, typer.Option("--batch-size", help="Clips a step, over all processes and pieces.")]
Accumulate = Annotated[
    int | None, typer.Option("--accumulate", min=1, help="Pieces of a batch, for less memory; the same gradients.")
]
NumProcesses = Annotated[
    int | None, typer.Option("--num-processes", min=1, help="Train together on this machine: one a GPU, say.")
]
Keep = Annotated[int | None, typer.Option("--keep", min=1, help="Newest checkpoints to keep.")]
Lr = Annotated[float | None, typer.Option("--lr", help="Highest learning rate.")]
MaskRatio = Annotated[float | None, typer.Option("--mask-ratio", help="Share of patches hidden.")]
Frames = Annotated[int | None, typer.Option("--frames", help="Frames of a clip, as the model sees it.")]
TrainWorkers = Annotated[int | None, typer.Option("--workers", help="Decoding processes.")]
TrainPrecision = Annotated[str | None, typer.Option("--precision", help="Precision: auto, fp32, bf16 or fp16.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of weights, order, crops and masks.")]
TrainDevice = Annotated[str | None, typer.Option("--device", help="Device: auto, cpu, cuda, cuda:1 ...")]


def complete_recipe(begun: str) -> list[str]:
    """The recipes whose names begin so: for the shell's completion."""
    from vtr.recipe import recipe_names

    return [name for name in recipe_names() if name.startswith(begun)]


def complete_from(*names: str) -> Callable[[str], list[str]]:
    """As `complete_recipe`, for names that are known beforehand: readers, say."""

    def complete(begun: str) -> list[str]:
        return [name for name in names if name.startswith(begun)]

    return complete


def overrides(sets: list[str] | None, **flags: Any) -> dict[str, Any]:
    """Dotted config keys from `--set` and the first-class flags (names with `__` for the dot); flags win."""
    from vtr.recipe import parse_sets

    if flags.get("train__steps") == 0:
        raise InputError("--steps 0 trains nothing", "give at least 1, or --epochs N")
    given = parse_sets(sets or []) | {k.replace("__", "."): value for k, value in flags.items() if value is not None}
    if "train.epochs" in given:
        if given.get("train.steps"):
            raise InputError(
                f"{given['train.steps']} steps and {given['train.epochs']} epochs are two lengths of one training",
                "give --steps or --epochs",
            )
        given = {"train.steps": 0, "train.min_steps": 0} | given  # so many and no more, unless the same command says so
    return given
