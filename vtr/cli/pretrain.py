"""`vtr pretrain`: a new model from shards."""

from __future__ import annotations

from typing import Annotated

import typer

from vtr.cli import options as o
from vtr.cli.app import app, examples, once_called
from vtr.cli.launch import print_checkpoint, run_together


@app.command(
    cls=once_called(batch_size="--global-batch-size"),
    epilog=examples(
        "vtr pretrain mac-tiny --shards shards/train --out runs/mac",
        "vtr pretrain mac-base --shards shards/train --out runs/b --num-processes 8",
    ),
)
def pretrain(
    recipe: Annotated[
        str,
        typer.Argument(help="A recipe's name (see vtr recipes) or a TOML file.", autocompletion=o.complete_recipe),
    ],
    shards: o.TrainShards,
    out: o.Out,
    init_from: o.InitFrom = None,
    eval_shards: o.EvalShards = None,
    epochs: o.Epochs = None,
    steps: o.Steps = None,
    batch_size: o.TrainBatch = None,
    accumulate: o.Accumulate = None,
    num_processes: o.NumProcesses = None,
    lr: o.Lr = None,
    mask_ratio: o.MaskRatio = None,
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
    """Train a new model with masks on shards; the same --out again resumes."""
    from vtr import recipe as recipes

    given = o.overrides(
        sets, train__epochs=epochs, train__steps=steps, train__batch_size=batch_size, optim__lr=lr,
        objective__mask_ratio=mask_ratio, data__frames=frames, data__workers=workers, train__precision=precision,
        train__seed=seed, train__device=device, train__accumulate=accumulate, train__keep=keep,
    )  # fmt: skip
    config = recipes.load(recipe)
    wanted = recipes.override(config, given)  # what is wrong with it shows before any process starts

    def check(processes: int) -> None:
        from vtr.data.mixture import open_shards
        from vtr.together import check_processes

        check_processes(recipes.staged(wanted), open_shards(shards), processes)

    if run_together(num_processes, check):
        return
    from vtr import api

    checkpoint = api.pretrain(
        config, shards, out,
        overrides=given, init_from=init_from, eval_shards=eval_shards, fresh=fresh, resume=resume,
    )  # fmt: skip
    print_checkpoint(out, checkpoint, as_json=as_json)
