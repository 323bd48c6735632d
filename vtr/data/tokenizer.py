"""Captions to token ids: a tokenizer from the hub, a directory, or one trained on the captions themselves.

What a run keeps is a directory that transformers' `AutoTokenizer` loads; here it is read by the `tokenizers` library
alone, which loads in milliseconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vtr import plainjson
from vtr.data import lengthening
from vtr.errors import ConfigError, DataError, WorkError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# Shapes come in few sizes: a compiled model and a CPU's allocator both like to see the same ones again.
ROUND = 8
# One of these is where a tokenizer is.
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
TOLD = 300  # letters of a name or a reason that an error tells
HUB_S = 3.0  # seconds in which a hub answers that is there


@dataclass(frozen=True)
class Tokens:
    """ids (B,L) int64, attention (B,L) bool, maskable (B,L) bool (words: not special, not padding)."""

    ids: npt.NDArray[np.int64]
    attention: npt.NDArray[np.bool_]
    maskable: npt.NDArray[np.bool_]


class CaptionTokenizer:
    """`tokenizer(captions) -> Tokens`, at most `length` tokens each with CLS and SEP, padded together."""

    def __init__(self, backend: Tokenizer, special: dict[str, str], length: int = 32, *, fixed: bool = False) -> None:
        self.backend, self.special, self.length = backend, special, length
        padding = special.get("pad_token", "")
        pad = backend.token_to_id(padding)
        mask = backend.token_to_id(special["mask_token"]) if "mask_token" in special else None
        if pad is None:
            raise DataError(f"the tokenizer has no padding token {padding!r}", "choose another model.text")
        lengthening.check(backend)
        numbers = backend.get_vocab().values()
        self._vocabulary = max(len(numbers), max(numbers) + 1)
        self.pad_id: int = pad
        # A tokenizer without a mask token (CLIP's) hides words behind its padding or unknown token.
        self.mask_id: int = pad if mask is None else mask
        backend.enable_truncation(length)
        backend.enable_padding(
            pad_id=pad,
            pad_token=padding,
            length=length if fixed else None,
            pad_to_multiple_of=None if fixed else min(ROUND, length),
        )

    @property
    def vocabulary(self) -> int:
        """How many rows a table of words needs: one for each token, the last number and all below it."""
        return self._vocabulary

    def __call__(self, captions: Sequence[str]) -> Tokens:
        backend = self.backend
        try:
            rows = backend.encode_batch(list(captions))
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # of a pattern without end in a tokenizer.json the library panics
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"the tokenizer cannot take a caption: {why}", "use another model or tokenizer") from error
        ids = np.array([row.ids for row in rows], np.int64)
        attention = np.array([row.attention_mask for row in rows], bool)
        special = np.array([row.special_tokens_mask for row in rows], bool)
        return Tokens(ids[:, : self.length], attention[:, : self.length], (attention & ~special)[:, : self.length])

    def save(self, directory: Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, which AutoTokenizer reads."""
        directory.mkdir(parents=True, exist_ok=True)
        # How captions are padded is a choice of the batch, so what is kept pads nothing.
        kept = json.loads(self.backend.to_str()) | {"padding": None}
        (directory / "tokenizer.json").write_text(json.dumps(kept))
        settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": self.length}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings | self.special, indent=1))


def load(directory: Path, length: int, *, fixed: bool = False) -> CaptionTokenizer:
    """The tokenizer kept in `directory`. Raises DataError when it is not one."""
    from tokenizers import Tokenizer

    try:
        special = plainjson.load(directory / "tokenizer_config.json")
        names = {name: _text(special[name]) for name in SPECIAL if special.get(name)}
        backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
        made = CaptionTokenizer(backend, names, length, fixed=fixed)
        made.backend.encode("a word")
    except (KeyboardInterrupt, SystemExit, GeneratorExit, DataError):
        raise
    except BaseException as error:  # the library raises bare Exception, and of its own faults less than that
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{directory} holds no tokenizer that can be read: {why}", "a run keeps one in tokenizer/"
        ) from error
    return made


def pretrained(name: str, length: int, *, fixed: bool = False) -> CaptionTokenizer:
    """A transformers tokenizer by hub name or local directory. Raises WorkError when it cannot be had."""
    from transformers import AutoTokenizer

    whereabouts(name)  # transformers would ask a hub that does not answer for minutes
    try:
        whole = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # what transformers makes of damaged files has many kinds
        raise _absent(name, (str(error).strip() or type(error).__name__).splitlines()[0]) from error
    special = {key: str(value) for key in SPECIAL if (value := getattr(whole, key, None))}
    special.setdefault("pad_token", str(whole.eos_token))
    return CaptionTokenizer(whole.backend_tokenizer, special, length, fixed=fixed)


def whereabouts(name: str) -> str:
    """Where the tokenizer of `name` is, told in seconds. Raises WorkError when it can be had from nowhere."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if os.path.isdir(name):  # noqa: PTH112 - Path's raises for a name too long
        if not any((Path(name) / file).is_file() for file in FILES):
            raise _absent(name, f"the directory has none of {', '.join(FILES)}")
        return f"in the directory {name}"
    try:
        if any(isinstance(try_to_load_from_cache(name, file), str) for file in FILES):
            return f"of {name}, in the model hub's cache"
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_S)
    except Exception as error:  # of the network or the hub: the library has many kinds
        raise _absent(name, f"it is not in the cache, and {str(error).splitlines()[0]}") from error
    return f"of {name}, to be fetched from the model hub"


def _absent(name: str, why: str) -> WorkError:
    name, why = (text if len(text) <= TOLD else f"{text[:TOLD]}.." for text in (name, why))
    return WorkError(
        f"the tokenizer of {name!r} could not be loaded: {why}",
        "give a local directory made by save_pretrained as model.text, or connect to the model hub",
    )


class LaterTokenizer(CaptionTokenizer):
    """The tokenizer `name`, fetched when it is first used: vectors of clips and of token ids need none.

    What is used of it, not the making of it, raises WorkError when it cannot be had, ConfigError when it knows more
    tokens than the `rows` of the model that it is for (or fewer, where they must be `exact`).
    """

    def __init__(self, name: str, length: int, rows: int, *, exact: bool = False, fixed: bool = False) -> None:
        self._wanted = name, length, rows, exact, fixed

    @property
    def vocabulary(self) -> int:
        """As many tokens as the weights have rows, known before the tokenizer is."""
        return self._wanted[2]

    def __getattr__(self, attribute: str) -> Any:
        # Asked for what is not there yet. A copy in another process is asked for `__setstate__` before all else.
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        name, length, rows, exact, fixed = self._wanted
        try:
            fetched = pretrained(name, length, fixed=fixed)
        except WorkError as error:
            hint = "name a directory that save_pretrained made, as in frozen:PATH,text=DIR, or connect to the model hub"
            raise WorkError(error.message, hint) from error
        if fetched.vocabulary > rows or (exact and fetched.vocabulary < rows):
            raise ConfigError(
                f"the tokenizer of {name!r} has {fetched.vocabulary} tokens, the weights have {rows}",
                "name the text model that the weights were trained with: frozen:PATH,text=NAME",
            )
        vars(self).update(vars(fetched))
        return vars(self)[attribute]


def train(captions: Iterable[str], length: int, vocabulary: int = 8192, *, fixed: bool = False) -> CaptionTokenizer:
    """A WordPiece vocabulary learned from `captions`, lower-cased, with BERT's special tokens around each caption.

    The same captions give the same vocabulary, in any order. Every letter is kept, however small `vocabulary` is.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    unknown, special = SPECIAL["unk_token"], list(SPECIAL.values())
    learner, captions = Tokenizer(models.WordPiece(unk_token=unknown)), list(captions)
    learner.normalizer = normalizers.BertNormalizer(lowercase=True)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The library numbers the letters inside words in the order of a hash table, and breaks ties by number: the same
    # captions would give another vocabulary in every run. Named beforehand, the letters have the same numbers always.
    letters = sorted(
        {f"##{letter}" for caption in captions for word in _words(learner, caption) for letter in word[1:]}
    )
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special + letters, show_progress=False)
    learner.train_from_iterator(captions, trainer)

    # The letters were named as special tokens, which no letter is; so the vocabulary moves to a tokenizer without them.
    backend = Tokenizer(models.WordPiece(vocab=learner.get_vocab(), unk_token=unknown))
    backend.normalizer, backend.pre_tokenizer = learner.normalizer, learner.pre_tokenizer
    backend.add_special_tokens(special)
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    backend.post_processor = processors.BertProcessing((sep, special.index(sep)), (cls, special.index(cls)))
    return CaptionTokenizer(backend, dict(SPECIAL), length, fixed=fixed)


def _words(tokenizer: Tokenizer, caption: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(caption)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def _text(token: str | dict[str, Any]) -> str:
    """A special token, which older files write as an object."""
    return str(token["content"]) if isinstance(token, dict) else token
