"""Captions to ids: padded as the batch wants, kept without padding, and the same vocabulary from the same captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

from vtr.data import tokenizer
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import DataError, WorkError

CAPTIONS = ["A red circle moves left", "two dogs run on the beach", "the blue square grows", "dogs grow, slowly"]


@pytest.fixture(scope="module")
def words() -> CaptionTokenizer:
    return tokenizer.train(CAPTIONS, 12, 150)


def test_a_caption_stands_between_its_special_tokens(words: CaptionTokenizer) -> None:
    tokens = words(["dogs run", ""])
    cls, sep, pad = (words.backend.token_to_id(name) for name in ("[CLS]", "[SEP]", "[PAD]"))
    n = int(tokens.attention[0].sum())
    assert tokens.ids.dtype == np.int64
    assert tokens.ids[0, 0] == cls
    assert tokens.ids[0, n - 1] == sep
    assert (tokens.ids[0, n:] == pad).all()
    assert tokens.maskable[0].tolist() == [0 < i < n - 1 for i in range(tokens.ids.shape[1])]
    assert tokens.attention[1].sum() == 2
    assert not tokens.maskable[1].any(), "there is no word to mask"
    assert words.pad_id == pad
    assert words.mask_id == words.backend.token_to_id("[MASK]")


@pytest.mark.parametrize("length", [3, 12, 20])
def test_no_caption_is_longer_than_asked(length: int) -> None:
    words = tokenizer.train(CAPTIONS, length, 150)
    tokens = words([" ".join(CAPTIONS), "dogs"])
    assert tokens.ids.shape == tokens.attention.shape == tokens.maskable.shape == (2, length)
    assert tokens.ids[0, -1] == words.backend.token_to_id("[SEP]"), "a cut caption ends as any other"


def test_padding_is_in_eights_or_fixed(words: CaptionTokenizer) -> None:
    assert words(["dogs"]).ids.shape == (1, 8)
    assert tokenizer.train(CAPTIONS, 20, 150, fixed=True)(["dogs"]).ids.shape == (1, 20)


@pytest.mark.parametrize("fixed", [False, True])
def test_saving_changes_no_batch(tmp_path: Path, fixed: bool) -> None:
    words = tokenizer.train(CAPTIONS, 20, 150, fixed=fixed)
    before = words(["dogs"])
    words.save(tmp_path / "kept")
    after = words(["dogs"])
    assert after.ids.shape == before.ids.shape == (1, 20 if fixed else 8)
    assert np.array_equal(after.ids, before.ids)
    for again in (False, True):  # how captions are padded is for who loads it to say
        loaded = tokenizer.load(tmp_path / "kept", 20, fixed=again)
        assert loaded(["dogs"]).ids.shape == (1, 20 if again else 8)
        n = int(before.attention.sum())
        assert np.array_equal(loaded(["dogs"]).ids[:, :n], before.ids[:, :n])
        assert (loaded.pad_id, loaded.mask_id, loaded.vocabulary) == (words.pad_id, words.mask_id, words.vocabulary)


def test_what_is_kept_is_read_by_transformers_alike(tmp_path: Path, words: CaptionTokenizer) -> None:
    words.save(tmp_path / "kept")
    whole = AutoTokenizer.from_pretrained(tmp_path / "kept")
    again = tokenizer.pretrained(str(tmp_path / "kept"), 12)
    for caption in [*CAPTIONS, "", "an unseen zebra"]:
        own = words([caption])
        assert whole(caption, truncation=True)["input_ids"] == own.ids[own.attention].tolist(), "and pads nothing"
        assert np.array_equal(again([caption]).ids, own.ids)
    assert (whole.mask_token_id, whole.pad_token_id) == (words.mask_id, words.pad_id)


def test_the_same_captions_give_the_same_vocabulary(words: CaptionTokenizer) -> None:
    assert tokenizer.train(reversed(CAPTIONS), 12, 150).backend.get_vocab() == words.backend.get_vocab()


def test_every_letter_is_kept_in_the_smallest_vocabulary() -> None:
    words = tokenizer.train(CAPTIONS, 64, 1)
    unknown = words.backend.token_to_id("[UNK]")
    assert not (words(CAPTIONS).ids == unknown).any()
    assert (words(["ß"]).ids == unknown).any()


def test_without_a_mask_token_padding_hides_words() -> None:
    backend = Tokenizer(models.WordLevel({"<pad>": 0, "dogs": 1}, unk_token="<pad>"))
    words = CaptionTokenizer(backend, {"pad_token": "<pad>"}, 4)
    assert words.mask_id == words.pad_id == 0


def test_a_tokenizer_that_cannot_pad_is_refused() -> None:
    backend = Tokenizer(models.WordLevel({"dogs": 0}))
    with pytest.raises(DataError, match=r"no padding token '<pad>'\n  hint: choose another model.text"):
        CaptionTokenizer(backend, {"pad_token": "<pad>"}, 4)


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path} holds no tokenizer that can be read: (?s:.*)a run keeps one in"):
        tokenizer.load(tmp_path, 12)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("torn")
    with pytest.raises(DataError, match="holds no tokenizer that can be read"):
        tokenizer.load(tmp_path, 12)


def test_a_pretrained_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "such")
    with pytest.raises(
        WorkError,
        match=r"the tokenizer of '.*no/such' could not be loaded: .+\n  hint: give .* as model.text, or connect",
    ):
        tokenizer.pretrained(missing, 12)
