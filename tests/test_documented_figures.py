"""Figures and tables of the pages: those of recipes, of costs, and those that stand on two pages."""

from __future__ import annotations

import math
import re

import documentation_tables as tables
import pytest
from documentation_text import PAGES, ROOT

from vtr import recipe


def test_the_recipes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/recipes.md").read_text("utf-8")
    assert [line for line in tables.recipe_lines() if line not in page] == []


def test_costs_follow_from_what_was_counted() -> None:
    pretraining, tuning = (ROOT / "docs/reproduce.md").read_text("utf-8").split("Fine-tuning, in minutes")

    def told(section: str):
        return lambda title, config: int(section.split(f"| {title} | ", 1)[1].split(" ", 1)[0])

    assert [line for line in tables.pretraining_lines(told(pretraining)) if line not in pretraining] == []
    assert [line for line in tables.fine_tuning_lines(told(tuning)) if line not in tuning] == []


@pytest.mark.slow
def test_costs_are_counted() -> None:
    page = (ROOT / "docs/reproduce.md").read_text("utf-8")
    assert [line for line in (*tables.pretraining_lines(), *tables.fine_tuning_lines()) if line not in page] == []


def rows(text: str, title: str) -> dict[str, list[str]]:
    """The cells of a table by the first of each line; its own first line begins with `title`."""
    lines = text.split(f"| {title}", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}


def test_figures_of_what_masking_buys_are_those_of_its_table() -> None:
    """Those of the README and of the text below the table."""
    page, readme = (ROOT / "docs/benchmarks.md").read_text("utf-8"), PAGES[0].read_text("utf-8")
    found = rows(page, "run | seeds | GFLOP a sample")
    ratios = ("mac-0.5", "mac-0.6", "mac-0.75", "mac-0.9")
    faster = [float(found[name][2]) / float(found["contrastive"][2]) for name in ratios]
    assert f"{faster[1]:.1f} times the unmasked model's at 60 % hidden, {faster[2]:.1f} at 75 %" in readme
    score, base = found["mac-0.6"][4], found["contrastive"][4]
    assert f"{score} beside {base} after 40 s each, 60 % hidden, three seeds" in readme
    assert "Masking makes a step {:.1f}, {:.1f}, {:.1f} and {:.1f} times quicker".format(*faster) in page
    after = [found[name][-1].split(" %")[0] for name in ratios[:3]]
    assert "final R@1 after {}, {} and {} % of its time".format(*after) in page
    costs = rows((ROOT / "docs/reproduce.md").read_text("utf-8"), "recipe | GFLOP a sample | million")
    counted = float(costs["`mac-base`"][0]) / float(costs["`contrastive-base`"][0])
    assert float(re.search(r"(0\.\d+) of the unmasked model's, counted", readme)[1]) == pytest.approx(counted, abs=2e-3)


def test_figures_of_the_quickstart_are_one_run() -> None:
    page, readme = (ROOT / "docs/benchmarks.md").read_text("utf-8"), PAGES[0].read_text("utf-8")
    score = re.search(r"^ text to video +([\d.]+) ", readme, re.MULTILINE)[1]
    took = re.search(r"took (\d+) s on two CPU cores", readme)[1]
    assert f"| {score} on 500 made-up clips: `mac-tiny` after {took} s on two CPU cores |" in readme
    assert f"the joint one at {score}." in page
    told = (ROOT / "docs/objectives/simvtp.md").read_text("utf-8")
    assert f"(MAC: {score} %)" in told
    config = recipe.load("simvtp-tiny")
    tuned = tables.tuned(config)
    steps = [math.ceil(one.train.epochs * 5000 / one.train.batch_size) for one in (config, tuned)]
    assert f"`simvtp-tiny`'s {steps[0]} steps" in told
    assert f"fine-tuned for {steps[1]} steps" in told


def test_published_figures_of_the_readme_are_those_of_the_package() -> None:
    from vtr.retrieval.published import published

    readme = PAGES[0].read_text("utf-8")
    for row in published("msrvtt-1ka"):
        cells = " | ".join(f"{number:g}" for number in row.numbers[:3])
        assert f"| {row.model}, {row.setting} | {cells} | {row.source}" in readme, row
