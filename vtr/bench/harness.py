"""How a benchmark measures: medians of works that take turns, in one run, with the machine's description beside."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

from vtr.data.crew import cores

LIBRARIES = ("torch", "torchvision", "av", "decord", "pillow", "pyarrow", "numpy")


class Measured(TypedDict):
    """What a subject returns: `ratios` are compared with its goals, `figures` are what they were made of.

    A ratio is None where this machine cannot have it; a figure then says why.
    """

    ratios: Mapping[str, float | None]
    figures: dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """How to measure: `repeats` times each, the median counts; `small` shows that it works, not how fast.

    `tell` hears what is being done, `note` what was found: of a run that is broken off, that is what is left. `folder`
    is for files, and goes away afterwards.
    """

    folder: Path
    repeats: int = 5
    small: bool = False
    tell: Callable[[str], None] = field(default=lambda text: None)  # noqa: ARG005
    note: Callable[[str], None] = field(default=lambda text: None)  # noqa: ARG005

    def medians(self, works: Mapping[str, Callable[[], Any]], clock: Callable[[], float] = time.perf_counter) -> Any:
        """Median seconds of each of `works` by name; see `turns`."""
        return {name: statistics.median(seconds) for name, seconds in self.turns(works, clock).items()}

    def turns(
        self,
        works: Mapping[str, Callable[[], Any]],
        clock: Callable[[], float] = time.perf_counter,
        after: Callable[[], None] = lambda: None,
    ) -> dict[str, list[float]]:
        """Seconds of each of `works` by name, `repeats` times each, after one turn to warm up.

        The works take turns, so that a slow minute of the machine falls on all of them. `clock` may be
        `time.process_time`, which other programs disturb less. `after` each work something is done that is not timed.
        """
        taken: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(self.repeats + 1):
            for name, work in works.items():
                self.tell(f"{name} {turn}/{self.repeats}")
                begin = clock()
                work()
                seconds = clock() - begin
                after()
                if turn:
                    taken[name].append(seconds)
            if turn:
                now = "  ".join(f"{name} {spent[-1]:.4g} s" for name, spent in taken.items())
                self.note(f"{turn}/{self.repeats}  {now}")
        return taken


def machine() -> dict[str, Any]:
    """What a figure depends on: processors, system, Python and the libraries that do the work."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(), "cores": cores(), "system": platform.platform(),
        "python": platform.python_version(), "libraries": found,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
