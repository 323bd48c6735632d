"""Tokenizers whose rules would make much of little."""

from __future__ import annotations

import struct
from contextlib import nullcontext

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from vtr.data import lengthening, tokenizer
from vtr.errors import DataError

CAPTIONS = ["a red circle", "a star"]


def backend(normalizer: normalizers.Normalizer | None = None, *, tokens: int = 1) -> Tokenizer:
    made = Tokenizer(models.WordLevel({"a": 0, "[PAD]": 1}, "[PAD]"))
    if normalizer is not None:
        made.normalizer = normalizer
    made.post_processor = processors.TemplateProcessing(
        single=["[PAD]"] * tokens + ["$A"], special_tokens=[("[PAD]", 1)]
    )
    return made


@pytest.mark.parametrize("pattern", ["a", Regex("a*")])
def test_letters_that_become_ten_over_and_over(pattern: str | Regex) -> None:
    ten = normalizers.Replace(pattern, "a" * 10)
    tokenizer.CaptionTokenizer(backend(normalizers.Sequence([ten] * 2)), {"pad_token": "[PAD]"})
    rules = normalizers.Sequence([normalizers.Sequence([ten] * 5), *[ten] * 5])
    with pytest.raises(DataError, match=r"may make a caption [13]e\+10 times as long, at most 1000 is usual"):
        tokenizer.CaptionTokenizer(backend(rules), {"pad_token": "[PAD]"})


def test_what_stands_before_every_caption() -> None:
    with pytest.raises(DataError, match=r"may make a caption 2e\+03 times as long"):
        lengthening.check(backend(normalizers.Prepend("_" * 2000)))
    with pytest.raises(DataError, match=r"the tokenizer adds 2000 tokens to every caption"):
        lengthening.check(backend(tokens=2000))


def test_usual_rules_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [
        normalizers.NFKC(),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Lowercase(),
        normalizers.Prepend("_"),
    ]
    lengthening.check(backend(normalizers.Sequence(usual)))
    lengthening.check(tokenizer.train(CAPTIONS, 12).backend)
    monkeypatch.setenv("VTR_LIMITS", "10")
    lengthening.check(backend(normalizers.Prepend("_" * 2000), tokens=2000))


@pytest.mark.parametrize("letters", [18, 5000])
def test_a_compiled_table_of_letters(letters: int) -> None:
    tree = [0] * 512  # of one key, "a", as darts-clone has it: a root, a letter, a leaf that says where its text is
    tree[0] = 256 << 10
    tree[256 ^ ord("a")] = 1 << 10 | 1 << 8 | ord("a")
    tree[256 ^ ord("a") ^ 1] = 1 << 31
    nodes = struct.pack("<512I", *tree)
    table = normalizers.Precompiled(struct.pack("<I", len(nodes)) + nodes + b"b" * letters + b"\0c\0")
    assert table.normalize_str("aa!") == "b" * 2 * letters + "!"
    long = pytest.raises(DataError, match=r"may make a caption 5e\+03 times as long")
    with long if letters > 1000 else nullcontext():
        lengthening.check(backend(table))


def test_what_splits_into_words_and_lengthens_them() -> None:
    twice = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made = backend()
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), twice])
    lengthening.check(made)
    made.pre_tokenizer = pre_tokenizers.Sequence([twice] * 25)
    with pytest.raises(DataError, match=r"may make a caption 8e\+11 times as long"):
        lengthening.check(made)
