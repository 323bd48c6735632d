"""The sharding benchmark works, and its ratio is that of its figures."""

from __future__ import annotations

import shutil

import pytest

from vtr.bench import run
from vtr.errors import InputError


def test_small() -> None:
    if shutil.which("tar") is None:
        pytest.skip("there is no tar")
    result = run("shard", repeats=1, small=True)
    rates = result["figures"]
    assert result["ratios"]["shard.over_tar"] == pytest.approx(rates["shard_mb_per_s"] / rates["tar_mb_per_s"])
    assert rates["mb"] == pytest.approx(20 * 65536 / 1e6)


def test_without_tar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="there is no tar to compare with"):
        run("shard", repeats=1, small=True)
