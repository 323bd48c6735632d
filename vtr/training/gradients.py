"""The gradients of one step: a batch at once, or in pieces that need less memory.

Letters: B batch. `exact` pieces (GradCache, arXiv:2101.06983) give the gradients of the whole batch: all rows are
encoded without gradient, the loss of all of them says what it wants of each row, and each piece is encoded again to
pass that on. One more forward, whatever the batch. `plain` pieces are small batches of their own, whose gradients are
averaged: cheaper, with fewer negatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vtr.data.shares import check_batch
from vtr.errors import ConfigError
from vtr.gather import world_size
from vtr.rng import fold_in
from vtr.types import Batch

# Gradients are averaged so many numbers at a time: few messages, and no second copy of the model.
BUCKET = 2**24


class Step(nn.Module):
    """What is wrapped for many processes: an objective, and the rows ("video", "text") that it saw last, detached.

    `step("terms", batch, seed, masked)`: all that uses weights goes through this one door, for a model that is `spread`
    over processes (`vtr.training.spread`) puts its weights together there.
    """

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective: Any = objective
        self.seen: dict[str, Tensor] = {}
        self.spread = False

    def forward(self, work: str, *given: Any) -> Any:
        """The result of the method `work`."""
        return getattr(self, work)(*given)

    def terms(self, batch: Batch, seed: int, masked: bool) -> dict[str, Tensor]:
        """(B,...) -> {term: ()}."""
        if not hasattr(self.objective, "rows"):
            return self._named(self.objective(batch, seed, masked=masked), "")
        rows = self.objective.rows(batch, seed, masked)
        self.see(rows)
        return self.losses(rows)

    def rows(self, *given: Any) -> dict[str, Tensor]:
        """The objective's `rows`."""
        return self.objective.rows(*given)  # type: ignore[no-any-return]

    def losses(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """The objective's `losses`."""
        return self._named(self.objective.losses(rows), ".losses")

    def partners(self, parts: Iterable[Batch], seed: int) -> list[tuple[dict[str, Tensor], ...]]:
        """What each piece has to be given beside itself: the objective's `partners`, or nothing."""
        if not hasattr(self.objective, "partners"):
            return [() for _ in parts]
        return [(found,) for found in self.objective.partners(parts, seed)]

    def _named(self, terms: Any, method: str) -> dict[str, Tensor]:
        """The `terms` that `method` gave. Raises ConfigError for what are no tensors of one number by their names."""
        told = f"a {type(terms).__name__}"
        if isinstance(terms, dict):
            wrong = {name: term for name, term in terms.items() if not (isinstance(term, Tensor) and term.ndim == 0)}
            if terms and not wrong:
                return terms
            told = ", ".join(
                f"{name!r}: {f'a tensor {list(one.shape)}' if isinstance(one, Tensor) else type(one).__name__}"
                for name, one in wrong.items()
            )
        raise ConfigError(
            f"{type(self.objective).__name__}{method} returned {told or 'no term'}, and should return loss terms",
            'return {"name": loss}, each loss a tensor of one number, such as its mean over the batch',
        )

    def see(self, rows: dict[str, Tensor]) -> None:
        """Keeps the vectors of `rows` for the log."""
        self.seen = {name: rows[name].detach() for name in ("video", "text") if name in rows}


def check_pieces(objective: nn.Module, pieces: int, how: str, batch: int, world: int) -> None:
    """Raises ConfigError when a step cannot go through so: the batch does not divide, or the objective's loss."""
    check_batch(batch, world, pieces, how)
    if pieces > 1 and how == "exact" and not hasattr(objective, "rows"):
        why = getattr(objective, "unsplit", "its losses need the whole batch at once")
        raise ConfigError(
            f"{type(objective).__name__} cannot be split exactly: {why}",
            "give --set train.accumulate_how=plain, whose pieces see fewer negatives, or --accumulate 1",
        )


def step_gradients(
    model: nn.Module, accelerator: Any, batch: Batch, seed: int, masked: bool, pieces: int, how: str, dropout: int
) -> dict[str, Tensor]:
    """{term: ()} of a local batch, whose gradients it leaves averaged over processes in the model's parameters.

    `model` is a prepared `Step`; `dropout` seeds the one draw without an address of its own.
    """
    if pieces == 1:
        torch.manual_seed(dropout)
        with accelerator.autocast():
            terms: dict[str, Tensor] = model("terms", batch.to(accelerator.device), seed, masked)
        accelerator.backward(_total(terms))
        _average_what_is_whole(model)
        return {name: term.detach() for name, term in terms.items()}
    parts = [cut(batch, part) for part in slices(len(batch), pieces)]
    run = _exact if how == "exact" else _plain
    return run(model, accelerator, parts, seed, masked, dropout)


def _plain(
    model: nn.Module, accelerator: Any, parts: list[Batch], seed: int, masked: bool, dropout: int
) -> dict[str, Tensor]:
    from contextlib import nullcontext

    sums: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        torch.manual_seed(fold_in(dropout, number))
        with nullcontext() if last else accelerator.no_sync(model):
            with accelerator.autocast():
                terms = model("terms", part.to(accelerator.device), seed, masked)
            accelerator.backward(_total(terms) / len(parts))
        sums = {name: sums.get(name, 0) + term.detach() / len(parts) for name, term in terms.items()}
    _average_what_is_whole(model)
    return sums


def _exact(
    model: nn.Module, accelerator: Any, parts: list[Batch], seed: int, masked: bool, dropout: int
) -> dict[str, Tensor]:
    step: Step = accelerator.unwrap_model(model)

    def handed() -> Iterator[Batch]:
        for number, part in enumerate(parts):
            torch.manual_seed(fold_in(dropout, number))  # hard partners are chosen by encoding it, with dropout
            yield part.to(accelerator.device)

    with accelerator.autocast():
        partners = step("partners", handed(), seed)

    def encode(number: int) -> dict[str, Tensor]:
        torch.manual_seed(fold_in(dropout, number))  # the same dropout both times
        with accelerator.autocast():
            return step("rows", parts[number].to(accelerator.device), seed, masked, *partners[number])  # type: ignore[no-any-return]

    with torch.no_grad():
        found = [encode(number) for number in range(len(parts))]
    rows = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    step.see(rows)
    leaves = {name: row.requires_grad_() if row.is_floating_point() else row for name, row in rows.items()}
    with accelerator.autocast():
        terms: dict[str, Tensor] = step("losses", leaves)
    accelerator.backward(_total(terms))
    for number, part in enumerate(slices(len(leaves["ok"]), len(parts))):
        encoded = encode(number)
        wanted = {name: leaves[name].grad for name, row in encoded.items() if row.requires_grad}
        pairs = [(encoded[name], grad[part]) for name, grad in wanted.items() if grad is not None]
        torch.autograd.backward([row for row, _ in pairs], [grad for _, grad in pairs])
    # The wrapper for many processes saw no forward of its own, so its hooks stayed asleep.
    average_gradients(step)
    return {name: term.detach() for name, term in terms.items()}


def _average_what_is_whole(model: nn.Module) -> None:
    """Of a spread model, which no wrapper surrounds: the few weights that are whole in each process."""
    if getattr(model, "spread", False):
        average_gradients(model)


def average_gradients(model: nn.Module) -> None:
    """Sets every parameter's gradient to its mean over processes, `BUCKET` numbers a message.

    Of weights that are spread over processes it is that already: their backward pass has seen to it.
    """
    world = world_size()
    if world == 1:
        return
    bucket: list[Tensor] = []

    def flush() -> None:
        if bucket:
            flat = torch.cat([grad.reshape(-1) for grad in bucket]) / world
            dist.all_reduce(flat)
            for grad, mean in zip(bucket, torch.split(flat, [grad.numel() for grad in bucket]), strict=True):
                grad.copy_(mean.view_as(grad))
            bucket.clear()

    for parameter in model.parameters():
        if parameter.requires_grad and not hasattr(parameter, "placements"):
            if parameter.grad is None:  # another process may have one, and all must send alike
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(grad.numel() for grad in bucket) >= BUCKET:
                flush()
    flush()


def slices(rows: int, pieces: int) -> list[slice]:
    """`rows` in equal consecutive pieces."""
    size = rows // pieces
    return [slice(at, at + size) for at in range(0, rows, size)]


def cut(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch, padded as they were."""
    return replace(batch, **{field.name: getattr(batch, field.name)[rows] for field in fields(batch)})


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()
