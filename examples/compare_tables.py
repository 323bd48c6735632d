"""The tables and the picture of compare.py: runs in, Markdown and PNG out.

A run is what compare.py writes into runs.jsonl; its curve has [samples, seconds, R@1] of each evaluation.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

VIEWS = ("true", "shuffled", "reversed", "one frame")


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Mean and range."""
    known = list(values)
    return f"{statistics.fmean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def by_name(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each variant."""
    return {name: [run for run in runs if run["name"] == name] for name in dict.fromkeys(run["name"] for run in runs)}


def reached(found: list[dict[str, Any]], runs: list[dict[str, Any]]) -> str:
    """Percent of the baseline's seconds after which a variant has its final R@1: of the means, and of each seed.

    The baseline is the unmasked run of the same attention; between evaluations the curve is a straight line.
    """
    wanted = "contrastive-divided" if "divided" in found[0]["name"] else "contrastive"
    bases = {run["seed"]: run for run in runs if run["name"] == wanted}
    pairs = [(run["curve"], bases[run["seed"]]) for run in found if run["seed"] in bases]
    if not pairs:
        return ""
    times = [since for _, since, _ in pairs[0][0]]
    at = [statistics.fmean(score_at(time, curve) for curve, _ in pairs) for time in times]
    final, whole = (statistics.fmean(base[key] for _, base in pairs) for key in ("t2v", "seconds"))
    of_means = share([(0, time, score) for time, score in zip(times, at, strict=True)], final, whole)
    each = [share(curve, base["t2v"], base["seconds"]) for curve, base in pairs]
    there = sorted(one for one in each if one is not None)
    words = "never" if of_means is None else f"{of_means:.0f} %"
    ranges = f"{there[0]:.0f} to {there[-1]:.0f}" if there else ""
    never = f"{len(each) - len(there)} of {len(each)} never" if len(there) < len(each) else ""
    return f"{words} ({', '.join(filter(None, [ranges, never]))})"


def score_at(time: float, curve: list[list[float]]) -> float:
    """R@1 at a time, on straight lines between evaluations, from zero on."""
    for (_, since, low), (_, until, high) in pairwise([[0, 0.0, 0.0], *curve]):
        if time <= until:
            return high if time == until else low + (high - low) * (time - since) / (until - since)  # rounding aside
    return curve[-1][2]


def share(curve: Iterable[Sequence[float]], wanted: float, whole: float) -> float | None:
    """Percent of `whole` after which a curve reaches `wanted`; None: it never does."""
    for (_, since, low), (_, until, high) in pairwise([(0, 0.0, 0.0), *curve]):
        if high >= wanted and high > low:
            return 100 * (since + (until - since) * (wanted - low) / (high - low)) / whole
    return None


def table(runs: list[dict[str, Any]]) -> str:
    """Mean and range over seeds, a line a variant, as Markdown."""
    lines = [
        "| run | seeds | GFLOP a sample | samples/s | seconds | samples seen | R@1 text to video "
        "| R@1 video to text | has the unmasked R@1 after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in by_name(runs).items():
        means = {key: statistics.fmean(run[key] for run in found) for key in ("samples_per_s", "seconds", "samples")}
        lines.append(
            f"| {name} | {len(found)} | {found[0]['gflop']:.3f} | {means['samples_per_s']:.0f} "
            f"| {means['seconds']:.0f} | {means['samples']:,.0f} | {spread(run['t2v'] for run in found)} "
            f"| {spread(run['v2t'] for run in found)} | {reached(found, runs)} |"
        )
    return "\n".join(lines)


def probe_table(runs: list[dict[str, Any]], look: Callable[[dict[str, Any]], dict[str, float]]) -> str:
    """R@1 by view of the clips, mean and range over seeds, a line a variant, as Markdown."""
    lines = [f"| run | {' | '.join(VIEWS)} | lost when shuffled |", "|---|---|---|---|---|---|"]
    for name, several in by_name(runs).items():
        found = [look(run) for run in several]
        lost = spread(one["true"] - one["shuffled"] for one in found)
        lines.append(f"| {name} | {' | '.join(spread(one[view] for one in found) for view in VIEWS)} | {lost} |")
    return "\n".join(lines)


def picture(runs: list[dict[str, Any]], path: Path) -> None:
    """Three charts of R@1: on the way, over seconds and over samples; at the end, over what a sample costs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure = charts(runs)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def charts(runs: list[dict[str, Any]]) -> Any:
    """What `picture` draws, as a figure of matplotlib."""
    from matplotlib import pyplot as plt

    figure, (spent, seen, end) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    points: dict[str, tuple[float, float]] = {}
    for name, found in by_name(runs).items():
        colour = None
        for run in found:  # a line a seed, in one colour
            samples, seconds, scores = zip(*run["curve"], strict=True)
            for chart, across in ((spent, seconds), (seen, samples)):
                label = "" if colour else name
                (line,) = chart.plot(across, scores, color=colour, label=label, lw=1.2, marker=".", ms=4)
                colour = line.get_color()
        scores = [run["t2v"] for run in found]
        mean = statistics.fmean(scores)
        reach = [[mean - min(scores)], [max(scores) - mean]]
        end.errorbar(found[0]["gflop"], mean, yerr=reach, fmt="o", color=colour, capsize=3)
        points[name] = found[0]["gflop"], mean
    spent.set(xlabel="seconds of one processor core", ylabel="R@1, text to video (%)", title="on the way, by time")
    seen.set(xlabel="samples seen", title="on the way, by samples")
    end.set(xlabel="GFLOP a sample, counted", title="at the end: mean and range of seeds")
    end.margins(x=0.25, y=0.12)
    for chart in (spent, seen, end):
        chart.set_ylim(bottom=0)
        chart.grid(alpha=0.25)
    spent.legend(fontsize=8)
    name_points(end, points)
    return figure


def name_points(chart: Any, points: dict[str, tuple[float, float]]) -> None:
    """Names `points` beside them, each at a height of its own, so that no two names meet."""
    chart.figure.draw_without_rendering()  # only now it is known how high the chart is
    inches = chart.get_window_extent().height / chart.figure.dpi
    low, high = chart.get_ylim()
    point = (high - low) / (72 * inches)  # of a typesetter, of which a line of such letters takes 12
    heights = apart([y for _, y in points.values()], 12 * point, low + 6 * point, high - 6 * point)
    for (name, place), height in zip(points.items(), heights, strict=True):
        moved = (height - place[1]) / point
        chart.annotate(
            name, place, (10, moved), textcoords="offset points", fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def apart(heights: Sequence[float], gap: float, least: float, most: float) -> list[float]:
    """`heights` in their order, moved as little as can be until all are `gap` apart, from `least` to `most`.

    Too many for that go above it.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    # Less the gaps below it each only has to be no lower than the one before: those that are share their mean.
    shared: list[list[float]] = []
    for below, which in enumerate(order):
        shared.append([heights[which] - below * gap])
        while len(shared) > 1 and statistics.fmean(shared[-2]) > statistics.fmean(shared[-1]):
            shared[-2:] = [shared[-2] + shared[-1]]
    most -= (len(heights) - 1) * gap
    level = [max(least, min(most, statistics.fmean(several))) for several in shared for _ in several]
    placed = {which: level[below] + below * gap for below, which in enumerate(order)}
    return [placed[which] for which in range(len(heights))]
