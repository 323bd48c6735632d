"""Damages thousands of files and has vtr read them, in processes that are watched and may die.

    python tests/reliability/fuzzing.py --count 20000 --seed 1

Each file ends in a result or in a VtrError. Another exception, a process that ends, one that takes more than the time
limit or more than the memory limit over one file: each is a failure, named so that `--only TARGET:NUMBER` repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
MEMORY_GB = 24  # of addresses: torch alone maps several


@dataclass
class Outcome:
    """What became of the files: how many ended well or in an error of ours, by target, and the failures."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    peak_mb: int = 0
    seconds: float = 0.0

    @property
    def files(self) -> int:
        """All that were read."""
        return sum(self.counts.values()) + len(self.failures)


def cases(count: int, names: Collection[str]) -> list[tuple[str, int]]:
    """(target, number) of `count` files, of the targets `names` by their weights."""
    from fuzz_targets import TARGETS

    total = sum(TARGETS[name].weight for name in names)
    return [(name, n) for name in names for n in range(-(-count * TARGETS[name].weight // total))]


def fuzz(
    count: int, seed: int, where: Path, *, limit_s: float = 60.0, only: str | None = None, quick: bool = False
) -> Outcome:
    """Makes the originals below `where`, and reads `count` damaged files in child processes.

    `quick` leaves out the targets that need a trained run.
    """
    from fuzz_targets import QUICK, TARGETS

    begin = time.monotonic()
    originals, work = where / "originals", where / "work"
    if not originals.is_dir():
        from fuzz_originals import make_originals

        originals.mkdir(parents=True)
        make_originals(originals, quick=quick)
    work.mkdir(exist_ok=True)
    todo = cases(count, QUICK if quick else TARGETS)
    if only is not None:
        name, _, number = only.rpartition(":")
        todo = [(name, int(number))]
    outcome = Outcome()
    at = 0
    while at < len(todo):
        at += _batch(todo[at:], seed, originals, work, limit_s, outcome)
    outcome.seconds = time.monotonic() - begin
    return outcome


def _batch(todo: list[tuple[str, int]], seed: int, originals: Path, work: Path, limit_s: float, out: Outcome) -> int:
    """Has one child read what it can of `todo`; returns how many are done, the one that ended it included."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, __file__, "--child", str(originals), str(work), "--seed", str(seed)]
    with (work / "stderr").open("wb") as stderr:
        (work / "todo.json").write_text(json.dumps(todo))
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)
        assert child.stdout is not None
        try:
            done, rest = 0, b""
            while done < len(todo):
                name, number = todo[done]
                ready, _, _ = select.select([child.stdout], [], [], limit_s + (60.0 if done == 0 else 0.0))
                data = os.read(child.stdout.fileno(), 1 << 16) if ready else b""
                if not data:
                    why = f"no end after {limit_s:g} s" if not ready else f"the process ended ({child.wait()})"
                    words = (work / "stderr").read_text(errors="replace").strip()[-600:]
                    out.failures.append(f"{name}:{number}: {why}: {words}")
                    return done + 1
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    name, number = todo[done]
                    kind, peak, words = json.loads(line)
                    out.peak_mb = max(out.peak_mb, peak)
                    if kind == "failed":
                        out.failures.append(f"{name}:{number}: {words}")
                    else:
                        out.counts[f"{name}: {kind}"] += 1
                    done += 1
            return done
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def _child(originals: Path, work: Path, seed: int) -> None:
    """Reads the damaged files of todo.json one after the other, and tells of each on stdout."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GB << 30, MEMORY_GB << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for name, number in json.loads((work / "todo.json").read_text()):
        kind, words = _one(name, number, seed, originals, work)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        out.write(json.dumps([kind, peak, words]) + "\n")
        out.flush()


def _one(name: str, number: int, seed: int, originals: Path, work: Path) -> tuple[str, str]:
    """Damages file `number` of a target and reads it; ("read" | "refused" | "failed", what it said)."""
    from damage import damaged
    from fuzz_targets import TARGETS

    from vtr.errors import VtrError

    target, rng = TARGETS[name], random.Random(f"{seed}/{name}/{number}")
    source = originals / target.folder
    files = sorted({path for pattern in target.files for path in source.glob(pattern) if path.is_file()})
    victim = files[number % len(files)]
    folder = work / f"{os.getpid()}" / target.folder  # beside it may stand what it belongs to
    _linked(source, folder, victim)
    if name == "run":
        _linked(originals / "shards", folder.parent / "shards", None)
    path = folder / victim.relative_to(source)
    path.write_bytes(damaged(victim.read_bytes(), victim.suffix, rng))
    try:
        target.read(folder, path)
    except VtrError as error:
        blank = not str(error.message).strip()
        return ("failed", "an error without words") if blank else ("refused", "")
    except BaseException:
        return "failed", f"{victim.name}: {traceback.format_exc()[-1500:]}"
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    return "read", ""


def _linked(source: Path, folder: Path, but: Path | None) -> None:
    """`folder` with links to all files of `source` but one, which nobody writes to."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        place = folder / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif path != but:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="TARGET:NUMBER, as a failure is named")
    parser.add_argument("--keep", type=Path, help="a folder to keep the originals in")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(*given.child, given.seed)
        return
    with tempfile.TemporaryDirectory() as aside:
        outcome = fuzz(given.count, given.seed, given.keep or Path(aside), only=given.only)
    for name, count in sorted(outcome.counts.items()):
        print(f"{count:7d} {name}")
    print(f"{outcome.files} files in {outcome.seconds:.0f} s, {len(outcome.failures)} failures, "
          f"peak memory {outcome.peak_mb} MB")  # fmt: skip
    for failure in outcome.failures:
        print(failure)
    sys.exit(bool(outcome.failures))


if __name__ == "__main__":
    main()
