"""The little shards opened, and a tokenizer of their captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtr.data import tokenizer
from vtr.data.index import ShardIndex


@pytest.fixture(scope="session")
def index(shards: Path) -> ShardIndex:
    return ShardIndex.open(shards)


@pytest.fixture(scope="session")
def words(index: ShardIndex) -> tokenizer.CaptionTokenizer:
    return tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 24, 200)
