"""Frozen parts stay as they are, low-rank updates begin at nothing and merge into what they were."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vtr import api, build, recipe
from vtr.errors import ConfigError, InputError
from vtr.models.dual import DualEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.tune import add_lora, freeze, merge_lora
from vtr.models.video import VideoEncoder

IDS = torch.randint(5, 50, (3, 7))


def model(attention: str = "divided") -> DualEncoder:
    torch.manual_seed(0)
    video = VideoEncoder(16, 3, 2, 8, 1, 2, 16, attention)
    made = DualEncoder(video, TextEncoder(small_text(50, 16, 2, 2, 12)), 8)
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.1 * torch.randn_like(value))
    made.log_temperature.requires_grad_(False)
    return made.eval()


def trained(of: DualEncoder) -> set[str]:
    return {name for name, value in of.named_parameters() if value.requires_grad}


def vectors(of: DualEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    clips = torch.linspace(-1, 1, 2 * 2 * 3 * 256).view(2, 2, 3, 16, 16)
    with torch.no_grad():
        return of.encode_video(clips), of.encode_text(IDS, torch.ones_like(IDS, dtype=torch.bool))


def test_a_tower_is_frozen_and_heads_are_not() -> None:
    for part, other in (("text", "video"), ("video", "text")):
        made = model()
        freeze(made, part)
        left = {name.partition(".")[0] for name in trained(made)}
        assert left == {other, "vid_proj", "txt_proj"}
    made = model()
    freeze(made, "text,video")
    assert {name.partition(".")[0] for name in trained(made)} == {"vid_proj", "txt_proj"}


def test_first_blocks_are_frozen_with_what_is_below() -> None:
    made = model()
    freeze(made, "2")
    left = trained(made)
    assert {name.split(".")[2] for name in left if name.startswith("video.blocks")} == {"2"}
    assert "video.norm.weight" in left
    assert not [n for n in left if n.startswith(("video.pos", "video.patch", "video.cls", "video.temporal"))]
    assert not [n for n in left if n.startswith("text.")], "both of its blocks, and its words"
    some = model()
    freeze(some, "text,1")
    assert {n.split(".")[2] for n in trained(some) if n.startswith("video.blocks")} == {"1", "2"}


def test_what_cannot_be_frozen() -> None:
    with pytest.raises(ConfigError, match=r"freeze = 3, the text has 2 blocks\n  hint: give fewer"):
        freeze(model(), "3")
    with pytest.raises(ConfigError, match=r"optim\.freeze = text: this model has no text tower of its own"):
        freeze(torch.nn.Linear(2, 2), "text")
    with pytest.raises(ConfigError, match=r"'words' is unknown\n  hint: give video, text or a number of blocks"):
        recipe.override(recipe.load("mac-tiny"), {"optim.freeze": "words"})


@pytest.mark.parametrize("attention", ["divided", "joint"])
def test_lora_begins_at_nothing_and_merges_into_the_matrices(attention: str) -> None:
    made, plain = model(attention), model(attention)
    before = vectors(plain)
    add_lora(made, 2, 8.0)
    for ours, theirs in zip(vectors(made), before, strict=True):
        assert torch.equal(ours, theirs)
    left = trained(made)
    heads = {"vid_proj.weight", "vid_proj.bias", "txt_proj.1.weight", "txt_proj.1.bias"}
    assert {name for name in left if "lora_" not in name} == heads | {"video.norm.weight", "video.norm.bias"}
    matrices = 6 if attention == "divided" else 4
    assert sum("lora_A" in name for name in left) == 3 * matrices + 2 * 6
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "lora_" in name:
                value.copy_(0.3 * torch.randn(value.shape, generator=random))
    changed = vectors(made)
    assert not torch.allclose(changed[0], before[0], atol=1e-2)
    assert not torch.allclose(changed[1], before[1], atol=1e-2)
    # alpha / rank = 4 times B A, as the paper has it
    qkv = made.video.blocks[0].attn.qkv
    a, b = qkv.lora_A["default"].weight, qkv.lora_B["default"].weight
    expected = plain.video.blocks[0].attn.qkv.weight + 4 * b @ a
    merge_lora(made)
    torch.testing.assert_close(made.video.blocks[0].attn.qkv.weight, expected, rtol=1e-5, atol=1e-6)
    assert set(made.state_dict()) == set(plain.state_dict())
    for ours, theirs in zip(vectors(made), changed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"LoRA needs peft, which is not installed\n  hint: pip install 'vtr\[lora\]'"):
        add_lora(model(), 2, 8.0)


def test_a_run_tuned_by_lora(run: Path, shards: Path, test_shards: Path, tmp_path: Path) -> None:
    """What was updated stays as it was; the run resumes, embeds, and is tuned on, by LoRA or without."""
    given = {"model.lora_rank": 2, "optim.lr": 1e-2, "optim.freeze": "text"}
    out = tmp_path / "lora"
    first = api.finetune(run, shards, out, overrides=given)
    assert api.finetune(run, shards, out, overrides=given) == first
    old, new = build.load_source(run).model, build.load_source(out).model
    base = new.video.blocks[0].attn.qkv
    assert torch.equal(base.base_layer.weight, old.video.blocks[0].attn.qkv.weight)
    assert base.lora_B["default"].weight.any()
    assert not new.text.model.transformer.layer[0].attention.q_lin.lora_B["default"].weight.any(), "frozen"
    assert not torch.equal(new.vid_proj.weight, old.vid_proj.weight)
    merged = build.load_model(out, "cpu", "fp32").embedder.model
    assert not [name for name in merged.state_dict() if "lora" in name]
    clips = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(merged.encode_video(clips), new.encode_video(clips), rtol=1e-4, atol=1e-5)
    assert api.evaluate(out, test_shards, device="cpu", precision="fp32")["videos"] == 12
    api.finetune(out, shards, tmp_path / "more", overrides={"optim.freeze": ""})
    assert build.load_source(tmp_path / "more").config.model.lora_rank == 2
    api.finetune(out, shards, tmp_path / "full", overrides={"model.lora_rank": 0, "optim.freeze": ""})
    full = build.load_source(tmp_path / "full").model
    assert set(full.state_dict()) == set(old.state_dict())
    assert all(p.requires_grad for name, p in full.named_parameters() if name != "log_temperature")


def test_a_run_with_a_frozen_tower(run: Path, shards: Path, tmp_path: Path) -> None:
    api.finetune(run, shards, tmp_path / "out", overrides={"optim.freeze": "video"})
    old, new = (build.load_source(path).model.state_dict() for path in (run, tmp_path / "out"))
    for name, value in old.items():
        assert torch.equal(new[name], value) == (name.startswith("video.") or name == "log_temperature"), name
