"""What masking buys: objectives and mask ratios on the same clips, sizes and budget, as tables and a picture.

    python examples/compare.py --work work/compare --seconds 120 --seeds 0 1 2 --probe
    python examples/compare.py --work work/compare --epochs 6 --only contrastive mac-0.75 --picture curve.png
    python examples/compare.py --seconds 40 --only contrastive mac-0.6 --own examples/custom_objective.py:TwoViews

Each run is one `vtr.pretrain` with a whole schedule that ends with its budget: so many epochs, or so many seconds of
training steps on one processor core. How many steps these are is measured first, the asked variants in turns, in
processor seconds of this process: what else the machine does, decoding and evaluations are not in them. A run that is
finished is not run again: its figures stay in WORK/runs.jsonl, and stderr says which are from there. An objective of
your own has a hash of its file in its name, so that it runs anew once that file has changed; what the file imports is
not in it. Tables go to stdout as Markdown. Multiplications are counted on the model itself, forward and backward, not
timed. --picture needs matplotlib: pip install '.[plot]'.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from compare_tables import VIEWS, picture, probe_table, table

import vtr
from vtr import recipe
from vtr.config import Config
from vtr.data.store import make_store

# 8 frames of 32 x 32 in tubelets of 4 x 4 x 4: 128 of them, enough for masking to matter.
SIZES = {
    "data.workers": 0, "data.cache_gb": 1.0, "model.patch": 4, "model.width": 64, "model.depth": 2, "model.heads": 2,
    "model.text_width": 64, "model.text_heads": 2, "train.batch_size": 64, "train.log_every": 5,
    "train.save_every": 100_000,
}  # fmt: skip


def mac(ratio: float, **more: Any) -> tuple[str, dict[str, Any]]:
    """MAC with `ratio` of the patches hidden; `more` are settings with __ for the dot."""
    return "mac-tiny", {"objective.mask_ratio": ratio} | {key.replace("__", "."): more[key] for key in more}


SCHEDULE = {"optim.lr": 3e-3, "optim.warmup": 0.1}
DIVIDED = {"model.attention": "divided"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "contrastive": ("contrastive-tiny", {}),
    "contrastive-divided": ("contrastive-tiny", DIVIDED),
    "mac-0.25": mac(0.25),
    **{
        f"mac-{ratio}{attention}{mask}": mac(ratio, **how, **where)
        for attention, how in (("", {}), ("-divided", DIVIDED))
        for mask, where in (("", {}), ("-tube", {"objective.mask": "tube"}))
        for ratio in (0.5, 0.6, 0.75, 0.9)
    },
    "mac-0.75-tail2": mac(0.75, train__unmasked_tail=0.02),
    "mac-0.75-tail5": mac(0.75, train__unmasked_tail=0.05),
    "simvtp": ("simvtp-tiny", {"objective.decoder_width": 48, "objective.decoder_depth": 1} | SCHEDULE),
    "miles": ("miles-tiny", {}),
}


def own_objective(text: str) -> tuple[str, Any]:
    """The class that FILE:CLASS names, and what it is called here: with a hash of the file, TwoViews-3fa9c1d2."""
    file, _, name = text.rpartition(":")
    spec = spec_from_file_location(Path(file).stem, file)
    if not Path(file).is_file() or spec is None or spec.loader is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no FILE:CLASS, or no such file is there")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise argparse.ArgumentTypeError(f"{file} has no class {name!r}")
    return f"{name}-{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]}", getattr(module, name)


def objective_of(name: str, asked: argparse.Namespace) -> Any:
    """The class of a variant that --own brought; None for one of those above."""
    return dict(asked.own).get(name)


def config_of(name: str, asked: argparse.Namespace, **more: Any) -> Config:
    """A variant's settings, of an own objective those of mac-tiny; `more` has __ for the dot."""
    given, own = VARIANTS.get(name, ("mac-tiny", {}))
    pairs = {key.replace("__", "."): value for key, value in more.items()}
    settings = SIZES | recipe.parse_sets(asked.set) | own | pairs
    if given.startswith("simvtp"):  # its one encoder's tokens are what is compared
        settings["model.embed_dim"] = settings["model.width"]
    return recipe.override(recipe.load(given), settings)


def lines_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def speeds(names: Iterable[str], asked: argparse.Namespace) -> dict[str, float]:
    """Samples a second of the processor of the variants' steps on clips in memory; those of a tail in their share.

    All of these take turns, so that whatever else the machine does falls on all of them alike.
    """
    import torch

    from vtr import build
    from vtr.bench.harness import Bench
    from vtr.data.index import ShardIndex
    from vtr.data.loader import ClipDataset, batches
    from vtr.makers import make_objective
    from vtr.retrieval.embed import captions_of
    from vtr.run import make_optimizer

    index = ShardIndex.open(asked.work / "train")
    batch_size = {name: min(config_of(name, asked).train.batch_size, len(index)) for name in names}

    def work(config: Config, own: Any, masked: bool) -> Callable[[], None]:
        words = build.make_tokenizer(config, captions_of(index))
        objective = (own or partial(make_objective, config))(build.make_model(config, words).train(), words)
        optimizer = make_optimizer(config, objective, config.train.batch_size)
        some = [(0, i) for i in range(min(config.train.batch_size, len(index)))]
        batch, _ = next(iter(batches(ClipDataset(index, build.clip_shape(config)), [some], words, 0)))

        def step() -> None:
            torch.stack(list(objective(batch, 0, masked).values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

        return step

    parts: dict[str, list[tuple[tuple[str, bool], float]]] = {}  # what steps a variant has, and their shares
    works: dict[tuple[str, bool], Callable[[], None]] = {}
    for name in names:
        tail, own = config_of(name, asked).train.unmasked_tail, objective_of(name, asked)
        config = config_of(name, asked, objective__snapshot_wait=False, train__unmasked_tail=0.0)
        same = f"{recipe.to_toml(config)}{own}"  # a tail's steps are those of the variant without it
        parts[name] = [((same, masked), share) for masked, share in ((True, 1 - tail), (False, tail)) if share]
        for (_, masked), _ in parts[name]:
            works.setdefault((same, masked), work(config, own, masked))
    seconds = Bench(asked.work, asked.turns).medians(works, time.process_time)
    return {name: batch_size[name] / sum(seconds[key] * share for key, share in parts[name]) for name in names}


def steps_of(name: str, speed: float, asked: argparse.Namespace) -> int:
    """How many steps the budget gives."""
    batch = min(config_of(name, asked).train.batch_size, asked.train)
    samples = asked.epochs * asked.train if asked.epochs else asked.seconds * speed
    return max(1, round(samples / batch))


def measured(name: str, seed: int, speed: float, asked: argparse.Namespace) -> dict[str, Any]:
    """The figures of one run at the asked budget, with the curve of its evaluations: samples, seconds, R@1."""
    from vtr.bench.cost import gflop_a_sample

    steps = steps_of(name, speed, asked)
    every = max(1, -(-steps // asked.points))
    config = config_of(name, asked, train__steps=steps, train__seed=seed, train__eval_every=every)
    batch = min(config.train.batch_size, asked.train)
    out = asked.work / "runs" / f"{name}-steps{steps}-seed{seed}"
    own = objective_of(name, asked)
    vtr.pretrain(config, asked.work / "train", out, eval_shards=asked.work / "test", objective=own)
    lines = lines_of(out)
    scored = [line for line in lines if "t2v R@1" in line]
    return {
        "name": name, "seed": seed, "steps": steps, "samples": steps * batch, "samples_per_s": speed,
        "seconds": steps * batch / speed, "processor_s": [line["processor_s"] for line in lines if "loss" in line][-1],
        "gflop": gflop_a_sample(config, own), "t2v": scored[-1]["t2v R@1"], "v2t": scored[-1]["v2t R@1"],
        "out": str(out),
        "curve": [(line["step"] * batch, line["step"] * batch / speed, line["t2v R@1"]) for line in scored],
    }  # fmt: skip


def probed(run: dict[str, Any], asked: argparse.Namespace) -> dict[str, float]:
    """R@1 (percent, text to video) by view of the clips, among those whose captions tell of an order of events."""
    from vtr.build import clip_shape, load_model
    from vtr.data.index import ShardIndex
    from vtr.retrieval.embed import embed_captions
    from vtr.retrieval.views import embed_views

    kept = asked.work / "probes.json"
    known: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    if run["out"] in known:
        return known[run["out"]]
    loaded, index = load_model(run["out"], "cpu"), ShardIndex.open(asked.work / "test")
    seen = embed_views(loaded.embedder, index, clip_shape(loaded.config), loaded.tokenizer, probe=True)
    rows = [i for i in range(len(index)) if " then " in index.captions(i)[0]]
    texts = embed_captions(loaded.embedder, loaded.tokenizer, [index.captions(i)[0] for i in rows])
    found = {}
    for view in VIEWS:
        similar = texts @ seen.vectors[view][rows].T
        found[view] = 100 * float((similar.argmax(1) == range(len(rows))).mean())
    kept.write_text(json.dumps(known | {run["out"]: found | {"clips": len(rows)}}, indent=1))
    return found


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/compare"))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="seconds of one processor core that each run trains for")
    length.add_argument("--epochs", type=float, help="samples of each run, in epochs")
    parser.add_argument("--turns", type=int, default=9, help="steps of each variant that its speed is measured by")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME",
                        help=f"variants: {', '.join(VARIANTS)}")  # fmt: skip
    parser.add_argument("--own", action="append", default=[], type=own_objective, metavar="FILE:CLASS",
                        help="an objective of your own, on mac-tiny's encoders, beside them")  # fmt: skip
    parser.add_argument("--train", type=int, default=4000, help="training clips")
    parser.add_argument("--test", type=int, default=500, help="test clips")
    parser.add_argument("--points", type=int, default=10, help="evaluations of a run, on its way and at its end")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all runs")
    parser.add_argument("--probe", action="store_true", help="a second table: what is found with time destroyed")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the curves")
    return parser


def main() -> None:
    """Shards once, runs what is missing, prints the tables."""
    asked = parser().parse_args()
    if asked.picture and find_spec("matplotlib") is None:
        parser().error("--picture needs matplotlib: pip install '.[plot]'")
    for split, limit in (("train", asked.train), ("test", asked.test)):
        store = make_store("frames", frames=8, short_side=32)
        vtr.shard("synthetic", "seed:0", asked.work / split, split=split, limit=limit, store=store)
    record, clocked = asked.work / "runs.jsonl", asked.work / "speeds.json"
    names = list(dict.fromkeys([*asked.only, *dict(asked.own)]))
    known, how = json.loads(clocked.read_text()) if clocked.exists() else {}, json.dumps([asked.train, *asked.set])
    speed = known.get(how, {})
    if not speed.keys() >= set(names):  # then all of them again, for only what took turns is compared
        speed |= speeds(names, asked)
        clocked.write_text(json.dumps(known | {how: speed}, indent=1))
    done = {line["key"]: line for line in map(json.loads, record.read_text().splitlines())} if record.exists() else {}
    runs, before = [], []
    for seed in asked.seeds:  # all variants of a seed side by side, so that a slow hour falls on all of them
        for name in names:
            key = json.dumps([name, seed, asked.seconds, asked.epochs, asked.train, asked.test, *asked.set])
            if key in done:
                before.append(f"{name} (seed {seed})")
            else:
                done[key] = {"key": key, **measured(name, seed, speed[name], asked)}
                with record.open("a") as file:
                    file.write(json.dumps(done[key]) + "\n")
            runs.append(done[key])
    if before:
        print(f"from earlier runs, as {record} has them: {', '.join(before)}", file=sys.stderr)
    print(table(runs))
    if asked.probe:
        print()
        print(probe_table(runs, lambda run: probed(run, asked)))
    if asked.picture:
        picture(runs, asked.picture)


if __name__ == "__main__":
    main()
