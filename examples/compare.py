"""What masking buys: objectives and mask ratios on the same clips, sizes and budget, as one table and one picture.

    python examples/compare.py --work work/compare --seconds 120 --seeds 0 1 2
    python examples/compare.py --work work/compare --epochs 6 --only contrastive mac-0.75 --picture curve.png

Each run is one `vtr pretrain` in a process of its own, with a whole schedule that ends with its budget: so many seconds
of training (the steps that fit are found by a short trial first), or so many epochs. A run that is finished is not run
again. The table goes to stdout as Markdown; every run's figures stay in WORK/runs.jsonl. Multiplications are counted on
the model itself, forward and backward, not timed. --picture needs matplotlib: pip install 'vtr[plot]'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# 8 frames of 64 x 64 in tubelets of 2 x 8 x 8: 256 of them, enough for masking to matter.
SIZES = {
    "data.size": 64, "data.resize": 64, "data.decoder": "auto", "model.patch": 8, "model.tubelet": 2,
    "model.width": 192, "model.depth": 4, "model.heads": 3, "train.batch_size": 128, "optim.lr": 1e-3,
    "optim.lr_batch": 0, "train.log_every": 5,
}  # fmt: skip
TEXT_TOWER = {"model.text_width": 192, "model.text_depth": 2, "model.text_heads": 3}


def mac(ratio: float, **more: Any) -> tuple[str, dict[str, Any]]:
    """MAC with `ratio` of the patches hidden; `more` are settings with __ for the dot."""
    return "mac-tiny", {"objective.mask_ratio": ratio} | {key.replace("__", "."): more[key] for key in more}


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "contrastive": ("mac-tiny", {"objective.name": "contrastive"}),
    "mac-0.25": mac(0.25),
    "mac-0.5": mac(0.5),
    "mac-0.6": mac(0.6),
    "mac-0.75": mac(0.75),
    "mac-0.9": mac(0.9),
    "mac-0.75-tube": mac(0.75, objective__mask="tube"),
    "mac-0.75-tail2": mac(0.75, train__unmasked_tail=0.02),
    "mac-0.75-tail5": mac(0.75, train__unmasked_tail=0.05),
    "contrastive-divided": ("mac-tiny", {"objective.name": "contrastive", "model.attention": "divided"}),
    "mac-0.6-divided": mac(0.6, model__attention="divided"),
    "mac-0.75-divided-tube": mac(0.75, model__attention="divided", objective__mask="tube"),
    "miles": ("miles-tiny", {}),
    "simvtp": ("simvtp-tiny", {"objective.decoder_width": 96}),
}


def vtr(*words: str) -> None:
    """Runs a verb, shown as it could be typed."""
    print("$ vtr", *words, file=sys.stderr)
    subprocess.run([sys.executable, "-m", "vtr", *words], check=True, stdout=sys.stderr)


def settings(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """What a variant changes in its recipe."""
    recipe, own = VARIANTS[name]
    merged = SIZES | TEXT_TOWER | own | dict(one.split("=", 1) for one in asked.set)
    # SimVTP has one encoder for both, whose tokens are what is compared.
    return merged | ({"model.embed_dim": merged["model.width"]} if recipe.startswith("simvtp") else {})


def pretrain(name: str, seed: int, length: list[str], out: Path, asked: argparse.Namespace, *, score: int) -> None:
    """One run of a variant; `score` steps are between its evaluations, 0: there are none."""
    words = [word for key, value in settings(name, asked).items() for word in ("--set", f"{key}={value}")]
    if score:
        words += ["--eval-shards", str(asked.work / "test"), "--set", f"train.eval_every={score}"]
    train = str(asked.work / "train")
    vtr("pretrain", VARIANTS[name][0], "--shards", train, "--out", str(out), "--seed", str(seed), *length, *words)


def lines_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def speed(lines: list[dict[str, Any]]) -> float:
    """Samples a second of the steps alone: the median, which neither the start nor an evaluation moves."""
    return statistics.median([line["samples_per_s"] for line in lines if "loss" in line][1:] or [float("nan")])


def gflop(name: str, asked: argparse.Namespace) -> float:
    """Operations (10^9, counted) that a sample takes in a step of `name`, backward pass and all."""
    from vtr import recipe
    from vtr.bench.cost import gflop_a_sample

    return gflop_a_sample(recipe.override(recipe.load(VARIANTS[name][0]), typed(settings(name, asked))))


def typed(given: dict[str, Any]) -> dict[str, Any]:
    """Settings as `--set` would read them."""
    from vtr.recipe import parse_sets

    return parse_sets([f"{key}={value}" for key, value in given.items()])


def measured(name: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """The figures of one run at the asked budget, with the curve of its evaluations."""
    batch = int(settings(name, asked)["train.batch_size"])
    if asked.seconds:
        trial = asked.work / "trials" / name
        pretrain(name, 0, ["--steps", str(asked.trial)], trial, asked, score=0)
        steps = round(asked.seconds * speed(lines_of(trial)) / batch)
    else:
        steps = max(1, round(asked.epochs * asked.train / batch))
    out = asked.work / "runs" / f"{name}-steps{steps}-seed{seed}"
    pretrain(name, seed, ["--steps", str(steps)], out, asked, score=max(1, -(-steps // 8)))
    lines = lines_of(out)
    per_s = speed(lines)
    curve = [(line["step"] * batch / per_s, line["t2v R@1"]) for line in lines if "t2v R@1" in line]
    last = [line for line in lines if "t2v R@1" in line][-1]
    return {
        "name": name, "seed": seed, "budget": f"{asked.seconds} s" if asked.seconds else f"{asked.epochs} epochs",
        "steps": steps, "samples": steps * batch, "samples_per_s": per_s, "seconds": steps * batch / per_s,
        "gflop": gflop(name, asked), "t2v": last["t2v R@1"], "v2t": last["v2t R@1"], "curve": curve,
    }  # fmt: skip


def by_name(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each variant."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["name"]].append(run)
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Mean and range over seeds, a line a variant, as Markdown."""
    lines = [
        "| run | seeds | GFLOP a sample | samples/s | seconds | samples seen | R@1 text to video | R@1 video to text |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in by_name(runs).items():
        means = {key: statistics.fmean(run[key] for run in found) for key in ("samples_per_s", "seconds", "samples")}
        scores = [
            f"{statistics.fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            for values in ([run[way] for run in found] for way in ("t2v", "v2t"))
        ]
        lines.append(
            f"| {name} | {len(found)} | {found[0]['gflop']:.2f} | {means['samples_per_s']:.0f} "
            f"| {means['seconds']:.0f} | {means['samples']:,.0f} | {' | '.join(scores)} |"
        )
    return "\n".join(lines)


def picture(runs: list[dict[str, Any]], path: Path) -> None:
    """Two charts: R@1 on the way, over seconds of training; and at the end, over what a sample costs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (way, end) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, found in by_name(runs).items():
        colour = None
        for run in found:  # a line a seed, in one colour
            seconds, scores = zip(*run["curve"], strict=True)
            (line,) = way.plot(seconds, scores, color=colour, label="" if colour else name, lw=1.2, marker=".", ms=4)
            colour = line.get_color()
        scores = [run["t2v"] for run in found]
        mean = statistics.fmean(scores)
        reach = [[mean - min(scores)], [max(scores) - mean]]
        end.errorbar(found[0]["gflop"], mean, yerr=reach, fmt="o", color=colour, capsize=3)
        end.annotate(name, (found[0]["gflop"], mean), textcoords="offset points", xytext=(6, 4), fontsize=8)
    way.set(xlabel="seconds of training", ylabel="R@1, text to video (%)", title="on the way")
    end.set(xlabel="GFLOP a sample, counted", title="at the end: mean and range of seeds")
    end.margins(x=0.18)
    for chart in (way, end):
        chart.set_ylim(bottom=0)
        chart.grid(alpha=0.25)
    way.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Shards once, runs what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/compare"))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="seconds of each run's training")
    length.add_argument("--epochs", type=float, help="samples of each run, in epochs")
    parser.add_argument("--trial", type=int, default=40, metavar="STEPS", help="of the trial of --seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME",
                        help=f"variants: {', '.join(VARIANTS)}")  # fmt: skip
    parser.add_argument("--train", type=int, default=5000, help="training clips")
    parser.add_argument("--test", type=int, default=500, help="test clips")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all runs")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the curves")
    asked = parser.parse_args()
    if asked.picture and find_spec("matplotlib") is None:
        parser.error("--picture needs matplotlib: pip install 'vtr[plot]'")
    frames = ["--store", "frames", "--frames", "16", "--short-side", "64"]
    for split, limit in (("train", asked.train), ("test", asked.test)):
        vtr("shard", "synthetic", "seed:0", str(asked.work / split), "--split", split, "--limit", str(limit), *frames)
    runs = []
    for seed in asked.seeds:  # all variants of a seed side by side, so that a slow hour falls on all of them
        for name in asked.only:
            runs.append(measured(name, seed, asked))
            with (asked.work / "runs.jsonl").open("a") as file:
                file.write(json.dumps(runs[-1]) + "\n")
    print(table(runs))
    if asked.picture:
        picture(runs, asked.picture)


if __name__ == "__main__":
    main()
