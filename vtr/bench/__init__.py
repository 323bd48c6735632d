"""Benchmarks by subject, one file each: what is promised as a ratio, measured on this machine in one run.

A subject is a module of this package with `GOALS` ({ratio: "at least 30" | "below 2"}) and
`measure(bench: Bench) -> Measured` (`vtr.bench.harness`). A new one is a file and a line in SUBJECTS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtr.errors import InputError

SUBJECTS = {
    "step": "A training step: what masking saves, what wrapping costs, a table over mask ratios and precisions.",
    "train": "Training: the tiny recipe fed from a frame store over the same steps on batches in memory.",
    "loader": "Feeding a step: a frame store over a video store, and the loader over a bare loop.",
    "decode": "Decoding four frames of a clip: decord, PyAV and stored JPEGs, on one core.",
    "index": "Opening the index of a million samples: seconds, and memory beyond the mapped file.",
    "eval": "Ranks against sorting, memory at scale, and what an evaluation costs beside its encoders.",
    "embed": "vtr embed over a frame store, over the bare model on ready batches.",
    "search": "Exact search over a million vectors: over FAISS, and over the bare matrix product.",
    "shard": "Sharding videos as they are, beside copying the same files with tar.",
}


def run(
    subject: str,
    *,
    repeats: int = 5,
    small: bool = False,
    tell: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Measures `subject`, with `options` of its own: {"subject", "ratios", "figures", "goals", "machine"}.

    `tell` hears what is being done, `note` each thing found. Raises InputError for a subject that is not there, or
    fewer than one repeat.
    """
    if subject not in SUBJECTS:
        raise InputError(f"there is no benchmark {subject!r}", f"choose one of: {', '.join(SUBJECTS)}")
    if repeats < 1:
        raise InputError(f"{repeats} repeats measure nothing", "give --repeats 1 or more")
    import tempfile
    from importlib import import_module
    from pathlib import Path

    from vtr.bench.harness import Bench, machine

    module = import_module(f"vtr.bench.{subject}")
    with tempfile.TemporaryDirectory(prefix="vtr-bench-") as folder:
        said = {name: how for name, how in (("tell", tell), ("note", note)) if how is not None}
        measured = module.measure(Bench(Path(folder), repeats, small, **said), **options)
    return {"subject": subject, **measured, "goals": dict(module.GOALS), "machine": machine()}


def reached(goal: str, value: float) -> bool:
    """Whether `value` is what `goal` ("at least X" or "below X") asks."""
    words, limit = goal.rsplit(" ", 1)
    return {"at least": value >= float(limit), "below": value < float(limit)}[words]
