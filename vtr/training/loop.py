"""The training loop: one step is one screen, and everything it draws is named by its number.

Letters: B batch. State is the weights, the optimizer and the step; data order and masks follow from the step, so a
resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vtr import checkpoint
from vtr.errors import Interrupted, WorkError
from vtr.optim import warmup_cosine
from vtr.rng import fold_in
from vtr.training.log import RunLog
from vtr.training.quarantine import Quarantine
from vtr.types import Batch

OPTIMIZER, TRAINER = "state/optimizer.pt", "state/trainer.json"


@dataclass(frozen=True)
class Plan:
    """How a run goes: see `vtr.config` for each field. `identity` is stored with every checkpoint, and compared."""

    steps: int
    batch_size: int
    seed: int
    warmup: int
    floor: float
    clip: float
    unmasked_tail: float
    log_every: int
    save_every: int
    eval_every: int
    keep: int
    identity: dict[str, Any]


def train(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Any,
    batches: Callable[[int], Iterable[tuple[Batch, list[tuple[str, str, str]]]]],
    plan: Plan,
    out: Path,
    write_run: Callable[[Path], None],
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> Path:
    """Trains to `plan.steps`, from the newest checkpoint in `out` if there is one, and returns the last checkpoint.

    `batches(step)` gives the batches from that step on; `write_run(folder)` writes what makes a checkpoint a run
    (config, weights, tokenizer). Raises Interrupted after saving when a signal asks to stop, WorkError for a loss that
    is not finite or too many unreadable videos.
    """
    model, optimizer = accelerator.prepare(objective, optimizer)
    base = [group["lr"] for group in optimizer.param_groups]
    start = _resume(out, optimizer)
    quarantine = Quarantine(out / "quarantine.jsonl")
    tail = plan.steps - round(plan.steps * plan.unmasked_tail)
    world = accelerator.num_processes
    after_step: Callable[[int], None] | None = getattr(objective, "after_step", None)

    def save(step: int) -> Path:
        def write(folder: Path) -> None:
            write_run(folder)
            (folder / "state").mkdir()
            buffer = io.BytesIO()  # written by Python, as the weights are
            torch.save(optimizer.state_dict(), buffer)
            (folder / OPTIMIZER).write_bytes(buffer.getbuffer())
            (folder / TRAINER).write_text(json.dumps({"step": step, **plan.identity}))

        if accelerator.is_main_process:
            checkpoint.save(out, step, write, plan.keep)
        accelerator.wait_for_everyone()
        return out / checkpoint.FOLDER / f"step-{step:08d}"

    with RunLog(out / "metrics.jsonl", plan.steps, start, show=accelerator.is_main_process) as log, _stopping() as stop:
        if start:
            log.note(f"going on from step {start}")
        stream = iter(batches(start)) if start < plan.steps else iter(())
        clock = _Clock()
        for step in range(start, plan.steps):
            with clock.waiting():
                batch, errors = next(stream)
            quarantine.add(len(batch), errors)
            batch = batch.to(accelerator.device)
            factor = warmup_cosine(step, plan.steps, plan.warmup, plan.floor)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor

            # The one draw without an address of its own: dropout, where a pretrained tower has it.
            torch.manual_seed(fold_in(plan.seed, step, accelerator.process_index))
            with accelerator.autocast():
                terms = model(batch, fold_in(plan.seed, step), masked=step < tail)
            loss = sum(terms.values())
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), plan.clip or float("inf"))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            done = step + 1
            if after_step is not None:  # MILES moves its snapshot here
                after_step(done)
            clock.step(plan.batch_size)
            stopping = _agreed(stop, accelerator) if world == 1 or done % plan.log_every == 0 else False
            saving = stopping or done % plan.save_every == 0 or done == plan.steps
            if done % plan.log_every == 0 or saving:
                # With fp16 an infinite gradient only lowers the scale.
                _refuse_nonfinite(loss, norm if accelerator.scaler is None else loss, batch, step)
                figures = clock.figures(plan.steps - done)
                values = {name: value.item() for name, value in terms.items()}
                lr = optimizer.param_groups[0]["lr"]
                log.figures(done, {"loss": loss.item(), **values, "lr": lr, "gradient_norm": norm.item(), **figures})
            if saving:
                path = save(done)  # before the evaluation, which may fail of other data
            if evaluate is not None and (done == plan.steps or (plan.eval_every and done % plan.eval_every == 0)):
                results = evaluate()
                log.record(done, results)
                log.note(f"step {done}  " + "  ".join(f"{name} {value:.1f}" for name, value in results.items()))
            if stopping and done < plan.steps:
                raise Interrupted(
                    f"stopped at step {done} of {plan.steps}, saved as {path}", "run the same command to go on"
                )
        if quarantine.kinds:
            log.note(f"{quarantine.kinds.total()} samples could not be read: see {quarantine.path}")
    return out / checkpoint.FOLDER / f"step-{plan.steps:08d}"


def _resume(out: Path, optimizer: Any) -> int:
    """Loads the optimizer of the newest checkpoint, whose weights the model has already, and returns its step."""
    latest = checkpoint.newest(out)
    if latest is None:
        return 0
    optimizer.load_state_dict(torch.load(latest / OPTIMIZER, map_location="cpu", weights_only=True))
    return int(json.loads((latest / TRAINER).read_text())["step"])


def _agreed(stop: _Stop, accelerator: Any) -> bool:
    """Whether any process was asked to stop: they leave the loop at the same step, or would wait for each other."""
    if accelerator.num_processes == 1:
        return stop.asked
    return bool(accelerator.reduce(torch.tensor([float(stop.asked)], device=accelerator.device)).item())


def _refuse_nonfinite(loss: torch.Tensor, norm: torch.Tensor, batch: Batch, step: int) -> None:
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise WorkError(
            f"the loss is {loss.item()}, its gradient's norm {norm.item()}, near step {step + 1}; "
            f"this batch held {', '.join(batch.keys[:8])} ...",
            "lower --lr, give --set optim.clip=1.0, or train with --precision fp32",
        )


class _Clock:
    """Speed since the last look, and the share of it spent waiting for data."""

    def __init__(self) -> None:
        self._begin = self._look = time.monotonic()
        self._waited = 0.0
        self._samples = self._steps = self._all_steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self._waited += time.monotonic() - begin

    def step(self, samples: int) -> None:
        self._samples += samples
        self._steps += 1
        self._all_steps += 1

    def figures(self, steps_left: int) -> dict[str, float]:
        now = time.monotonic()
        spent = max(now - self._look, 1e-9)
        figures = {
            "samples_per_s": round(self._samples / spent, 2),
            "data_wait": round(self._waited / spent, 4),
            "seconds": round(now - self._begin, 2),
            "left_s": round((now - self._begin) / self._all_steps * steps_left, 1),
        }
        self._look, self._waited, self._samples, self._steps = now, 0.0, 0, 0
        return figures


@dataclass
class _Stop:
    asked: bool = False


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Turns Ctrl-C and SIGTERM into a wish that the loop sees at the end of a step; a second Ctrl-C stops at once."""
    stop = _Stop()

    def ask(number: int, frame: Any) -> None:  # noqa: ARG001
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    old = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        pass
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
