"""A training run put together: its directory, its parts, its data, and the loop over them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vtr import build, compute, makers, readiness, recipe, rundir, runfiles
from vtr.atomic import explain_os_error, write_bytes
from vtr.config import Config
from vtr.data.cache import FrameCache
from vtr.data.loader import ClipDataset, batches, workers_watched
from vtr.data.mixture import Samples
from vtr.data.order import Subset, mixed_slots, steps_of
from vtr.data.reading import OF_VIDEO, Reading, frame_store_rate, sum_of
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import ConfigError
from vtr.models.embedder import Embedder, Model
from vtr.models.recompute import recompute_activations
from vtr.models.tune import freeze
from vtr.optim import BESIDE, HOLD, NOT_HELD, parameter_groups, scaled_lr
from vtr.plaintext import on_stderr
from vtr.training.average import Average
from vtr.training.loop import TrainPlan, train
from vtr.training.processes import accelerated, check_tracker, processes_watched
from vtr.training.spread import asked


@dataclass(frozen=True)
class Start:
    """What a new run begins with; `before` is the checkpoint of the stage before it, where there is one."""

    model: Model
    tokenizer: CaptionTokenizer
    before: Path | None = None


def run(
    verb: str,
    config: Config,
    index: Samples,
    out: Path,
    start: Callable[[], Start],
    *,
    init: str = "",
    evaluate: Callable[[build.Loaded], dict[str, float]] | None = None,
    scored_on: str = "",
    objective_of: Callable[[Any, CaptionTokenizer], torch.nn.Module] | None = None,
    fresh: bool = False,
    held: bool = False,
    more: bool = False,
) -> Path:
    """Trains in `out` and returns the last checkpoint; a run that is there already goes on, unless `fresh`.

    `init` names the weights it starts from; `evaluate` scores the model as it is, on the shards with the digest
    `scored_on`; `objective_of` makes an objective that is not the config's; `held` tells that the caller keeps others
    out of `out`; `more` that another training follows, which a signal in the last step is to stop.
    Raises RunError when `out` holds another kind of run, or one with another config or other data.
    """
    from accelerate.utils import gather_object, set_seed

    where = compute.device(config.train.device)
    precision = compute.precision(config.train.precision, where)
    record = {"verb": verb, "data": index.digest, "init": init}
    if objective_of is not None:
        record["objective"] = _name(objective_of)
    tracker = check_tracker(config.train.tracker)
    spread = asked(os.environ, config, precision)
    with (
        accelerated(where, precision, tracker, out) as accelerator,
        rundir.held(out, main=accelerator.is_main_process and not held),
        processes_watched(accelerator.num_processes),
    ):
        if accelerator.num_processes == 1:
            spread = None
        latest = rundir.found(out, record, config, fresh=fresh)
        readiness.before_run(config, index, accelerator, precision, spread is not None, known=objective_of is None)
        set_seed(config.train.seed)
        if latest is None:
            begun = start()
            model, words = begun.model, begun.tokenizer
        else:
            _, model, words, _ = build.load_parts(latest)
        freeze(model, config.optim.freeze)
        plan = train_plan(config, index.subsets(), record, scored_on)
        epoch = max(1, len(index) // plan.batch_size)
        objective = (
            makers.make_objective(config, model.train(), words, plan.steps, epoch, plan.batch_size)
            if objective_of is None
            else objective_of(model.train(), words)
        )
        if not isinstance(objective, torch.nn.Module) or getattr(objective, "model", None) is not model:
            raise ConfigError(NOT_HELD, HOLD)
        if latest is not None:
            runfiles.read_extras(latest, objective)
        elif begun.before is not None:
            runfiles.carry_extras(begun.before, objective)
        trained_groups(config, objective, plan.batch_size)  # refuses what does not fit while nothing is written
        # Only now, for a start may fail (a download, say): what was there is then as it was.
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            rundir.begin(out, record, config, anew=latest is None)
        accelerator.wait_for_everyone()
        if tracker:
            settings = {
                f"{part}.{key}": value for part, keys in recipe.to_dict(config).items() for key, value in keys.items()
            }
            accelerator.init_trackers("vtr", settings, {"wandb": {"dir": str(out), "name": out.name}})
        dataset, reading = training_data(config, index), Reading()
        decay = config.train.ema
        average = Average(model, decay, accelerator.device, begun=latest is not None) if decay else None
        if latest is not None and average is not None:
            runfiles.read_trained(latest, model)
        if spread is not None:
            spread.begin(objective)
        kept: Any = objective if spread is None else spread.whole
        offered: Model = kept.model if average is None else average.module
        if config.train.checkpointing:
            recompute_activations(objective)
        if config.train.compile:
            build.compile_towers(model)

        def stream(step: int) -> Iterable[Any]:
            rank, world = accelerator.process_index, accelerator.num_processes
            slots = mixed_slots(index.subsets(), config.train.seed, plan.batch_size, step, rank, world)
            data = config.data
            return batches(dataset, slots, words, data.workers, where.type == "cuda", data.time_limit_s, reading)

        def score(evaluate: Callable[[build.Loaded], dict[str, float]]) -> dict[str, float]:
            embedder = Embedder(offered, accelerator.device, compute.DTYPES[precision])
            try:
                with torch.compiler.set_stance("force_eager"):  # its last batch is shorter
                    return evaluate(build.Loaded(out, config, embedder, words, ""))
            finally:
                model.train()

        def write(folder: Path) -> None:
            runfiles.write_run(folder, config, offered, words)
            runfiles.write_extras(folder, kept)
            if average is not None:
                runfiles.write_trained(folder, model)

        try:
            with workers_watched():
                path = train(
                    objective,
                    make_optimizer(config, objective, plan.batch_size),
                    accelerator,
                    stream,
                    plan,
                    out,
                    write,
                    partial(score, evaluate) if evaluate else None,
                    average,
                    spread,
                    more,
                )
                reading = sum_of(gather_object([reading]))
            if accelerator.is_main_process:
                _tell_reading(reading, dataset, out)
        except OSError as error:
            raise explain_os_error(error, "while training", out) from error
        return path


def _name(objective_of: Any) -> str:
    """How a run tells one's own objective from another: its name, and the arguments that a `partial` brings it.

    # partial(Triplet, margin=0.1) -> Triplet(margin=0.1)
    """
    if not isinstance(objective_of, partial):
        return str(getattr(objective_of, "__qualname__", type(objective_of).__qualname__))
    named = sorted(objective_of.keywords.items())
    given = [*map(repr, objective_of.args), *(f"{key}={value!r}" for key, value in named)]
    told = re.sub(r" at 0x[0-9a-f]+", "", ", ".join(given))  # an address is another in every process
    return f"{_name(objective_of.func)}({told})"


def _tell_reading(reading: Reading, dataset: ClipDataset, out: Path) -> None:
    """Keeps which path how many clips took, in reading.json, and says it; with what a frame store would give."""
    if not reading.clips:
        return
    videos = sum(reading.clips[path] for path in OF_VIDEO)
    rate = frame_store_rate(dataset) if 2 * videos > reading.clips.total() else 0.0
    record = {**reading.record(), "frame_store_clips_per_core_s": round(rate, 2) if rate else None}
    write_bytes(out / rundir.READING, json.dumps(record, indent=1).encode())
    for line in reading.lines(rate):
        on_stderr(soft_wrap=True, highlight=False).print(line, markup=False)


def train_plan(config: Config, subsets: Sequence[Subset], record: dict[str, Any], scored_on: str = "") -> TrainPlan:
    """How many steps of what; a batch is never larger than the data set, for no clip may be its own negative."""
    settings = config.train
    batch = min(settings.batch_size, sum(len(subset.numbers) for subset in subsets))
    steps = settings.steps or max(settings.min_steps, steps_of(subsets, batch, settings.epochs))
    return TrainPlan(
        steps=steps,
        batch_size=batch,
        pieces=settings.accumulate,
        pieces_how=settings.accumulate_how,
        seed=settings.seed,
        warmup=round(config.optim.warmup * steps),
        floor=config.optim.floor,
        clip=config.optim.clip,
        unmasked_tail=settings.unmasked_tail,
        log_every=settings.log_every,
        save_every=settings.save_every,
        eval_every=settings.eval_every,
        keep=settings.keep,
        best=settings.best,
        skip_nonfinite=settings.skip_nonfinite,
        identity=record,
        scored_on=scored_on,
    )


def trained_groups(config: Config, objective: torch.nn.Module, batch: int) -> list[dict[str, Any]]:
    """The model's parameters and those trained with it, by learning rate and decay, as an optimizer takes them.

    Raises ConfigError when nothing is left to train, or `optim.layer_decay` meets a tower without known blocks.
    """
    optim = config.optim
    named = [
        (name.removeprefix("model.") if name.startswith("model.") else f"{BESIDE}.{name}", parameter)
        for name, parameter in objective.named_parameters()
    ]
    groups = parameter_groups(named, optim.weight_decay, _lr(config, batch), optim.layer_decay)
    if not groups:
        raise ConfigError(f"optim.freeze = {optim.freeze} leaves nothing to train", "freeze less")
    return groups


def make_optimizer(config: Config, objective: torch.nn.Module, batch: int) -> Any:
    """Fused AdamW over `trained_groups`, the learning rate scaled to the global batch. Raises what they do."""
    return torch.optim.AdamW(
        trained_groups(config, objective, batch),
        lr=_lr(config, batch),
        betas=(config.optim.beta1, config.optim.beta2),
        fused=True,
    )


def _lr(config: Config, batch: int) -> float:
    return scaled_lr(config.optim.lr, batch, config.optim.lr_batch, config.optim.lr_cap)


def training_data(config: Config, index: Samples) -> ClipDataset:
    """The training clips of `index`, with a frame cache where the config gives it memory."""
    cache = FrameCache(index, config.data.resize, config.data.cache_gb * 2**30) if config.data.cache_gb else None
    return ClipDataset(index, build.clip_shape(config), training=True, seed=config.train.seed, cache=cache)
