"""The text tower's read-outs, its deafness to padding, and its door to transformers."""

from __future__ import annotations

import pytest
import torch

from vtr.errors import ConfigError, WorkError
from vtr.models.text import POOLS, TextEncoder, check_words, positions, pretrained_text, small_text, text_of


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return small_text(50, 16, 2, 4, 12)


IDS = torch.tensor([[2, 7, 8, 9, 3, 0], [2, 11, 3, 0, 0, 0]])
ATTENTION = IDS != 0


def test_pools_read_where_they_say(model):
    states = model(input_ids=IDS, attention_mask=ATTENTION.long()).last_hidden_state
    read = {pool: TextEncoder(model, pool)(IDS, ATTENTION) for pool in POOLS}
    assert torch.equal(read["cls"], states[:, 0])
    torch.testing.assert_close(read["mean"], torch.stack([states[0, :5].mean(0), states[1, :3].mean(0)]))
    assert torch.equal(read["last"], torch.stack([states[0, 4], states[1, 2]]))


@pytest.mark.parametrize("pool", POOLS)
def test_padding_is_not_read(model, pool):
    encoder = TextEncoder(model, pool)
    whole = encoder(IDS, ATTENTION)
    torch.testing.assert_close(encoder(IDS[1:, :3], ATTENTION[1:, :3]), whole[1:], rtol=1e-5, atol=1e-5)
    other = torch.where(ATTENTION, IDS, 33)
    torch.testing.assert_close(encoder(other, ATTENTION), whole, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(encoder(IDS, torch.zeros_like(ATTENTION))).all(), "not even a caption of nothing is NaN"


def test_an_unknown_pool_is_refused(model):
    with pytest.raises(ConfigError, match="pool 'max' is unknown\n  hint: choose one of: cls, mean, last"):
        TextEncoder(model, "max")


def test_a_small_text_model_is_what_was_asked_for(model):
    encoder = TextEncoder(model)
    assert encoder.width == 16
    assert encoder(IDS, ATTENTION).shape == (2, 16)
    assert model.config.n_layers == 2
    assert model.embeddings.position_embeddings.weight.shape == (12, 16)
    assert torch.equal(encoder.train()(IDS, ATTENTION), encoder(IDS, ATTENTION)), "no dropout"


def test_a_local_directory_is_a_pretrained_model(model, tmp_path):
    model.save_pretrained(tmp_path / "bert")
    loaded = pretrained_text(str(tmp_path / "bert"))
    assert torch.equal(TextEncoder(loaded)(IDS, ATTENTION), TextEncoder(model)(IDS, ATTENTION))
    bare = pretrained_text(str(tmp_path / "bert"), weights=False)
    assert {n: p.shape for n, p in bare.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    assert not torch.equal(bare.embeddings.word_embeddings.weight, model.embeddings.word_embeddings.weight)


@pytest.mark.parametrize("weights", [True, False])
def test_a_model_that_is_not_there_is_named(tmp_path, weights):
    missing = str(tmp_path / "no" / "such" / "model")
    with pytest.raises(
        WorkError, match=r"the text model '.*no/such/model' could not be loaded: .+\n  hint: give a local"
    ):
        pretrained_text(missing, weights=weights)


SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
FAMILIES = {
    "BertConfig": SMALL | {"max_position_embeddings": 20},
    "OpenAIGPTConfig": {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20},
    "YosoConfig": SMALL | {"max_position_embeddings": 20},
    "RobertaConfig": SMALL | {"max_position_embeddings": 22, "pad_token_id": 1},
    "MPNetConfig": SMALL | {"max_position_embeddings": 22, "pad_token_id": 1},
    "CLIPTextConfig": SMALL | {"max_position_embeddings": 20, "eos_token_id": 3, "bos_token_id": 2},
    "GPT2Config": {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20},
    "OPTConfig": {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16,
        "max_position_embeddings": 20, "word_embed_proj_dim": 16,
    },
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_captions_are_as_long_as_there_are_positions(family: str) -> None:
    """So many tokens go in and one more does not, wherever a family counts its positions from."""
    import transformers

    encoder = TextEncoder(text_of(getattr(transformers, family)(**FAMILIES[family]))).eval()
    assert positions(encoder) == 20
    check_words(encoder, 20)
    ids = torch.randint(4, 50, (1, 21))
    with torch.no_grad():
        assert encoder(ids[:, :20], torch.ones(1, 20, dtype=torch.bool)).shape == (1, 16)
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            encoder(ids, torch.ones(1, 21, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"data\.words = 21, .* captions of 20 tokens\n.*--set data\.words=20"):
        check_words(encoder, 21)


def test_a_model_without_a_table_of_positions_takes_any_caption() -> None:
    from transformers import ModernBertConfig

    encoder = TextEncoder(text_of(ModernBertConfig(**SMALL, pad_token_id=0)))
    assert positions(encoder) is None
    check_words(encoder, 10_000)
