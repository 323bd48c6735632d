"""The command line as a fixture."""

from __future__ import annotations

import pytest
from cli_helpers import Cli


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs `vtr` in this process."""
    monkeypatch.setenv("COLUMNS", "80")
    return Cli(monkeypatch, capfd)
