"""The training loop: one step is one screen, and everything it draws is named by its number.

Letters: B batch. State is the weights, the optimizer and the step; data order and masks follow from the step, so a
resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from vtr import checkpoint
from vtr.errors import Interrupted, RunError
from vtr.optim import warmup_cosine
from vtr.rng import fold_in
from vtr.training.average import Average
from vtr.training.best import Best, scored
from vtr.training.clock import Clock
from vtr.training.gradients import Step, check_pieces, step_gradients
from vtr.training.health import Finite, figures
from vtr.training.log import RunLog, trim
from vtr.training.quarantine import Quarantine
from vtr.training.spread import Spread, clip_gradients, whole_state
from vtr.training.state import read_state, write_state
from vtr.training.stop import stopping
from vtr.types import Batch

# Processes that train together agree on stopping at least every so many steps.
AGREE_EVERY = 10


@dataclass(frozen=True)
class TrainPlan:
    """How a run goes: see `vtr.config` for each field. `identity` is stored with every checkpoint, and compared;
    `scored_on` is the digest of the shards that it is evaluated on, where they have one."""

    steps: int
    batch_size: int
    pieces: int
    pieces_how: str
    seed: int
    warmup: int
    floor: float
    clip: float
    unmasked_tail: float
    log_every: int
    save_every: int
    eval_every: int
    keep: int
    best: str
    skip_nonfinite: int
    identity: dict[str, Any]
    scored_on: str = ""


def train(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Any,
    batches: Callable[[int], Iterable[tuple[Batch, list[tuple[str, str, str]]]]],
    plan: TrainPlan,
    out: Path,
    write_run: Callable[[Path], None],
    evaluate: Callable[[], dict[str, float]] | None = None,
    average: Average | None = None,
    spread: Spread | None = None,
    more: bool = False,
) -> Path:
    """Trains to `plan.steps`, from the newest checkpoint in `out` if there is one, and returns the last checkpoint.

    `batches(step)` gives the batches from that step on; `write_run(folder)` writes what makes a checkpoint a run
    (config, weights, tokenizer); `average` follows each step that was taken. With `spread` the model is spread over the
    processes; `write_run` and `evaluate` then find its whole in `spread.whole`.
    Raises Interrupted after saving when a signal asks to stop (in the last steps only where there is `more` to train
    after this: who has all that was asked for needs no stop), WorkError for steps that are not finite or too many
    unreadable videos, ConfigError where the batch or the objective does not divide into `plan.pieces`.
    """
    world, main = accelerator.num_processes, accelerator.is_main_process
    local = plan.batch_size // world
    check_pieces(objective, plan.pieces, plan.pieces_how, plan.batch_size, world)
    step_of = Step(objective)
    model: Any = step_of
    if spread is None:
        model, optimizer = accelerator.prepare(step_of, optimizer)
    else:
        spread.share(step_of, optimizer, accelerator.device)
    base = [group["lr"] for group in optimizer.param_groups]
    of_all = gather_object if world > 1 else None
    start, finite = 0, Finite(out / "nonfinite.jsonl", plan.skip_nonfinite, gather=of_all, show=main)
    latest = checkpoint.newest(out)
    if latest is not None:
        trainer = read_state(latest, optimizer, accelerator.scaler)
        start, finite.skipped = trainer["step"], trainer["skipped"]
        if latest.name != f"step-{start:08d}":
            raise RunError(f"{latest} says that it is of another step", "start over with --fresh")
        if main:
            trim(finite.path, start)
    best = Best(out, plan.best, start, scored_on=plan.scored_on, main=main)
    after_step: Any = getattr(objective, "after_step", None)
    quarantine = Quarantine(out / "quarantine.jsonl", gather=of_all, write=main)
    tail = plan.steps - round(plan.steps * plan.unmasked_tail)

    def put_together() -> None:
        if spread is not None:
            spread.fill(objective)

    def save(step: int) -> Path:
        put_together()
        state = whole_state(optimizer, keep=main)

        def write(folder: Path) -> None:
            write_run(folder)
            trainer = {"step": step, "skipped": finite.skipped, **plan.identity}
            write_state(folder, state, accelerator.scaler, trainer)

        if main:
            checkpoint.save(out, step, write, plan.keep)
        accelerator.wait_for_everyone()
        return checkpoint.place(out, step)

    metrics = RunLog(out / "metrics.jsonl", plan.steps, start, scored_on=plan.scored_on, show=main)
    with metrics as log, stopping() as stop:
        if latest is not None:
            torn = [path.name for path in checkpoint.steps(out) if path.name > latest.name]
            log.note(f"going on from step {start}{f' ({torn[-1]} is torn)' if torn else ''}")
        if best.forgotten:
            log.note(best.forgotten)
        parts = f"; each process holds a part of the model ({spread.name})" if spread else ""
        log.note(
            f"batch {plan.batch_size} = {local // plan.pieces} a process x {_count(world, 'process', 'es')} x "
            f"{_count(plan.pieces, 'piece', 's')}{parts}"
        )

        def due(step: int) -> bool:
            every = plan.eval_every
            return evaluate is not None and step > 0 and (step == plan.steps or bool(every and step % every == 0))

        def score(step: int, path: Path | None) -> None:
            if evaluate is None:
                return
            put_together()
            results = evaluate()
            if best.beaten_by(results, accelerator):
                best.mark(step, path or save(step), main=main)
            # Last: what was cut off before this line is scored again when the run goes on.
            log.record(step, results | scored(plan.scored_on))
            accelerator.log(results, step=step)
            log.note(f"step {step}  " + "  ".join(f"{name} {value:.1f}" for name, value in results.items()))

        if due(start) and not broadcast_object_list([log.scored and not best.forgotten])[0]:
            score(start, latest)
        stream = iter(batches(start)) if start < plan.steps else iter(())
        clock = Clock()
        for step in range(start, plan.steps):
            with clock.waiting():
                batch, errors = next(stream)
            quarantine.add(len(batch), errors)
            factor = warmup_cosine(step, plan.steps, plan.warmup, plan.floor)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor

            # The one draw without an address of its own is dropout, where a pretrained tower has it.
            seed, dropout = fold_in(plan.seed, step), fold_in(plan.seed, step, accelerator.process_index)
            masked = step < tail
            terms = step_gradients(model, accelerator, batch, seed, masked, plan.pieces, plan.pieces_how, dropout)
            loss = torch.stack(list(terms.values())).sum()
            clip = accelerator.clip_grad_norm_ if spread is None else clip_gradients
            norm = clip(model.parameters(), plan.clip or float("inf"))
            left_out = finite.step(step, loss, norm, batch.keys, step_of.seen, optimizer, accelerator)
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.follow(step_of.objective.model, left_out)
            if after_step is not None:
                after_step(step + 1)

            done = step + 1
            clock.step(plan.batch_size, tokens(objective, batch, masked) * plan.batch_size)
            agreeing = world == 1 or done % min(plan.log_every, AGREE_EVERY) == 0
            asked = agreeing and stop.agreed(accelerator)
            if agreeing or done == plan.steps:
                quarantine.agree()
            saving = asked or done % plan.save_every == 0 or done == plan.steps
            if done % plan.log_every == 0 or saving or due(done):
                finite.look()
                values = {"loss": loss.item()} | {name: value.item() for name, value in terms.items()}
                values |= {"lr": optimizer.param_groups[0]["lr"], "gradient_norm": norm.item()}
                values |= figures(objective, step_of.seen, accelerator.device)
                values |= clock.figures(plan.steps - done)
                values |= {"unreadable": quarantine.kinds.total()} if quarantine.kinds else {}
                log.figures(done, values)
                accelerator.log(values, step=done)
            with clock.aside():
                path = save(done) if saving else None  # before the evaluation, which may fail of other data
                if due(done):
                    score(done, path)
            if asked and path is not None and done < plan.steps:
                raise _stopped(done, plan.steps, path)
        if quarantine.kinds:
            log.note(f"{quarantine.kinds.total()} samples could not be read: see {quarantine.path}")
        if finite.skipped:
            log.note(f"{finite.skipped} steps were not finite and changed nothing: see {finite.path}")
    if more and stop.agreed(accelerator):  # signals go elsewhere by now: no wish comes too late to be seen
        raise _stopped(plan.steps, plan.steps, checkpoint.place(out, plan.steps))
    return checkpoint.place(out, plan.steps)


def _stopped(step: int, steps: int, path: Path) -> Interrupted:
    return Interrupted(f"stopped at step {step} of {steps}, saved as {path}", "run the same command to go on")


def tokens(objective: nn.Module, batch: Batch, masked: bool) -> int:
    """How many tokens a sample puts through the towers: what the objective says of the clip, and the padded caption."""
    of_clip: Any = getattr(objective, "clip_tokens", None)
    return (0 if of_clip is None else int(of_clip(masked))) + batch.ids.shape[1]


def _count(number: int, word: str, plural: str) -> str:
    return f"{number} {word}{plural if number > 1 else ''}"
