"""How the clips of a step are shared out: among processes, and each process's into pieces.

What does not divide is refused here, in words and before anything is loaded; so this imports neither torch nor a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vtr.errors import ConfigError, VtrError

if TYPE_CHECKING:
    from vtr.data.mixture import Samples

LEAST = {"exact": 1, "plain": 2}  # clips of a piece: a plain one has negatives of its own


def check_batch(batch: int, world: int, pieces: int = 1, how: str = "exact", *, wanted: int = 0) -> None:
    """Raises ConfigError when a batch does not divide among `world` processes, or a process's share into `pieces`.

    `wanted` is the batch that was asked for, where `batch` is smaller because there are no more samples.
    """
    step = world * pieces
    why = f" (all samples there are, for {wanted} were asked)" if wanted > batch else ""
    nearest = f": {batch - batch % step}, say" if batch >= step else ""
    if batch % world:
        raise ConfigError(
            f"a global batch of {batch}{why} does not divide among {world} processes",
            f"choose a multiple with --batch-size{nearest or ', or fewer processes'}",
        )
    local = batch // world
    given = f"a batch of {batch}{why} over {world} process{'es' if world > 1 else ''}, with --accumulate {pieces}"
    if local % pieces:
        raise ConfigError(
            f"{given}: {local} clips a process do not divide into {pieces} pieces",
            f"choose --batch-size as a multiple of processes times --accumulate, {step} here{nearest}",
        )
    if pieces > 1 and local // pieces < LEAST[how]:
        raise ConfigError(
            f"{given}: that is one clip a piece, and plain pieces need 2 to have negatives of their own",
            "give --accumulate a smaller number, or --batch-size a larger one",
        )


def feeds(index: Samples, processes: int, batch: int | None, pieces: int = 1, how: str = "exact") -> str:
    """How `index` feeds `processes` with steps of `batch` clips in all, in words; without one, how it is divided.

    A step has no more clips than there are samples. Raises ConfigError where there are too few, or they do not divide.
    """
    samples = len(index)
    if samples < 2:
        raise ConfigError(f"{index.where} holds {samples} sample, a contrast needs 2", "shard more videos")
    if samples < processes:
        raise ConfigError(
            f"{samples} samples are fewer than {processes} processes: some would get none",
            f"use {samples} processes or fewer, or shard more videos",
        )
    if batch is None:
        return f"{samples // processes} samples a process"
    clips = min(batch, samples)
    check_batch(clips, processes, pieces, how, wanted=batch)
    fewer = f", not {batch}: there are no more" if clips < batch else ""
    return f"steps of {clips} clips{fewer}; {clips // processes} a process"


def fewest_pieces(clips: int, most: int, how: str = "exact") -> int | None:
    """The fewest pieces, all alike, of a process's `clips` that have at most `most` clips each.

    None where there are none, for no piece has less than `LEAST`.
    """
    least = min(clips, LEAST[how])
    return next((n for n in range(1, clips // least + 1) if clips % n == 0 and clips // n <= most), None)


def checked(name: str, check: Callable[[], str]) -> dict[str, Any]:
    """{"check", "ok", "told", "hint"}: what `check` returned, or the error that it raised."""
    try:
        return {"check": name, "ok": True, "told": check(), "hint": ""}
    except VtrError as error:
        return {"check": name, "ok": False, "told": error.message, "hint": error.hint}
