"""Help is quick, imports nothing heavy, and ends with commands to copy."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from cli_helpers import VTR, Cli, refused

VERBS = ("shard", "inspect", "pretrain", "finetune", "eval", "embed", "search", "export", "bench", "env",
         "recipes")  # fmt: skip
HEAVY = ("torch", "torchvision", "timm", "transformers", "accelerate", "pyarrow", "webdataset", "av", "decord", "numpy",
         "PIL", "tokenizers", "safetensors")  # fmt: skip

PROBE = """
import json, sys
sys.argv = ["vtr", *sys.argv[1:]]
from vtr.cli import main
try:
    main()
except SystemExit:
    pass
print("\\n" + json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["pretrain", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert not modules & set(HEAVY)
    assert done.stderr == ""


def test_importing_does_nothing() -> None:
    code = "import logging, sys, vtr; print('torch' in sys.modules, logging.root.handlers, vtr.__version__ != '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False [] True\n"


def test_help_is_quick() -> None:
    """It takes half of this where nothing else runs. In processor time, which other work stretches less."""

    def once() -> float:
        before = os.times()
        subprocess.run([VTR, "--help"], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(once() for _ in range(5)) < 0.6


def test_the_verbs_are_listed(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    assert all(f"│ {verb} " in result.out for verb in VERBS)
    assert result.err == ""
    assert cli().code == 2, "no verb: help, and the exit code of a wrong command"
    version = cli("--version")
    assert version.out.startswith("vtr ")
    assert len(version.out.split()) == 2


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_two_commands_that_can_be_copied(cli: Cli, verb: str) -> None:
    from typer.main import get_command

    from vtr.cli import app

    result = cli(verb, "--help")
    assert result.code == 0
    lines = [line.strip() for line in result.out.splitlines() if line.strip()]
    assert lines[-3] == "Examples:"
    command = get_command(app)
    for line in lines[-2:]:  # each on a line of its own, at 80 columns
        words = shlex.split(line.split(" > ")[0])
        assert words[:2] == ["vtr", verb], line
        command.commands[verb].make_context(verb, words[2:])  # parses, or raises


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_prints_a_result_has_json(cli: Cli, verb: str) -> None:
    assert "--json" in cli(verb, "--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "run", "--shards", "s", "--nonsense"],
        ["eval", "run"],
        ["nonsense"],
        ["eval", "run", "--shards", "s", "--batch-size", "0"],
        ["eval", "run", "--shards", "s", "--workers", "-1"],
        ["eval", "run", "--shards", "s", "--workers", "two"],
        ["shard", "table", "x.csv", "out", "--per-shard", "0"],
        ["pretrain", "mac-tiny", "--shards", "s", "--out", "r", "--epochs", "many"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_is_told_how_it_goes(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: vtr" in result.err
    assert "Traceback" not in result.err
    refused(result, 2, "error: vtr", "--help")
