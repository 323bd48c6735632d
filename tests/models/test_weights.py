"""Pretrained image weights land where they belong, and what does not fit is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from vtr.errors import ConfigError, WorkError
from vtr.models.video import VideoEncoder
from vtr.models.weights import load_timm, matching, timm_shape

SMALL = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A tiny ViT with a classifier, and where timm has saved it."""
    import timm
    from timm.models._hub import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=7, **SMALL)
    path = tmp_path_factory.mktemp("timm") / "vit"
    save_for_hf(model, str(path), model_args=SMALL, safe_serialization=True)
    return model.eval(), path


def encoder(attention: str = "divided", tubelet: int = 1, depth: int = 2, width: int = 32, size: int = 32):
    return VideoEncoder(width, depth, 2, 16, tubelet, 4, size, attention).eval()


@pytest.mark.parametrize("attention", ["divided", "joint"])
@pytest.mark.parametrize("tubelet", [1, 2])
def test_a_still_clip_of_one_slot_is_encoded_as_timm_encodes_the_picture(vit, attention: str, tubelet: int) -> None:
    model, path = vit
    mine = encoder(attention, tubelet)
    load_timm(mine, f"local-dir:{path}")
    picture = torch.randn(3, 3, 32, 32)
    clip = picture[:, None].expand(-1, tubelet, -1, -1, -1)
    with torch.no_grad():
        if attention == "divided":  # time attention is not timm's; silenced, its block is timm's
            for name, parameter in mine.named_parameters():
                if "timeattn" in name:
                    parameter.zero_()
        # In timm's order of channels within a patch: c, p, q.
        torch.testing.assert_close(mine(clip), model.forward_features(picture), rtol=1e-4, atol=1e-5)


def test_what_concerns_time_stays_as_it_began(vit) -> None:
    torch.manual_seed(3)
    mine = encoder("divided")
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    load_timm(mine, f"local-dir:{vit[1]}")
    kept = {name for name, value in mine.state_dict().items() if torch.equal(value, before[name])}
    assert "temporal_embed" in kept
    assert {name for name in before if "timeattn" in name} <= kept
    assert "pos_embed" not in kept
    assert "blocks.0.attn.qkv.weight" not in kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"depth": 1}, r"do not fit this encoder: blocks\.1\.\S+ has no place and 11 more"),
        ({"depth": 3}, r"do not fit this encoder: blocks\.2\.\S+ is missing and 11 more"),
        ({"width": 64}, r"do not fit this encoder: .* is \(1, 1, 32\), wanted \(1, 1, 64\)"),
    ],
)
def test_weights_of_another_shape_are_refused(vit, given: dict, words: str) -> None:
    mine = encoder("joint", **given)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    with pytest.raises(ConfigError, match=words + r"(?s:.*)choose model\.width"):
        load_timm(mine, f"local-dir:{vit[1]}")
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())


def saved(path: Path, model: nn.Module, shape: dict) -> str:
    from timm.models._hub import save_for_hf

    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    save_for_hf(model.eval(), str(path), model_args=shape, safe_serialization=True)
    return f"local-dir:{path}"


@pytest.mark.parametrize(
    "name",
    ["vit_base_patch16_clip_quickgelu_224", "vit_base_patch16_clip_224", "vit_base_patch16_224"],
)
def test_towers_of_timm(tmp_path: Path, name: str) -> None:
    """OpenAI's and OpenCLIP's image towers, ImageNet-21k and MAE: with the settings that they bring."""
    import timm

    model = timm.create_model(name, num_classes=0, **SMALL)
    where = saved(tmp_path / "vit", model, SMALL)
    shape = {key.removeprefix("model."): value for key, value in timm_shape(where).items()}
    assert shape["norm_pre"] == ("clip" in name)
    assert shape["activation"] == ("quick_gelu" if "quick" in name else "gelu")
    assert shape["pixels"] == ("clip" if "clip" in name else "half"), "augreg's ViTs want 0.5"
    mine = VideoEncoder(**shape, frames=2, size=32, attention="joint").eval()
    load_timm(mine, where)
    picture = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(mine(picture[:, None]), model.forward_features(picture), rtol=1e-4, atol=1e-4)


def test_siglip_has_no_cls(tmp_path: Path) -> None:
    """The encoder's own stays; the patches' part of the sums is SigLIP's."""
    import timm

    model = timm.create_model("vit_base_patch16_siglip_224", num_classes=0, **SMALL)
    where = saved(tmp_path / "vit", model, SMALL)
    assert timm_shape(where)["model.pixels"] == "half"
    mine = encoder("joint")
    cls = mine.cls_token.detach().clone()
    load_timm(mine, where)
    assert torch.equal(mine.cls_token, cls)
    assert not mine.pos_embed[:, 0].any()
    assert torch.equal(mine.pos_embed[:, 1:], model.pos_embed)
    assert torch.equal(mine.blocks[1].mlp.fc2.weight, model.blocks[1].mlp.fc2.weight)


def test_positions_of_another_grid_are_interpolated(vit) -> None:
    small, large = encoder("joint"), encoder("joint", size=64)
    for mine in (small, large):
        load_timm(mine, f"local-dir:{vit[1]}")
    picture = torch.randn(1, 1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(large(picture), small(picture), rtol=1e-4, atol=1e-5)


def test_weights_of_another_activation_are_refused(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=0, **SMALL)
    with pytest.raises(ConfigError, match=r"were trained with QuickGELU\(\), this encoder has GELU"):
        load_timm(encoder("joint"), saved(tmp_path / "vit", model, SMALL))


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    import timm
    from timm.models._hub import save_for_hf

    model = timm.create_model("resnet10t", num_classes=0)
    save_for_hf(model, str(tmp_path / "resnet"), safe_serialization=True)
    with pytest.raises(ConfigError, match="are not of a vision transformer"):
        load_timm(encoder(), f"local-dir:{tmp_path / 'resnet'}")


@pytest.mark.parametrize("name", ["vit_base_patch16_224.augreg_in21k", "no_such_model", "local-dir:/nowhere"])
def test_weights_that_cannot_be_had(name: str) -> None:
    """The hub is out of reach in the tests (HF_HUB_OFFLINE)."""
    with pytest.raises(WorkError, match=rf"the timm weights '{name}' could not be loaded(?s:.*)local-dir:PATH"):
        load_timm(encoder(), name)


def test_a_torn_download(vit, tmp_path: Path) -> None:
    shutil.copytree(vit[1], tmp_path / "torn")
    file = tmp_path / "torn" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WorkError, match="could not be loaded"):
        load_timm(encoder(), f"local-dir:{tmp_path / 'torn'}")


@pytest.mark.parametrize(
    "given",
    [
        {"model_args": {"nosuch": 1}}, {"model_args": {"depth": "two"}}, {"model_args": {"depth": 0}}, [],
        {"model_args": {"num_heads": 3}}, {"model_args": {"num_heads": 0}}, {"model_args": {"patch_size": 0}},
        {"model_args": {"act_layer": "nosuch"}}, {"architecture": None}, {"pretrained_cfg": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_directory_whose_settings_fit_no_model(vit, tmp_path: Path, given: dict | list) -> None:
    shutil.copytree(vit[1], tmp_path / "bad")
    file = tmp_path / "bad" / "config.json"
    told = json.loads(file.read_text())
    for name, value in given.items() if isinstance(given, dict) else ():
        told[name] = SMALL | value if name == "model_args" else value
    if given == {"architecture": None}:
        del told["architecture"]
    file.write_text(json.dumps(told if given else given))
    words = r"bad' could not be loaded from the directory: .+\n.*local-dir:PATH"
    with pytest.raises(WorkError, match=words):
        timm_shape(f"local-dir:{tmp_path / 'bad'}")
    with pytest.raises((WorkError, ConfigError), match=rf"{words}|are not of the model that their config\.json names"):
        load_timm(encoder(), f"local-dir:{tmp_path / 'bad'}")


def test_a_directory_with_tensors_missing_and_strange_ones(vit, tmp_path: Path) -> None:
    """timm's own message has several lines; the first names no tensor."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(vit[1], tmp_path / "bad")
    file = tmp_path / "bad" / "model.safetensors"
    held = load_file(file)
    save_file({name: value for name, value in held.items() if "blocks.1" not in name} | {"zzz": torch.ones(2)}, file)
    with pytest.raises(
        ConfigError, match=r'Missing key.*"blocks\.1\..*Unexpected key.*"zzz".*\n.*save the model'
    ) as caught:
        load_timm(encoder(), f"local-dir:{tmp_path / 'bad'}")
    assert len(str(caught.value)) < 1000


def test_a_state_must_match_whole() -> None:
    model = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    matching(model, good, "here")
    assert torch.equal(model.weight, good["weight"])
    with pytest.raises(ConfigError, match=r"weights in here are not of this model: bias is missing"):
        matching(model, {"weight": good["weight"]}, "here")
    with pytest.raises(ConfigError, match="more is unknown"):
        matching(model, good | {"more": torch.ones(1)}, "here")
    with pytest.raises(ConfigError, match=r"bias is \(4,\), wanted \(3,\)"):
        matching(model, good | {"bias": torch.ones(4)}, "here")
