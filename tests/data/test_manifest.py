from pathlib import Path

import pytest

from vtr.data.manifest import ShardSummary, refuse_skipped
from vtr.errors import WorkError


def test_too_many_skipped(tmp_path: Path) -> None:
    (tmp_path / "skipped.jsonl").write_text('{"key": "a", "video": "a.mp4", "kind": "corrupt", "message": "torn"}\n')
    most = ShardSummary(tmp_path, 9, 9, 1, 100, 9.0, skipped={"corrupt": 1})
    refuse_skipped(most, 0.1)
    with pytest.raises(WorkError, match=r"1 of 10 samples were skipped"):
        refuse_skipped(most, 0.05)


def test_none_at_all(tmp_path: Path) -> None:
    """As a damaged manifest may have it."""
    (tmp_path / "skipped.jsonl").touch()
    with pytest.raises(WorkError):
        refuse_skipped(ShardSummary(tmp_path, 0, 0, 1, 100, 0.0), 0.05)
