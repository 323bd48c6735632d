"""Schedules at their corners, and who is pulled to zero."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from vtr.config import OptimConfig
from vtr.errors import ConfigError
from vtr.models.dual import DualEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.video import VideoEncoder
from vtr.optim import layers_above, parameter_groups, scaled_lr, tower_depths, warmup_cosine


def test_warm_up_is_linear_and_ends_at_one():
    assert [warmup_cosine(step, 100, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert warmup_cosine(4, 100, 4) == 1.0


def test_the_cosine_falls_to_the_floor_and_stays():
    curve = [warmup_cosine(step, 100, 10, 0.1) for step in range(101)]
    assert all(a >= b for a, b in pairwise(curve[9:]))
    assert curve[55] == pytest.approx(0.55), "half-way: the middle of 1 and the floor"
    assert curve[100] == pytest.approx(0.1)
    assert warmup_cosine(10**6, 100, 10, 0.1) == pytest.approx(0.1)
    assert curve[77] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 67 / 90)))


def test_no_warm_up_and_nothing_but_warm_up():
    assert warmup_cosine(0, 10, 0) == 1.0
    assert warmup_cosine(9, 10, 10) == 1.0
    assert 0 <= warmup_cosine(0, 0, 0) <= 1
    assert 0 < warmup_cosine(0, 1, 1) <= 1, "the first step learns something"


def test_learning_rate_scales_with_the_batch():
    assert scaled_lr(3e-5, 512, 512, 1e-4) == pytest.approx(3e-5)
    assert scaled_lr(3e-5, 128, 512, 1e-4) == pytest.approx(7.5e-6)
    assert scaled_lr(3e-5, 4096, 512, 1e-4) == pytest.approx(1e-4), "no higher than the cap"
    assert scaled_lr(3e-5, 4096, 512, 0) == pytest.approx(2.4e-4), "no cap"
    assert scaled_lr(3e-5, 4096, 0, 0) == pytest.approx(3e-5), "as it stands"
    assert scaled_lr(3e-4, 8, 0, 1e-4) == pytest.approx(1e-4)


@pytest.mark.parametrize("attention", ["divided", "joint"])
def test_matrices_decay_and_nothing_else(attention):
    video = VideoEncoder(width=16, depth=1, heads=2, patch=8, frames=2, size=16, attention=attention)
    model = DualEncoder(video, TextEncoder(small_text(50, 16, 1, 2, 12)), 8, learn_temperature=True)
    named = dict(model.named_parameters())
    decay, plain = parameter_groups(named.items(), 0.05)
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in named.items()}
    kept = {names[id(p)] for p in plain["params"]}
    pulled = {names[id(p)] for p in decay["params"]}
    assert kept | pulled == set(named)
    assert not kept & pulled
    for name in (
        "cls_token",
        "pos_embed",
        "temporal_embed",
        "patch_embed.bias",
        "norm.weight",
        "blocks.0.norm1.weight",
    ):
        assert f"video.{name}" in kept
    assert {"log_temperature", "vid_proj.bias"} <= kept
    assert "text.model.embeddings.position_embeddings.weight" in kept, "the caption's positions are positions too"
    assert not [name for name in pulled if "norm" in name.lower() or name.endswith("bias")]
    for name in (
        "patch_embed.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.weight",
        "blocks.0.mlp.fc1.weight",
    ):
        assert f"video.{name}" in pulled
    assert {"vid_proj.weight", "txt_proj.1.weight", "text.model.embeddings.word_embeddings.weight"} <= pulled
    torch.optim.AdamW([decay, plain], lr=1e-3).step()


def test_frozen_parameters_and_empty_groups_are_left_out():
    layer = torch.nn.Linear(4, 4)
    layer.weight.requires_grad_(False)
    groups = parameter_groups(layer.named_parameters(), 0.05)
    assert [group["weight_decay"] for group in groups] == [0.0]
    assert groups[0]["params"] == [layer.bias]


def towers():
    video = VideoEncoder(16, 3, 2, 8, 1, 2, 16)
    return DualEncoder(video, TextEncoder(small_text(50, 16, 2, 2, 12)), 8, learn_temperature=True)


def test_layer_decay_really_decays():
    """The rate of every single parameter, as the optimizer has it."""
    model = towers()
    optimizer = torch.optim.AdamW(parameter_groups(model.named_parameters(), 0.05, 1e-3, 0.5), lr=1e-3)
    lr = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    rates = {name: lr[id(p)] / 1e-3 for name, p in model.named_parameters()}
    assert len(rates) == len(lr), "each once"
    for name, wanted in {
        "vid_proj.weight": 1, "txt_proj.1.bias": 1, "log_temperature": 1, "video.norm.weight": 1,
        "video.blocks.2.mlp.fc1.weight": 0.5, "video.blocks.1.timeattn.qkv.bias": 0.25,
        "video.blocks.0.norm3.bias": 0.125,
        "video.patch_embed.weight": 0.0625, "video.pos_embed": 0.0625, "video.temporal_embed": 0.0625,
        "video.cls_token": 0.0625, "text.model.transformer.layer.1.ffn.lin1.weight": 0.5,
        "text.model.transformer.layer.0.attention.q_lin.weight": 0.25,
        "text.model.embeddings.word_embeddings.weight": 0.125, "text.model.embeddings.LayerNorm.bias": 0.125,
    }.items():  # fmt: skip
        assert rates[name] == pytest.approx(wanted), name
    assert optimizer.param_groups[0]["lr"] == 1e-3, "the highest first: it is the one that is logged"
    plain = {name for name, p in model.named_parameters() if decay[id(p)] == 0}
    two = parameter_groups(model.named_parameters(), 0.05)
    assert plain == {name for name, p in model.named_parameters() if any(p is q for q in two[1]["params"])}


def test_layers_decay_while_they_train():
    """One step of SGD with the same gradient everywhere moves each layer by its own rate."""
    model = towers()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(parameter_groups(model.named_parameters(), 0.0, 1.0, 0.5), lr=1.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name: (before[name] - p).mean().item() for name, p in model.named_parameters()}
    assert moved["video.blocks.2.attn.qkv.weight"] == pytest.approx(0.5, rel=1e-4)
    assert moved["video.blocks.0.attn.qkv.weight"] == pytest.approx(0.125, rel=1e-4)
    assert moved["vid_proj.weight"] == pytest.approx(1.0, rel=1e-4)


def test_towers_of_any_kind_are_counted():
    names = ["video.blocks.11.norm1.weight", "text.model.encoder.layer.5.output.dense.weight", "vid_proj.weight"]
    assert tower_depths(names) == {"video": 12, "text": 6}
    one = ["blocks.3.norm1.weight", "patch_embed.weight", "embeddings.word_embeddings.weight", "norm.weight"]
    assert tower_depths(one) == {"": 4}
    assert [layers_above(name, tower_depths(one)) for name in one] == [1, 5, 5, 0]


def test_blocks_by_many_names():
    gpt = [
        "text.model.wte.weight",
        "text.model.wpe.weight",
        "text.model.h.1.attn.c_attn.weight",
        "text.model.ln_f.bias",
    ]
    assert [layers_above(name, tower_depths(gpt)) for name in gpt] == [3, 3, 1, 0]
    inside = "text.model.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    albert = [inside, "text.model.encoder.embedding_hidden_mapping_in.weight", "text.model.pooler.weight"]
    assert [layers_above(name, tower_depths(albert)) for name in albert] == [1, 2, 0]
    bart = ["text.model.shared.weight", "text.model.encoder.layers.1.fc1.weight"]
    assert [layers_above(name, tower_depths(bart)) for name in bart] == [3, 1]
    t5 = ["text.model.encoder.block.2.layer.0.SelfAttention.q.weight", "text.model.encoder.block.1.layer.1.wi.weight"]
    assert tower_depths(t5) == {"text": 3}
    assert [layers_above(name, tower_depths(t5)) for name in t5] == [1, 2]


def test_positions_of_gpt2_are_not_pulled_to_zero():
    (group,) = parameter_groups([("text.model.wpe.weight", torch.nn.Parameter(torch.ones(3, 2)))], 0.05)
    assert group["weight_decay"] == 0


def test_layer_decay_wants_to_know_the_blocks():
    named = [("text.model.stages.0.weight", torch.nn.Parameter(torch.ones(2, 2)))]
    assert parameter_groups(named, 0.05, 1e-3)
    with pytest.raises(
        ConfigError, match=r"layer_decay = 0\.5: the blocks of this text tower are not known.*\n.*leave it"
    ):
        parameter_groups(named, 0.05, 1e-3, 0.5)
    named[0][1].requires_grad_(False)
    assert not parameter_groups(named, 0.05, 1e-3, 0.5), "it is frozen"


@pytest.mark.parametrize("value", [0.0, -0.5, 1.5])
def test_an_impossible_layer_decay(value):
    with pytest.raises(ConfigError, match=r"optim\.layer_decay = .*, it must be above 0 and at most 1"):
        OptimConfig(layer_decay=value)
