import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from vtr.errors import ConfigError
from vtr.models import configs
from vtr.models.text import TextEncoder, check_vocabulary, hub_config, pretrained_text, text_of
from vtr.models.weights import timm_shape


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=100, **shape)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def change(folder: Path, name: str = "config.json", **new: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


def test_a_model_as_it_was_saved(bert: Path) -> None:
    configs.check_folder(bert)
    assert pretrained_text(str(bert)).config.hidden_size == 32


@pytest.mark.parametrize("huge", [{"hidden_size": 1 << 20}, {"vocab_size": 10**9}, {"num_hidden_layers": 10**8}])
def test_a_text_model_far_larger_than_its_weights(huge: dict[str, int], bert: Path) -> None:
    change(bert, **huge)
    with pytest.raises(
        ConfigError, match=r"its config is of a model of \d+|num_hidden_layers = 100000000, at most 1000"
    ):
        pretrained_text(str(bert))


@pytest.mark.parametrize("huge", [{"depth": 10**8}, {"embed_dim": 3 << 18}, {"img_size": 16 << 10}])
def test_a_timm_model_far_larger_than_its_weights(huge: dict[str, int], tmp_path: Path) -> None:
    small = {"depth": 1, "embed_dim": 48, "num_heads": 3, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", **small)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    told = {"architecture": "vit_tiny_patch16_224", "model_args": small | huge, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"its config is of a model of \d+|depth = 100000000, at most 1000"):
        timm_shape(f"local-dir:{tmp_path}")


def test_limits_are_raised(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(bert, vocab_size=1_000_000)
    with pytest.raises(ConfigError, match="--limits 10"):
        configs.check_folder(bert)
    monkeypatch.setenv("VTR_LIMITS", "10")
    configs.check_folder(bert)


def test_the_numbers_of_a_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(()), "c": torch.zeros(0, 9)}, tmp_path / "w.safetensors")
    assert configs.held_in(tmp_path / "w.safetensors") == 13


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_code_to_compute_with(name: str, bert: Path) -> None:
    change(bert, **{name: "somebody/kernel"})
    with pytest.raises(ConfigError, match=rf"asks in its config for {name} = 'somebody/kernel'"):
        pretrained_text(str(bert))
    config = hub_config(str(bert))  # as a run keeps one
    assert (config._attn_implementation, config._experts_implementation) == (None, None)
    change(bert, **{name: "eager"})
    pretrained_text(str(bert))


def test_a_config_of_which_no_model_can_be_made(bert: Path) -> None:
    config = hub_config(str(bert))
    config.max_position_embeddings = 10**30
    with pytest.raises(ConfigError, match="the config of the text model cannot be used"):
        text_of(config)


def test_tokens_without_a_row(bert: Path) -> None:
    text = TextEncoder(pretrained_text(str(bert)))
    check_vocabulary(text, 100)
    with pytest.raises(ConfigError, match="tokens up to number 100, the text model's table of words has 100 rows"):
        check_vocabulary(text, 101)
