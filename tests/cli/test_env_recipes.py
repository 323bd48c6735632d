"""`vtr env`, `vtr recipes` and the shell's completion."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from cli_helpers import VTR, Cli, refused

from vtr import recipe
from vtr.version import __version__


def test_env_tells_versions_devices_and_decoders(cli: Cli) -> None:
    plain, told = cli("env"), cli("env", "--json")
    assert (plain.code, told.code) == (0, 0)
    lines = dict(line.split(maxsplit=1) for line in plain.out.splitlines())
    assert lines["vtr"] == __version__
    assert "torch" in lines["packages"]
    assert "precision" in lines["auto"]
    assert "FFmpeg" in lines["pyav"]
    found = json.loads(told.out)
    assert found["vtr"] == __version__
    assert found["packages"]["torch"] in lines["packages"]


def test_recipes_are_listed_with_what_they_are(cli: Cli) -> None:
    found = cli("recipes")
    assert [line.split()[0] for line in found.out.splitlines()] == recipe.recipe_names()
    assert all(len(line.split()) > 3 for line in found.out.splitlines())
    assert json.loads(cli("recipes", "--json").out)["mac-base"].startswith("MAC as published")


def test_a_printed_recipe_is_a_recipe(cli: Cli, tmp_path) -> None:
    found = cli("recipes", "mac-base")
    assert found.out.startswith("# MAC as published")
    assert "# inferred from the paper's" in found.out
    (tmp_path / "my.toml").write_text(found.out)
    assert recipe.load(str(tmp_path / "my.toml")) == recipe.load("mac-base")
    told = json.loads(cli("recipes", "mac-base", "--json").out)
    assert recipe.from_dict(told["config"]) == recipe.load("mac-base")


def test_an_unknown_recipe_is_refused(cli: Cli) -> None:
    refused(cli("recipes", "mac-bas"), 2, "there is no recipe 'mac-bas'", "did you mean mac-base?")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("vtr re", {"recipes"}), ("vtr recipes simvtp", {"simvtp-base", "simvtp-tiny"}),
     ("vtr pretrain mac", {"mac-base", "mac-tiny"}), ("vtr pretrain --mask", {"--mask-ratio"}),
     ("vtr bench step --recipe miles", {"miles-base", "miles-tiny"}), ("vtr shard msr", {"msrvtt"}),
     ("vtr eval run --protocol msv", {"msvd"}), ("vtr export run --to sen", {"sentence-transformers"}),
     ("vtr search e --index", {"--index-at"}), ("vtr search e --index faiss --qu", {"--queries"}),
     ("vtr search e --backend f", {"faiss"}), ("vtr pretrain --global", set())],
)  # fmt: skip
def test_the_shell_completes(words: str, wanted: set[str]) -> None:
    asked = {"_VTR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run([VTR], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == wanted, done.stderr
