"""The text tower: any encoder of transformers, read out at one place.

Letters: B batch, L text tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtr.errors import ConfigError, WorkError
from vtr.models import configs
from vtr.models.sketch import Sketch, SketchedText

POOLS = ("cls", "mean", "last")
# What tables of positions are named in transformers.
TABLES = ("position_embeddings", "position_embedding", "embed_positions", "positions_embed", "wpe")


class TextEncoder(nn.Module):
    """(B,L) int64, (B,L) bool -> (B,D): `cls` takes the first token, `mean` all but padding, `last` the last word."""

    def __init__(self, model: Any, pool: str = "cls") -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f"pool {pool!r} is unknown", f"choose one of: {', '.join(POOLS)}")
        self.model, self.pool = model, pool
        self.width = int(model.config.hidden_size)

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        states: Tensor = self.model(input_ids=ids, attention_mask=attention.long()).last_hidden_state
        if self.pool == "cls":
            return states[:, 0]
        if self.pool == "mean":
            weight = attention.unsqueeze(-1).to(states.dtype)
            return (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        return states[torch.arange(len(states), device=ids.device), attention.long().sum(1).clamp(min=1) - 1]


def pretrained_text(name: str, *, weights: bool = True, role: str = "text") -> Any:
    """A transformers encoder by its hub name or local directory; without `weights` only its architecture.

    Raises WorkError, which names the `role` it has in a recipe, when it can be neither found here nor downloaded;
    ConfigError for a config of a far larger model than the weights beside it.
    """
    from transformers import AutoModel

    if weights:
        configs.check_folder(Path(name))
    whole_config = hub_config(name, role)
    with _told(name, role):
        if not weights:  # of CLIP, the text tower alone
            return AutoModel.from_config(getattr(whole_config, "text_config", whole_config))
        whole = AutoModel.from_pretrained(name, config=whole_config, trust_remote_code=False)
    return getattr(whole, "text_model", whole)


def hub_config(name: str, role: str = "text") -> Any:
    """The configuration of a transformers model by its hub name or local directory. Raises as `pretrained_text`."""
    from transformers import AutoConfig

    with _told(name, role):
        return configs.own_kernels(AutoConfig.from_pretrained(name, trust_remote_code=False))


@contextmanager
def _told(name: str, role: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # what transformers makes of damaged files has many kinds
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WorkError(
            f"the {role} model {name!r} could not be loaded: {why}",
            f"give a local directory made by save_pretrained as model.{role}, or connect to the model hub",
        ) from error


def check_words(model: nn.Module, words: int) -> None:
    """Raises ConfigError when captions of so many tokens are longer than the text model's table of positions."""
    places = positions(model)
    if places is not None and words > places:
        raise ConfigError(
            f"data.words = {words}, the text model has positions for captions of {places} tokens",
            f"give --set data.words={places}; of a released file, PATH,words={places}",
        )


def check_vocabulary(text: TextEncoder, vocabulary: int) -> None:
    """Raises ConfigError when a tokenizer has tokens for which the text model's table of words has no row."""
    table = text.model.get_input_embeddings() if hasattr(text.model, "get_input_embeddings") else None
    if isinstance(table, nn.Embedding) and table.num_embeddings < vocabulary:
        raise ConfigError(
            f"the tokenizer has tokens up to number {vocabulary - 1}, the text model's table of words "
            f"has {table.num_embeddings} rows",
            "take tokenizer and model from one place",
        )


def positions(model: nn.Module) -> int | None:
    """How many tokens a model's table of positions is for; None where it has none: any number."""
    for name, table in model.named_modules():
        if isinstance(table, nn.Embedding) and name.rpartition(".")[2] in TABLES:
            # RoBERTa and its kin count from the row after the padding's, OPT leaves two rows free.
            free = getattr(table, "offset", 0) if table.padding_idx is None else table.padding_idx + 1
            # Some tables have rows that nobody may use (Yoso's): the config's number is then the smaller one.
            told = (getattr(getattr(part, "config", None), "max_position_embeddings", None) for part in model.modules())
            return min([table.num_embeddings - free, *(number for number in told if isinstance(number, int))])
    return None


def text_of(config: Any) -> Any:
    """A transformers encoder of `config`'s shape with new weights; of a `Sketch`, what stands for one.

    Raises ConfigError where transformers can make none.
    """
    if isinstance(config, Sketch):
        return SketchedText(config)
    from transformers import AutoModel

    try:
        return AutoModel.from_config(configs.own_kernels(config))
    except MemoryError:
        raise
    except Exception as error:  # what transformers and torch make of odd numbers has many kinds
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"the config of the text model cannot be used: {why[:300]}", "give a model's own") from error


def small_text(vocabulary: int, width: int, depth: int, heads: int, length: int, pad_id: int = 0) -> Any:
    """A DistilBERT of any size with new weights, without dropout: what a small model trains from scratch."""
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(
        DistilBertConfig(
            vocab_size=vocabulary, dim=width, n_layers=depth, n_heads=heads, hidden_dim=4 * width,
            max_position_embeddings=length, dropout=0.0, attention_dropout=0.0, pad_token_id=pad_id,
            initializer_range=width**-0.5,  # 0.02 is BERT's, for a width of 768; narrow layers start too small with it
        )
    )  # fmt: skip
