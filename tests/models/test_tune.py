"""Frozen parts stay as they are, low-rank updates begin at nothing and merge into what they were."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel, GPT2Config, GPT2Model
from transformers.pytorch_utils import Conv1D

from vtr import api, build, recipe
from vtr.errors import ConfigError, InputError
from vtr.models.dual import DualEncoder
from vtr.models.joint import UnifiedEncoder
from vtr.models.text import TextEncoder, small_text
from vtr.models.tune import add_lora, freeze, merge_lora
from vtr.models.twin import TwinEncoder
from vtr.models.video import VideoEncoder

HEADS = {"vid_proj.weight", "vid_proj.bias", "txt_proj.1.weight", "txt_proj.1.bias"}
IDS = torch.randint(5, 50, (3, 7))


def model(attention: str = "divided", text: Any = None) -> DualEncoder:
    torch.manual_seed(0)
    video = VideoEncoder(16, 3, 2, 8, 1, 2, 16, attention)
    made = DualEncoder(video, TextEncoder(text or small_text(50, 16, 2, 2, 12), "last"), 8)
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.1 * torch.randn_like(value))
    made.log_temperature.requires_grad_(False)
    return made.eval()


def gpt2() -> Any:
    return GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=12)).eval()


def albert() -> Any:
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 12}
    return AlbertModel(AlbertConfig(vocab_size=50, embedding_size=8, hidden_size=16, **shape)).eval()


class Tanh(nn.Module):
    """A text model whose blocks are called what no other's are."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=16)
        self.words, self.stages = nn.Embedding(50, 16), nn.ModuleList([nn.Linear(16, 16)])


def trained(of: nn.Module) -> set[str]:
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
    assert {"video.norm.weight"} | HEADS <= left
    assert not [n for n in left if n.startswith(("video.pos", "video.patch", "video.cls", "video.temporal"))]
    assert not [n for n in left if n.startswith("text.")], "both of its blocks, and its words"
    learnt = model()
    learnt.log_temperature.requires_grad_(True)
    freeze(learnt, "2")
    assert "log_temperature" in trained(learnt)
    some = model()
    freeze(some, "text,1")
    assert {n.split(".")[2] for n in trained(some) if n.startswith("video.blocks")} == {"1", "2"}


def test_norms_of_the_two_copies_are_heads() -> None:
    made = TwinEncoder(UnifiedEncoder(50, 16, 2, 2, 8, 1, 2, 16))
    freeze(made, "2")
    assert trained(made) == {"video_norm.weight", "video_norm.bias", "text_norm.weight", "text_norm.bias"}


def test_a_number_concerns_towers_that_are_not_frozen_anyway() -> None:
    for text in (None, albert(), Tanh()):
        made = model(text=text)
        freeze(made, "text,3")
        assert trained(made) == {"video.norm.weight", "video.norm.bias"} | HEADS


def test_blocks_of_gpt2_are_frozen_with_its_words_and_positions() -> None:
    made = model(text=gpt2())
    freeze(made, "1")
    left = {name.removeprefix("text.model.") for name in trained(made) if name.startswith("text.")}
    assert {name.rpartition(".")[0] for name in left} == {
        "ln_f", "h.1.ln_1", "h.1.ln_2", "h.1.attn.c_attn", "h.1.attn.c_proj", "h.1.mlp.c_fc", "h.1.mlp.c_proj",
    }  # fmt: skip


def test_blocks_that_cannot_be_told_apart() -> None:
    with pytest.raises(
        ConfigError, match=r"freeze = 1: the text's 2 layers share the weights of 1.*\n.*freeze the whole text tower"
    ):
        freeze(model(text=albert()), "1")
    with pytest.raises(
        ConfigError, match=r"freeze = 1: the blocks of this text tower are not known.*\n.*freeze the whole text tower"
    ):
        freeze(model(text=Tanh()), "1")
    with pytest.raises(
        ConfigError, match=r"lora_rank = 2: the blocks of this text tower are not known.*\n.*leave it out;"
    ):
        add_lora(model(text=Tanh()), 2, 8.0)
    bare = Tanh()
    bare.layers = nn.ModuleList([nn.LayerNorm(16)])
    with pytest.raises(ConfigError, match=r"lora_rank = 2: the blocks of this text have no linear layers to update"):
        add_lora(model(text=bare), 2, 8.0)


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
    assert {name for name in left if "lora_" not in name} == HEADS | {"video.norm.weight", "video.norm.bias"}
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


@pytest.mark.parametrize("text", [gpt2, albert])
def test_lora_reaches_every_linear_layer_of_other_text_models(text: Any) -> None:
    made, plain = model(text=text()), model(text=text())
    tower = made.text.model
    blocks = tower.h if text is gpt2 else tower.encoder.albert_layer_groups
    layers = [name for name, part in blocks.named_modules() if isinstance(part, (nn.Linear, Conv1D))]
    assert len(layers) == (8 if text is gpt2 else 6)
    add_lora(made, 2, 8.0)
    left = {name for name in trained(made) if name.startswith("text.")}
    assert sum("lora_A" in name for name in left) == len(layers)
    whole = {name.removeprefix("text.model.").rpartition(".")[0] for name in left if "lora_" not in name}
    assert whole == ({"ln_f"} if text is gpt2 else {"pooler"}), "no words, no positions"
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "lora_B" in name:
                value.fill_(0.05)
    changed = vectors(made)[1]
    assert not torch.allclose(changed, vectors(plain)[1], atol=1e-2)
    merge_lora(made)
    assert set(made.state_dict()) == set(plain.state_dict())
    torch.testing.assert_close(vectors(made)[1], changed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learnt", [False, True])
def test_merged_updates_leave_a_fixed_temperature_fixed_and_make_room_for_others(learnt: bool) -> None:
    made = model()
    made.learn_temperature = learnt
    made.log_temperature.requires_grad_(learnt)
    before = trained(made)
    add_lora(made, 4, 8.0)
    merge_lora(made)
    assert trained(made) == before
    add_lora(made, 2, 8.0)  # peft warns of one beside another
    assert ("log_temperature" in trained(made)) == learnt


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        InputError, match=r"LoRA needs peft, which is not installed\n  hint: .*pip install '(peft>=|\.\[lora\]')"
    ):
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
    assert torch.equal(full.log_temperature, old.log_temperature), "it is not learnt"


def test_a_run_with_a_frozen_tower(run: Path, shards: Path, tmp_path: Path) -> None:
    api.finetune(run, shards, tmp_path / "out", overrides={"optim.freeze": "video"})
    old, new = (build.load_source(path).model.state_dict() for path in (run, tmp_path / "out"))
    for name, value in old.items():
        assert torch.equal(new[name], value) == (name.startswith("video.") or name == "log_temperature"), name
