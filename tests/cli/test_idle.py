"""Options that would do nothing are refused, before any work; options that were renamed answer to their old names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import Cli, refused


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("search e --serve --html y.html", ["--html does nothing beside --serve", "take it out"]),
        ("search e --serve -k 3", ["-k does nothing beside --serve"]),
        ("search e text --port 9000", ["--port says where a page is served", "add --serve"]),
        ("search e text --time-limit 3", ["--time-limit bounds the decoding", "add --like or --html or --serve"]),
        ("search e text --shards https://x/y", ["--shards says where the videos of a page are", "--html or --serve"]),
        ("search e text --index-at d", ["--index-at says where a search library keeps its index", "add --backend"]),
        ("eval --embeddings e --workers 3", ["--workers does nothing beside --embeddings", "take it out"]),
        ("eval --embeddings e --device cuda", ["--device does nothing beside --embeddings"]),
        ("eval --embeddings e --batch-size 7 --precision bf16", ["--batch-size does nothing beside --embeddings"]),
        ("eval --embeddings e --precision bf16", ["--precision does nothing beside --embeddings"]),
        ("eval r --shards s --format csv --json", ["--format does nothing beside --json"]),
        ("embed r --out e --videos v --port 99", ["--port says where a page is served", "add --serve"]),
        ("embed r --out e --text q.txt --segments 4s/2s", ["--segments does nothing beside --text"]),
        ("embed r --out e --text q.txt --captions", ["--captions does nothing beside --text"]),
        ("embed r --out e --text q.txt --workers 2", ["--workers does nothing beside --text"]),
        ("shard table t out --plan-only --workers 3", ["--workers does nothing beside --plan-only"]),
        ("shard table t out --plan-only --max-skipped 0.3", ["--max-skipped does nothing beside --plan-only"]),
        ("shard table t out --plan-only --time-limit 3", ["--time-limit does nothing beside --plan-only"]),
        ("shard synthetic seed:0 out --limit 2 --root d", ["--root does nothing for the reader synthetic"]),
        ("shard folder d out --root d", ["--root does nothing for the reader folder"]),
        (
            "pretrain mac-tiny --shards s --out r --steps 1 --epochs 5",
            ["1 steps and 5.0 epochs", "or --epochs"],
        ),
        ("finetune r --shards s --out f --steps 1 --set train.epochs=5", ["1 steps and 5 epochs"]),
        ("pretrain mac-tiny --shards s --out r --epochs 5 --set train.steps=3", ["3 steps and 5.0 epochs"]),
    ],
)
def test_what_would_do_nothing_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(cli(*command.split()), 2, *words)
    assert not list(tmp_path.iterdir())


def test_what_an_objective_does_not_look_at_is_refused(cli: Cli, run: Path, shards: Path, tmp_path: Path) -> None:
    to = ("--shards", shards, "--out", tmp_path / "r")
    words = ("mask_ratio = 0.9 does nothing: the objective contrastive does not look", "these do: mac, simvtp, miles")
    refused(cli("pretrain", "contrastive-tiny", *to, "--mask-ratio", 0.9), 2, *words)
    refused(cli("finetune", run, *to, "--set", "objective.mask_ratio=0.9"), 2, *words)
    refused(cli("pretrain", "mac-tiny", *to, "--set", "objective.predict_head=mlp"), 2, "mac does not", "do: miles")
    assert not (tmp_path / "r").exists()


def test_texts_may_be_added_to_embeddings_of_videos(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    """With the options of the videos, which all that is added must share."""
    (tmp_path / "q.txt").write_text("a red circle\n")
    how = ("--out", tmp_path / "e", "--captions", "--device", "cpu", "--workers", 0)
    assert cli("embed", run, "--shards", test_shards, *how).code == 0
    added = json.loads(cli("embed", run, "--text", tmp_path / "q.txt", *how, "--json").out)
    assert (added["rows"], added["new"]) == (25, 1)
    refused(cli("embed", run, "--text", tmp_path / "q.txt", *how, "--overwrite"), 2, "--captions does nothing beside")


@pytest.mark.parametrize(
    ("command", "new", "old"),
    [
        ("search nowhere text", ("--backend", "nothing"), ("--index", "nothing")),
        ("search nowhere text", ("--backend=nothing",), ("--index=nothing",)),
        ("pretrain mac-tiny --shards s --out r", ("--batch-size", "0"), ("--global-batch-size", "0")),
        ("finetune r --shards s --out f", ("--batch-size", "x"), ("--global-batch-size", "x")),
    ],
)
def test_an_old_name_means_the_new_one(
    cli: Cli, command: str, new: tuple[str, ...], old: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    verb, *rest = command.split()
    told = cli(verb, *rest, *old)
    assert told.code == 2
    assert told == cli(verb, *rest, *new)
    assert f"{old[0].partition('=')[0]} " not in cli(verb, "--help").out
