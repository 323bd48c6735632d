"""What is counted on one layer is what the whole keeps; less is kept where less is asked."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vtr import build, makers, recipe
from vtr.bench.yardstick import counted
from vtr.footprint import RESTING, TRAINED, USABLE, Footprint, footprint, noise

CPU = torch.device("cpu")
CLIPS = 6


def kept_by_all_layers(config: Any) -> int:
    """Bytes that a step of the whole model keeps for its backward pass, a clip."""
    words: Any = SimpleNamespace(vocabulary=config.model.vocabulary, pad_id=0, mask_id=3)
    config = recipe.override(config, {"objective.snapshot_wait": False})
    objective: Any = makers.make_objective(config, build.make_model(config, words).train(), words)
    batch = noise(config, CLIPS, CPU)
    return counted(lambda: sum(objective(batch, 0).values()).backward())[1] // CLIPS


@pytest.mark.parametrize("name", ["contrastive-tiny", "mac-tiny", "miles-tiny", "simvtp-tiny"])
def test_one_layer_tells_of_all(name: str) -> None:
    config = recipe.load(name)
    assert footprint(config, CPU, "fp32").a_sample == pytest.approx(kept_by_all_layers(config), rel=0.1)


def test_weights_are_counted_with_what_trains_them() -> None:
    config = recipe.load("mac-tiny")
    words: Any = SimpleNamespace(vocabulary=config.model.vocabulary, pad_id=0)
    weights = sum(one.numel() for one in build.make_model(config, words).parameters())
    assert footprint(config, CPU, "fp32").fixed == TRAINED * weights
    average = footprint(recipe.override(config, {"train.ema": 0.9}), CPU, "fp32").fixed
    assert average == (TRAINED + RESTING) * weights
    frozen = footprint(recipe.override(config, {"optim.freeze": "text"}), CPU, "fp32").fixed
    assert RESTING * weights < frozen < TRAINED * weights


def test_less_is_kept_where_less_is_asked() -> None:
    config = recipe.load("mac-tiny")

    def kept(**settings: Any) -> int:
        given = {key.replace("__", "."): value for key, value in settings.items()}
        return footprint(recipe.override(config, given), CPU, "fp32").a_sample

    assert kept(objective__mask_ratio=0.9) < kept() < kept(objective__mask_ratio=0.3) < kept(model__depth=6)
    assert kept(train__checkpointing=True) < 0.7 * kept()


def test_copies_of_weights_are_no_clips() -> None:
    """In bf16 less is kept of a clip; beside the weights stand their copies."""
    config = recipe.load("mac-tiny")
    exact, half = footprint(config, CPU, "fp32"), footprint(config, CPU, "bf16")
    assert half.a_sample < 0.8 * exact.a_sample
    assert exact.fixed < half.fixed < exact.fixed * (1 + 3 / TRAINED)


def test_it_leaves_the_draws_of_a_run_alone() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    footprint(recipe.load("mac-tiny"), CPU, "fp32")
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize(
    ("settings", "clips", "room", "told"),
    [
        ({}, 512, 100, "give --accumulate 8, or --set train.checkpointing=true"),
        ({"train.checkpointing": True}, 512, 100, "give --accumulate 8"),
        ({}, 61, 52, "give --accumulate 61, or --batch-size 60 with --accumulate 2, or --set train.checkpointing=true"),
        ({}, 61, 0, "take --set train.checkpointing=true, a smaller model, or more memory: not one clip fits"),
        ({}, 61, -1000, "take a smaller model, or more memory: not one clip fits"),
        (
            {"train.accumulate_how": "plain", "train.checkpointing": True}, 61, 1,
            "take a smaller model, or more memory: not two clips fit",
        ),
        (
            {"train.accumulate_how": "plain", "train.checkpointing": True}, 3, 2,
            "give --batch-size 2 with --accumulate 1",
        ),
    ],
)  # fmt: skip
def test_what_helps_where_a_batch_does_not_fit(settings: dict[str, Any], clips: int, room: int, told: str) -> None:
    one, config = Footprint(10**6, 1000, 0), recipe.override(recipe.load("mac-tiny"), settings)
    memory = int((one.fixed + (room + 0.5) * one.a_sample) / USABLE)
    assert one.at_once(memory) == max(0, room)
    assert one.advice(config, clips, memory) == told


@pytest.mark.parametrize(
    ("settings", "batch", "models", "told"),
    [
        ({}, 64, 1, "give --num-processes 1, or take a smaller model"),
        ({}, 2048, 1, "give --num-processes 1 with --accumulate 4, or take a smaller model"),
        ({"train.accumulate": 8}, 2048, 1, "give --num-processes 1, or take a smaller model"),
        ({}, 64, 5, "give --num-processes 4, or take a smaller model"),
        ({}, 64, 0, "take a smaller model, or more memory: not one clip fits"),
    ],
)
def test_fewer_processes_share_a_memory_that_is_too_small_for_all(
    settings: dict[str, Any], batch: int, models: int, told: str
) -> None:
    """A memory for so many models with up to 600 clips each, and eight processes."""
    one, config = Footprint(10**6, 1000, 0), recipe.override(recipe.load("mac-tiny"), settings)
    part = int(models * (one.fixed + 600 * one.a_sample) / USABLE) // 8
    assert one.advice(config, batch // 8, part, 1, 8, shared=True) == told
    assert "--num-processes" not in one.advice(config, batch // 8, part, 1, 8)


def test_processes_that_hold_one_model_together_have_room_for_more() -> None:
    one = Footprint(10**6, 1000, 0)
    assert one.at_once(10**6, spread=4) == int((USABLE - 0.25) * 1000)
    assert one.at_once(10**6) == 0


def test_it_imports_torch_alone() -> None:
    """The others, and torch's compiler, take longer to import than the counting takes."""
    heavy = ("timm", "torchvision", "transformers", "accelerate", "torch._dynamo")
    counted_too = ["mac-tiny", "miles-tiny", "simvtp-tiny"]
    script = (
        "import sys, torch; from vtr import recipe; from vtr.footprint import footprint\n"
        f"for name in {counted_too}: footprint(recipe.load(name), torch.device('cpu'), 'fp32')\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_its_own_work_does_not_grow_with_the_model() -> None:
    """As many operations for twelve layers as for one: nothing of what makes a model large is computed."""
    cost = []
    for depth in (1, 12):
        config = recipe.override(
            recipe.load("contrastive-tiny"), {"model.depth": depth, "model.text_depth": depth, "train.batch_size": 96}
        )
        cost.append(counted(lambda config=config: footprint(config, CPU, "fp32"))[0])
    assert cost[0] == cost[1] > 0
