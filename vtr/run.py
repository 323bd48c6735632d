"""A training run put together: its directory, its parts, its data, and the loop over them.

`RUN/` holds run.json (what it is), config.toml, metrics.jsonl, reading.json (what decoding took), checkpoints/, and
quarantine.jsonl where needed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from vtr import build, checkpoint, recipe
from vtr.atomic import explain_os_error, locked, write_bytes
from vtr.config import Config
from vtr.data.cache import FrameCache
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, batches, workers_watched
from vtr.data.order import training_slots
from vtr.data.reading import OF_VIDEO, Reading, frame_store_rate
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import ConfigError, RunError
from vtr.models.embedder import Embedder, Model
from vtr.optim import parameter_groups, scaled_lr
from vtr.training.loop import Plan, train

if TYPE_CHECKING:
    from accelerate import Accelerator

RECORD, READING = "run.json", "reading.json"
# What a run may be taken up with other values of: none changes what it learns.
FREE = (
    "data.workers", "data.time_limit_s",
    "train.device", "train.log_every", "train.save_every", "train.eval_every", "train.keep",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What a new run begins with."""

    model: Model
    tokenizer: CaptionTokenizer


def run(
    verb: str,
    config: Config,
    index: ShardIndex,
    out: Path,
    start: Callable[[], Start],
    *,
    init: str = "",
    evaluate: Callable[[build.Loaded], dict[str, float]] | None = None,
    fresh: bool = False,
) -> Path:
    """Trains in `out` and returns the last checkpoint; a run that is there already goes on, unless `fresh`.

    `init` names the weights it starts from; `evaluate` scores the model as it is.
    Raises RunError when `out` holds another kind of run, or one with another config or other data.
    """
    from accelerate.utils import set_seed

    where = build.device(config.train.device)
    precision = build.precision(config.train.precision, where)
    if len(index) < 2:
        raise ConfigError(f"{index.root} holds {len(index)} sample, a contrast needs 2", "shard more videos")
    record = {"verb": verb, "data": index.digest, "init": init}
    with _accelerated(where, precision) as accelerator, _held(out, main=accelerator.is_main_process):
        latest = _found(out, record, config, fresh=fresh)
        set_seed(config.train.seed)
        if latest is None:
            begun = start()
            model, words = begun.model, begun.tokenizer
        else:
            _, model, words, _ = build.load_parts(latest)
        # Only now, for a start may fail (a download, say): what was there is then as it was.
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _begin(out, record, config, anew=latest is None)
        accelerator.wait_for_everyone()
        plan = make_plan(config, len(index), record)
        epoch = max(1, len(index) // plan.batch_size)
        objective = build.make_objective(config, model.train(), words, plan.steps, epoch)
        if latest is not None:
            build.read_extras(latest, objective)
        dataset, reading = training_data(config, index), Reading()

        def stream(step: int) -> Iterable[Any]:
            rank, world = accelerator.process_index, accelerator.num_processes
            slots = training_slots(index.shard_of, config.train.seed, plan.batch_size, step, rank, world)
            data = config.data
            return batches(dataset, slots, words, data.workers, where.type == "cuda", data.time_limit_s, reading)

        def score(evaluate: Callable[[build.Loaded], dict[str, float]]) -> dict[str, float]:
            embedder = Embedder(model, accelerator.device, build.DTYPES[precision])
            try:
                return evaluate(build.Loaded(out, config, embedder, words, ""))
            finally:
                model.train()

        def write(folder: Path) -> None:
            build.write_run(folder, config, model, words)
            build.write_extras(folder, objective)

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
                )
            if accelerator.is_main_process:
                _tell_reading(reading, dataset, out)
        except OSError as error:
            raise explain_os_error(error, "while training", out) from error
        return path


def _tell_reading(reading: Reading, dataset: ClipDataset, out: Path) -> None:
    """Keeps which path how many clips took, in reading.json, and says it; with what a frame store would give."""
    if not reading.clips:
        return
    videos = sum(reading.clips[path] for path in OF_VIDEO)
    rate = frame_store_rate(dataset) if 2 * videos > reading.clips.total() else 0.0
    record = {**reading.record(), "frame_store_clips_per_core_s": round(rate, 2) if rate else None}
    write_bytes(out / READING, json.dumps(record, indent=1).encode())
    for line in reading.lines(rate):
        Console(stderr=True, soft_wrap=True, highlight=False).print(line, markup=False)


@contextmanager
def _accelerated(where: torch.device, precision: str) -> Iterator[Accelerator]:
    """An Accelerator for one run. Its settings are global: they are forgotten after, unless somebody had made them."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    own = not AcceleratorState._shared_state
    if where.index is not None and where.type == "cuda":
        torch.cuda.set_device(where)
    try:
        yield Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision), cpu=where.type == "cpu")
    finally:
        if own:
            AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def _held(out: Path, *, main: bool) -> Iterator[None]:
    """Keeps other commands out of `out`; of several processes that train together the main one does."""
    if not main:
        yield
        return
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out.parent} cannot be made: {error.strerror}", "give another --out") from error
    with locked(out.absolute().parent / f".{out.absolute().name}.lock", str(out)):
        yield


def make_plan(config: Config, samples: int, record: dict[str, Any]) -> Plan:
    """How many steps of what; a batch is never larger than the data set, for no clip may be its own negative."""
    settings = config.train
    batch = min(settings.batch_size, samples)
    steps = settings.steps or max(1, math.ceil(settings.epochs * samples / batch))
    return Plan(
        steps=steps,
        batch_size=batch,
        seed=settings.seed,
        warmup=round(config.optim.warmup * steps),
        floor=config.optim.floor,
        clip=config.optim.clip,
        unmasked_tail=settings.unmasked_tail,
        log_every=settings.log_every,
        save_every=settings.save_every,
        eval_every=settings.eval_every,
        keep=settings.keep,
        identity=record,
    )


def make_optimizer(config: Config, objective: torch.nn.Module, batch: int) -> Any:
    """Fused AdamW over the model and what is trained with it, the learning rate scaled to the global batch."""
    optim = config.optim
    return torch.optim.AdamW(
        parameter_groups(objective.named_parameters(), optim.weight_decay),
        lr=scaled_lr(optim.lr, batch, optim.lr_batch, optim.lr_cap),
        betas=(optim.beta1, optim.beta2),
        fused=True,
    )


def training_data(config: Config, index: ShardIndex) -> ClipDataset:
    """The training clips of `index`, with a frame cache where the config gives it memory."""
    cache = FrameCache(index, config.data.resize, config.data.cache_gb * 2**30) if config.data.cache_gb else None
    return ClipDataset(index, build.clip_shape(config), training=True, seed=config.train.seed, cache=cache)


def _found(out: Path, record: dict[str, Any], config: Config, *, fresh: bool) -> Path | None:
    """The checkpoint in `out` to go on from, None to start; sees that `out` may be this run's, and changes nothing."""
    if out.exists() and not (out / RECORD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is there and is not a run", "give another --out, or remove it")
    if fresh or not (out / RECORD).is_file():
        return None
    try:
        old: dict[str, Any] = {} | json.loads((out / RECORD).read_text())
        before = recipe.load(str(out / checkpoint.CONFIG))
    except (ValueError, TypeError, OSError, ConfigError) as error:
        why = error.message if isinstance(error, ConfigError) else str(error)
        raise RunError(f"{out} is a damaged run: {why}", "start over with --fresh") from error
    names = {"verb": "made by", "data": "trained on the shards", "init": "started from the weights"}
    for key, words in names.items():
        if old.get(key) != record[key]:
            raise RunError(
                f"{out} was {words} {_short(old.get(key))}, not {_short(record[key])}",
                "give another --out, or --fresh to start over",
            )
    changed = recipe.difference(before, config, but=FREE)
    if changed:
        raise RunError(
            f"{out} was begun with another config: {'; '.join(changed)}",
            "give the same settings to go on, another --out, or --fresh to start over",
        )
    return checkpoint.newest(out)


def _begin(out: Path, record: dict[str, Any], config: Config, *, anew: bool) -> None:
    """Makes `out` this run's; `anew` removes what was there."""
    try:
        if anew and out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(out / checkpoint.CONFIG, recipe.to_toml(config).encode())
        write_bytes(out / RECORD, json.dumps(record, indent=1).encode())
    except OSError as error:
        raise explain_os_error(error, "while starting the run", out) from error


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) > 40 else text or "nothing"
