"""A step is measured at every ratio, its FLOPs are counted, and a plan says what fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from vtr import recipe
from vtr.bench import fits, run
from vtr.bench.step import GOALS, make
from vtr.bench.utilisation import peak_tflops
from vtr.bench.yardstick import counted, gemm_tflops
from vtr.data.shares import fewest_pieces
from vtr.errors import ConfigError


@pytest.fixture
def tiny():
    return make(recipe.load("mac-base"), "joint", 2, torch.device("cpu"), small=True)


def test_it_measures_what_its_goals_name() -> None:
    found = run(
        "step", repeats=1, small=True, recipe="mac-base", device="cpu", ratios=(0.0, 0.75), precisions=("fp32",)
    )
    assert set(found["ratios"]) == set(GOALS)
    assert found["ratios"].pop("step.mfu") is None
    assert found["figures"]["mfu"] == "only a GPU has a data sheet to compare with"
    assert all(value > 0 for value in found["ratios"].values())
    rows = found["figures"]["table"]
    assert [(row["precision"], row["mask_ratio"]) for row in rows] == [("fp32", 0.0), ("fp32", 0.75)]
    assert rows[1]["gflop"] < 0.3 * rows[0]["gflop"]
    assert rows[1]["activation_mb_a_sample"] < 0.5 * rows[0]["activation_mb_a_sample"]
    assert rows[0]["of_gemm"] > 0


def test_the_bare_stack_does_the_same_arithmetic(tiny) -> None:
    """What wrapping costs is time alone: as many multiplications in both, but for those that pick what is visible."""
    own, plain = (counted(work)[0] for work in (tiny.step(0.75, "fp32"), tiny.plain(0.75)))
    assert own == pytest.approx(plain, rel=0.01)


def test_a_step_trains(tiny) -> None:
    before = tiny.model.vid_proj.weight.detach().clone()
    tiny.step(0.75, "fp32")()
    assert not torch.equal(before, tiny.model.vid_proj.weight)


def test_kept_activations_grow_with_the_batch() -> None:
    config, cpu = recipe.load("mac-base"), torch.device("cpu")
    two, four = (counted(make(config, "joint", b, cpu, small=True).step(0.5, "fp32"))[1] for b in (2, 4))
    assert four == pytest.approx(2 * two, rel=0.1)


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("bf16", 2)])
def test_weights_are_not_counted_as_activations(precision: str, size: int) -> None:
    """Of a layer with more weights than rows: its input and its output are kept, not the weights or their cast."""
    layer, rows = nn.Linear(512, 512), torch.randn(3, 512)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            y = layer(rows).square()
        y.sum().backward()

    flops, kept = counted(run)
    assert flops == 2 * 2 * 3 * 512 * 512
    assert kept == pytest.approx(2 * 3 * 512 * size, rel=0.01)


def test_a_gemm_is_measured() -> None:
    assert gemm_tflops(torch.device("cpu"), "fp32", 256) > 1e-4


@pytest.mark.parametrize(("name", "twice"), [("simvtp-tiny", False), ("miles-tiny", True)])
def test_the_table_is_of_the_recipe_s_own_objective(name: str, twice: bool) -> None:
    """SimVTP encodes what is visible, MILES the whole clip, and its snapshot too."""
    cpu = torch.device("cpu")
    found = run("step", repeats=1, small=True, recipe=name, device="cpu", precisions=("fp32",))
    assert (found["ratios"]["step.mac75"] is None) == (not twice)
    assert found["figures"]["objective"] == name.removesuffix("-tiny")
    rows = {row["mask_ratio"]: row["gflop"] for row in found["figures"]["table"]}
    assert list(rows) == [0.5, 0.6, 0.75, 0.9]
    assert rows[0.9] == pytest.approx(rows[0.5], rel=0.2) if twice else rows[0.9] < rows[0.5]
    if not twice:
        assert "has one" in found["figures"]["mfu"]
    own = make(recipe.load(name), "joint", 2, cpu, small=True)
    with pytest.raises(ConfigError, match=r"a mask ratio of 0\.0 hides no"):
        own.step(0.0, "fp32")


def test_what_trains_beside_the_model_is_stepped_too() -> None:
    own = make(recipe.load("simvtp-tiny"), "joint", 2, torch.device("cpu"), small=True)
    objective = own.objective(0.75)
    before = objective.word_head.weight.detach().clone()
    own.run(objective, "fp32")()
    assert not torch.equal(before, objective.word_head.weight)


@pytest.mark.parametrize("name", ["simvtp-tiny", "miles-tiny"])
def test_a_plan_is_of_the_recipe_s_own_objective(name: str) -> None:
    found = fits.plan(name, small=True, device="cpu")
    assert found["batch_fits"] > 0
    assert found["compute_samples_per_s"] > 0


def test_speed_is_that_of_a_batch_from_which_on_little_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock on which a step takes a second, and a hundredth for each clip: of 128 it is not far from the limit."""
    it = make(recipe.load("mac-tiny"), "joint", 2, torch.device("cpu"), small=True)
    now, seen = [0.0], []

    def step() -> None:
        seen.append(len(it.batch))
        now[0] += 1 + 0.01 * len(it.batch)

    monkeypatch.setattr(fits.time, "perf_counter", lambda: now[0])
    rate, batch = fits.steady_rate(it, step, 1000)
    assert (batch, rate) == (128, pytest.approx(128 / 2.28))
    assert set(seen) == {2, 8, 32, 128}
    seen.clear()
    assert fits.steady_rate(it, step, 40)[1] == 32, "no larger than what is wanted or fits"


def test_a_plan_says_what_fits_and_what_is_waited_for(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fits.plan("mac-base", shards, small=True)
    assert found["waits_for"] == ("data" if found["data_samples_per_s"] < found["compute_samples_per_s"] else "compute")
    monkeypatch.setattr(fits, "memory_bytes", lambda where: 100 * 2**20)  # the machine's figure alone is given
    small = fits.plan("mac-base", small=True)
    assert 0 < small["batch_fits"] < found["batch_fits"]
    pieces = fewest_pieces(512, small["batch_fits"])
    assert small["advice"].startswith(f"give --accumulate {pieces}, or ")
    assert (small["batch_wanted"], found["batch_wanted"]) == (512, 24), "a step has no more clips than there are"
    assert "waits_for" not in small


def test_a_plan_where_not_even_the_weights_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "memory_bytes", lambda where: 2**20)  # the machine's figure alone is given
    found = fits.plan("mac-base", small=True, device="cpu")
    assert found["batch_fits"] == 0
    assert found["advice"] == "take a smaller model, or more memory: not one clip fits"


@pytest.mark.parametrize(
    ("precision", "words"),
    [("nonsense", r"the precision 'nonsense' is unknown\n.*choose one of: auto, fp32"), ("fp16", "fp16 needs a GPU")],
)
def test_a_precision_that_is_not_to_be_had(precision: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtr.bench.step.of_mac", lambda *given: pytest.fail("it was measured before"))
    with pytest.raises(ConfigError, match=words):
        run("step", repeats=1, small=True, device="cpu", precisions=("fp32", precision))


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989.0), ("NVIDIA GH200 480GB", 989.0), ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0), ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA L4", 121.0), ("NVIDIA A10G", None), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("cpu", None),
    ],
)  # fmt: skip
def test_what_data_sheets_say(name: str, peak: float | None) -> None:
    assert peak_tflops(name) == peak
