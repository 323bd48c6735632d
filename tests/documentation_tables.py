"""The tables of docs/recipes.md and docs/reproduce.md, from the recipes: `python tests/documentation_tables.py`.

The pages hold them as text; tests/test_documentation.py compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vtr import recipe
from vtr.bench.cost import gflop_a_sample, hours
from vtr.config import Config
from vtr.data.annotations import BENCHMARKS, Split

WEBVID = 2_500_000
FINE_TUNED = {
    "MSR-VTT 1k-A": BENCHMARKS["msrvtt"].splits["1k-A-train"],
    "MSVD": BENCHMARKS["msvd"].splits["train"],
    "LSMDC": BENCHMARKS["lsmdc"].splits["train"],
    "DiDeMo": BENCHMARKS["didemo"].splits["train"],
    "ActivityNet": BENCHMARKS["activitynet"].splits["train"],
}
TFLOPS = 100
BASE = ("contrastive-base", "mac-base", "miles-base", "simvtp-base")


def recipe_lines() -> Iterator[str]:
    """A line a recipe."""
    for name in recipe.recipe_names():
        stages = ", then ".join(f"{length(one)} of {shape(one)}" for one in recipe.staged(recipe.load(name)))
        hidden = recipe.load(name).objective
        share = "" if hidden.name == "contrastive" else f"; {100 * hidden.mask_ratio:.0f} % of the patches hidden"
        yield f"| `{name}` | {recipe.about(name)} | {stages}{share} |"


def length(config: Config) -> str:
    """How long a training is."""
    train = config.train
    return f"{train.steps:,} steps of {train.batch_size}" if train.steps else f"{train.epochs:g} epochs"


def shape(config: Config) -> str:
    """What a clip is."""
    frames = config.data.frames
    return f"{frames} {'frame' if frames == 1 else 'frames'} of {config.data.size} x {config.data.size}"


def shown(config: Config, size: int) -> float:
    """The samples that a training shows."""
    return config.train.steps * config.train.batch_size or config.train.epochs * size


def tuned(config: Config) -> Config:
    """What `vtr finetune` makes of a recipe."""
    last = recipe.staged(config)[-1]
    return recipe.override(last, {"objective.name": "contrastive", "train.steps": 0, **config.finetune})


Count = Callable[[str, Config], int]


def counted(title: str, config: Config) -> int:
    """GFLOP a sample."""
    return round(gflop_a_sample(config))


def pretraining_lines(count: Count = counted) -> Iterator[str]:
    """A line a recipe and stage, on WebVid-2M."""
    for name in BASE:
        stages = recipe.staged(recipe.load(name))
        for number, config in enumerate(stages, start=1):
            title = f"`{name}`" + (f", stage {number}" if len(stages) > 1 else "")
            gflop, samples = count(title, config), shown(config, WEBVID)
            cost = f"{days(gflop, samples, 1)} | {days(gflop, samples, 8)}"
            yield f"| {title} | {gflop} | {samples / 1e6:.1f} | {cost} |"


def fine_tuning_lines(count: Count = counted) -> Iterator[str]:
    """A line a recipe; a column a benchmark: minutes on one GPU. The first has the samples of each."""
    sizes = [in_an_epoch(split) for split in FINE_TUNED.values()]
    yield f"| samples in an epoch | | | {' | '.join(f'{size:,}' for size in sizes)} |"
    for name in BASE:
        config = tuned(recipe.load(name))
        gflop = count(f"`{name}`", config)
        cells = [f"{60 * hours(gflop, shown(config, size), 1, TFLOPS):.0f}" for size in sizes]
        yield f"| `{name}` | {gflop} | {config.train.epochs:g} | {' | '.join(cells)} |"


def in_an_epoch(split: Split) -> int:
    """What fine-tuning shows: videos; of LSMDC nothing but its sentences is published."""
    return split.videos or split.captions or 0


def days(gflop: int, samples: float, gpus: int) -> str:
    """Hours, or days where they are many."""
    number = hours(gflop, samples, gpus, TFLOPS)
    return f"{number:.1f} h" if number < 48 else f"{number / 24:.0f} days"


if __name__ == "__main__":
    for lines in (recipe_lines, pretraining_lines, fine_tuning_lines):
        print("\n".join(lines()), end="\n\n")
