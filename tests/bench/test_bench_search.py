"""Search is measured beside FAISS and beside the bare product, and finds what FAISS finds."""

from __future__ import annotations

import importlib.util
import sys
import warnings

import pytest

from vtr.bench import run
from vtr.bench.search import GOALS
from vtr.errors import InputError


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is an extra: pip install '.[faiss]'")
def test_it_measures_what_its_goals_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run("search", repeats=1, small=True)
    assert set(found["ratios"]) == set(GOALS) == {"search.over_faiss", "search.batch_over_gemm"}
    assert all(value > 0 for value in found["ratios"].values())
    figures = found["figures"]
    assert (figures["rows"], figures["queries"], figures["dim"]) == (20_000, 100, 256)
    assert figures["hits_as_faiss"] >= 0.8, "float16 rows may swap the last of equals"


def test_without_faiss_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        InputError,
        match=r"compares with faiss, which is not installed\n  hint: .*pip install '(faiss-cpu>=|\.\[faiss\]')",
    ):
        run("search", small=True)
