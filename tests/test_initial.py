"""A new run begins with another's weights: they are what was there, and training goes on from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from vtr import api, build, recipe
from vtr.errors import ConfigError, InputError, RunError, WorkError
from vtr.initial import adapted, initial

SHORT = {"train.steps": 2, "train.save_every": 2}
UNIFIED = {"objective.name": "contrastive", "model.kind": "unified", "model.embed_dim": 32, "optim.lr": 1e-12}


def test_a_run_as_a_start(run: Path, nano: Path) -> None:
    """Its model comes whole; masks, frames, size and temperature are the new recipe's."""
    base = recipe.override(
        recipe.load(str(nano)),
        {"model.width": 64, "model.attention": "divided", "model.temperature": 0.1, "model.drop_path": 0.2}
        | {"objective.mask_ratio": 0.25},
    )
    begun = initial(base, str(run))
    old = build.load_source(run)
    assert begun.whole is not None
    assert (begun.config.model.width, begun.config.model.attention) == (32, "joint")
    assert (begun.config.objective.mask_ratio, begun.config.model.drop_path) == (0.25, 0.2)
    assert begun.whole.model.temperature.item() == pytest.approx(0.1)
    for (name, a), b in zip(begun.whole.model.state_dict().items(), old.model.state_dict().values(), strict=True):
        assert torch.equal(a, b) or name == "log_temperature"


def test_what_concerns_training_stays_the_recipes(run: Path, nano: Path) -> None:
    base = recipe.override(recipe.load(str(nano)), {"model.lora_rank": 2, "model.lora_alpha": 4.0})
    begun = initial(base, str(run))
    assert begun.whole is not None
    updates = [name for name, _ in begun.whole.model.named_parameters() if "lora_" in name]
    assert updates
    assert begun.config.model.lora_rank == 2
    rebuilt = build.make_model(begun.config, begun.whole.tokenizer)
    assert rebuilt.state_dict().keys() == begun.whole.model.state_dict().keys()


def test_captions_for_which_there_are_no_positions(nano: Path, shards: Path, distilbert: Path, tmp_path: Path) -> None:
    """Refused before the first step, not at the first long caption; of other weights they are cut to what fits."""
    given = {**SHORT, "model.text": str(distilbert), "data.words": 33}
    with pytest.raises(ConfigError, match=r"data\.words = 33, .* captions of 32 tokens\n.*--set data\.words=32"):
        api.pretrain(str(nano), shards, tmp_path / "out", overrides=given)
    assert not (tmp_path / "out").exists()
    api.pretrain(str(nano), shards, tmp_path / "run", overrides=given | {"data.words": 20})
    base = recipe.override(recipe.load(str(nano)), {"data.words": 40})
    begun = initial(base, str(tmp_path / "run"))
    assert begun.whole is not None
    assert (begun.config.data.words, begun.whole.tokenizer.length) == (32, 32)
    unified = {"objective.name": "contrastive", "model.kind": "unified", "model.embed_dim": 32, "data.words": 513}
    with pytest.raises(ConfigError, match=r"data\.words = 513, .* captions of 512 tokens"):
        build.make_unified(recipe.override(recipe.load(str(nano)), unified), 100, fetch=False)


def test_a_dropout_of_its_own(nano: Path) -> None:
    unified = {"objective.name": "contrastive", "model.kind": "unified", "model.embed_dim": 32, "model.dropout": 0.3}
    config = recipe.override(recipe.load(str(nano)), unified)
    model = build.make_unified(recipe.override(config, {"model.dropout": 0.1}), 100, fetch=False)
    assert adapted(model, config).embeddings.dropout.p == 0.3


def test_a_setting_that_the_weights_contradict(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    """Asked for by name, it is not silently left out; what the recipe alone says, is."""
    with pytest.raises(ConfigError, match=r"brings model.attention = joint, and divided was asked for"):
        api.pretrain(
            str(nano), shards, tmp_path / "out", overrides={**SHORT, "model.attention": "divided"}, init_from=str(run)
        )
    assert not (tmp_path / "out").exists()
    base = recipe.override(recipe.load(str(nano)), {"model.attention": "divided"})
    assert initial(base, str(run), {"data.frames": base.data.frames}).config.model.attention == "joint"


def test_more_frames_and_pixels(run: Path, nano: Path) -> None:
    """From 4 frames in 2 slots to 8 in 4: new positions in time begin at zero, as in Frozen's curriculum."""
    base = recipe.override(recipe.load(str(nano)), {"data.frames": 8, "data.size": 48, "data.resize": 56})
    begun = initial(base, str(run))
    assert begun.whole is not None
    video, old = begun.whole.model.video, build.load_source(run).model.video
    assert video.temporal_embed.shape[1] == 4
    assert torch.equal(video.temporal_embed[:, :2], old.temporal_embed)
    assert not video.temporal_embed[:, 2:].any()
    assert video.pos_embed.shape[1] == 1 + 36
    rebuilt = build.make_model(begun.config, begun.whole.tokenizer)
    shapes = {name: value.shape for name, value in rebuilt.state_dict().items()}
    assert shapes == {name: value.shape for name, value in begun.whole.model.state_dict().items()}


def test_pretraining_from_a_run_resumes_and_refuses_another_start(
    run: Path, nano: Path, shards: Path, tmp_path: Path
) -> None:
    config = recipe.override(recipe.load(str(nano)), {**SHORT, "data.frames": 8})
    first = api.pretrain(config, shards, tmp_path / "out", init_from=str(run))
    assert api.pretrain(config, shards, tmp_path / "out", init_from=str(run)) == first
    assert build.load_model(tmp_path / "out", "cpu", "fp32").config.data.frames == 8
    with pytest.raises(RunError, match=r"was started from the weights [0-9a-f]{12}, not nothing"):
        api.pretrain(config, shards, tmp_path / "out")


def test_a_start_is_used(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    """With a learning rate of next to nothing the weights stay where they began."""
    config = recipe.override(recipe.load(str(nano)), {**SHORT, "optim.lr": 1e-12})
    api.pretrain(config, shards, tmp_path / "out", init_from=str(run))
    ours, theirs = (build.load_source(path).model.state_dict() for path in (tmp_path / "out", run))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-8)


def test_towers_as_a_start(nano: Path, shards: Path, timm_vit: Path, tmp_path: Path) -> None:
    config = recipe.override(
        recipe.load(str(nano)), {**SHORT, "model.tubelet": 1, "model.patch": 16, "optim.lr": 1e-12}
    )
    api.pretrain(config, shards, tmp_path / "out", init_from=f"timm:local-dir:{timm_vit}")
    made = build.load_source(tmp_path / "out")
    assert (made.config.model.patch, made.config.model.video) == (8, f"local-dir:{timm_vit}")
    from safetensors.torch import load_file

    theirs = load_file(timm_vit / "model.safetensors")
    torch.testing.assert_close(
        made.model.video.blocks[0].mlp.fc1.weight, theirs["blocks.0.mlp.fc1.weight"], rtol=1e-5, atol=1e-8
    )


@pytest.fixture(scope="module")
def videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(2)
    shape = VideoMAEConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96, image_size=32, patch_size=16,
        num_frames=4, tubelet_size=2,
    )  # fmt: skip
    out = tmp_path_factory.mktemp("hub") / "videomae"
    VideoMAEModel(shape).save_pretrained(out)
    return out


@pytest.mark.parametrize("prefix", ["videomae:", ""])
def test_a_videomae_as_a_start(nano: Path, shards: Path, videomae: Path, tmp_path: Path, prefix: str) -> None:
    """It brings its sizes to a recipe of SimVTP, and its patches and blocks are what training begins with."""
    from safetensors.torch import load_file

    config = recipe.override(recipe.load(str(nano)), SHORT | UNIFIED)
    api.pretrain(config, shards, tmp_path / "out", init_from=f"{prefix}{videomae}")
    made = build.load_source(tmp_path / "out")
    shape = made.config.model
    assert (shape.width, shape.embed_dim, shape.depth, shape.patch, shape.tubelet) == (24, 24, 2, 16, 2)
    theirs = load_file(videomae / "model.safetensors")
    for ours, name in (
        ("blocks.1.mlp.fc1.weight", "encoder.layer.1.intermediate.dense.weight"),
        ("blocks.0.attn.q_bias", "encoder.layer.0.attention.attention.q_bias"),
    ):
        torch.testing.assert_close(made.model.state_dict()[ours], theirs[name], rtol=1e-5, atol=1e-8)


def test_a_videomae_with_another_activation(nano: Path, shards: Path, videomae: Path, tmp_path: Path) -> None:
    shutil.copytree(videomae, tmp_path / "relu")
    settings = tmp_path / "relu" / "config.json"
    settings.write_text(settings.read_text().replace('"gelu"', '"relu"'))
    config = recipe.override(recipe.load(str(nano)), SHORT | UNIFIED)
    with pytest.raises(ConfigError, match=r"were trained with ReLU\(\), this encoder has GELU"):
        api.pretrain(config, shards, tmp_path / "out", init_from=f"videomae:{tmp_path / 'relu'}")


def test_towers_of_another_kind_of_encoder(nano: Path, videomae: Path, timm_vit: Path) -> None:
    base = recipe.load(str(nano))
    with pytest.raises(ConfigError, match=r"videomae has nothing for model\.kind = 'dual'\n.*like simvtp-base"):
        initial(base, str(videomae))
    unified = {"objective.name": "contrastive", "model.kind": "unified", "model.embed_dim": 32}
    with pytest.raises(ConfigError, match=r"vit has nothing for model\.kind = 'unified'\n.*like mac-base"):
        initial(recipe.override(base, unified), str(timm_vit))
    with pytest.raises(WorkError, match=r"the video model 'no/such' could not be loaded(?s:.*)as model\.video"):
        initial(recipe.override(base, unified), "videomae:no/such")


def test_what_no_run_can_begin_with(nano: Path, distilbert: Path) -> None:
    with pytest.raises(InputError, match=r"holds a distilbert, which is no start\n.*CLIP, VideoMAE or a timm ViT"):
        initial(recipe.load(str(nano)), str(distilbert))
    unified = {"objective.name": "contrastive", "model.kind": "unified", "model.embed_dim": 32}
    with pytest.raises(ConfigError, match="is a distilbert, not a VideoMAE"):
        initial(recipe.override(recipe.load(str(nano)), unified), f"videomae:{distilbert}")


def test_an_objective_that_cannot_train_it(run: Path, nano: Path) -> None:
    base = recipe.override(recipe.load(str(nano)), {"data.frames": 3, "model.tubelet": 1})
    with pytest.raises(ConfigError, match="clips of 3 frames of 32 pixels do not divide"):
        initial(base, str(run))
