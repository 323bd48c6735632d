"""docs/cli.md and docs/config.md say what the code says."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from vtr.cli import reference
from vtr.config import Config

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_page_is_what_the_code_makes(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == reference.PAGES[name](), f"run: {reference.COMMAND}"


def test_every_setting_has_a_line_and_a_reason() -> None:
    page = reference.config_page().splitlines()
    for section in ("data", "model", "objective", "optim", "train"):
        for field in dataclasses.fields(type(getattr(Config(), section))):
            line = next(line for line in page if line.startswith(f"| `{field.name}` |"))
            assert line.split("|")[-2].strip(), f"{section}.{field.name} has no comment in vtr/config.py"


def test_the_command_writes_the_pages(tmp_path) -> None:
    subprocess.run([sys.executable, "-m", "vtr.cli.reference", tmp_path], check=True)
    assert {path.name for path in tmp_path.iterdir()} == set(reference.PAGES)
    wrong = subprocess.run([sys.executable, "-m", "vtr.cli.reference"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("usage: python -m vtr.cli.reference")
