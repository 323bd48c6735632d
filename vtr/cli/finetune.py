"""`vtr finetune`: a run's weights trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, examples, once_called
from vtr.cli.launch import print_checkpoint, run_together


@app.command(
    cls=once_called(batch_size="--global-batch-size"),
    epilog=examples(
        "vtr finetune runs/mac --shards shards/train --out runs/mac-ft",
        "vtr finetune runs/mac --shards shards/train --out runs/lora --lora 8",
    ),
)
def finetune(
    run: Annotated[Path, typer.Argument(help="A run, or frozen:PATH, miles:PATH, simvtp:PATH.")],
    shards: o.TrainShards,
    out: o.Out,
    eval_shards: o.EvalShards = None,
    epochs: o.Epochs = None,
    steps: o.Steps = None,
    batch_size: o.TrainBatch = None,
    accumulate: o.Accumulate = None,
    num_processes: o.NumProcesses = None,
    lr: o.Lr = None,
    layer_decay: Annotated[
        float | None, typer.Option("--layer-decay", help="Learning rate of a layer as a share of the one's above it.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option("--freeze", help="What stays as it is: video, text, or a number of first blocks; may come again."),
    ] = None,
    lora: Annotated[
        int | None, typer.Option("--lora", help="Train low-rank updates of this rank (needs the extra lora).")
    ] = None,
    frames: o.Frames = None,
    workers: o.TrainWorkers = None,
    precision: o.TrainPrecision = None,
    seed: o.Seed = None,
    device: o.TrainDevice = None,
    sets: o.Sets = None,
    keep: o.Keep = None,
    fresh: o.Fresh = False,
    resume: o.Resume = False,
    as_json: o.Json = False,
) -> None:
    """Train a run's weights on, seeing whole clips and captions, by contrast alone."""
    given = o.overrides(
        sets, train__epochs=epochs, train__steps=steps, train__batch_size=batch_size, optim__lr=lr,
        data__frames=frames, data__workers=workers, train__precision=precision, train__seed=seed, train__device=device,
        train__accumulate=accumulate, train__keep=keep,
        optim__layer_decay=layer_decay, optim__freeze=",".join(freeze) if freeze else None, model__lora_rank=lora,
    )  # fmt: skip

    def check(processes: int) -> None:
        from vtr.api.runs import finetuning, settings_of
        from vtr.data.mixture import open_shards
        from vtr.together import check_processes

        check_processes([finetuning(settings_of(run), given)], open_shards(shards), processes)

    if run_together(num_processes, check):
        return
    from vtr import api

    checkpoint = api.finetune(run, shards, out, overrides=given, eval_shards=eval_shards, fresh=fresh, resume=resume)
    print_checkpoint(out, checkpoint, as_json=as_json)
