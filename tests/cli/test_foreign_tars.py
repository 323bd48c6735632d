"""Tars that others wrote, from `vtr inspect --index` to a trained model; and patterns wherever --shards is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import webdataset
from cli_helpers import Cli, refused

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from shard_helpers import make_video


def write(folder: Path, layout: str) -> Path:
    """Twelve samples in three tars: videos as `webdataset.ShardWriter` is used, images as img2dataset lays them out."""
    import io

    import numpy as np
    from PIL import Image

    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=4, verbose=0) as writer:
        for i in range(12):
            if layout == "webdataset":
                video = make_video(folder.parent / "videos" / f"{i}.mp4", i).read_bytes()
                writer.write({"__key__": f"clip{i}", "mp4": video, "txt": f"clip number {i}", "cls": i})
            else:
                file = io.BytesIO()
                Image.fromarray(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)).save(file, "JPEG")
                about = {"caption": f"picture {i}", "url": "http://x/", "status": "success", "width": 64}
                key = f"{i // 4:05d}{i % 4:04d}"
                writer.write({"__key__": key, "jpg": file.getvalue(), "json": about, "txt": f"picture {i}"})
    if layout == "img2dataset":
        for shard in range(3):
            (folder / f"{shard:05d}.parquet").write_bytes(b"its own notes")
            (folder / f"{shard:05d}_stats.json").write_text("{}")
    return folder


@pytest.mark.parametrize("layout", ["webdataset", "img2dataset"])
def test_they_train_like_our_own(cli: Cli, nano: Path, tmp_path: Path, layout: str) -> None:
    tars = write(tmp_path / "tars", layout)
    refused(cli("pretrain", nano, "--shards", tars, "--out", tmp_path / "run"), 2, "tars but no index.parquet")
    made = json.loads(cli("inspect", tars, "--index", "--workers", 1, "--json").out)
    assert (made["tars"], made["samples"], made["skipped"]) == (3, 12, {})
    trained = cli("pretrain", nano, "--shards", tars, "--out", tmp_path / "run", "--steps", 2)
    assert trained.code == 0, trained
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line.get("step", 0) for line in lines) == 2
    assert not (tmp_path / "run" / "quarantine.jsonl").exists()
    words = cli("eval", tmp_path / "run", "--shards", tars, "--json")
    assert json.loads(words.out)["videos"] == 12, words


def test_keys_with_dots_are_explained(cli: Cli, tmp_path: Path) -> None:
    video = make_video(tmp_path / "0.mp4", 0).read_bytes()
    for name, keys in (("dots", ["clip.0", "clip.1"]), ("two", ["a", "b"])):
        (tmp_path / name).mkdir()
        with webdataset.ShardWriter(str(tmp_path / name / "%05d.tar"), verbose=0) as writer:
            for key in keys:
                writer.write({"__key__": key, "mp4": video, "txt": "words"} | ({"2.mp4": video} if key == "a" else {}))
    refused(cli("inspect", tmp_path / "dots", "--index", "--workers", 1), 2, "ends at the first dot")
    done = cli("inspect", tmp_path / "two", "--index", "--workers", 1)
    assert (done.code, "1 several-videos" in done.out) == (0, True)
    assert "of which the first is used: 1; keys end at a name's first dot" in done.err


def test_a_pattern_of_some_tars_wherever_shards_are_named(cli: Cli, nano: Path, run: Path, tmp_path: Path) -> None:
    tars = write(tmp_path / "tars", "webdataset")
    assert cli("inspect", f"{tars}/{{00000..00002}}.tar", "--index", "--workers", 1).code == 0
    some, out = f"{tars}/{{00000..00001}}.tar", tmp_path / "run"
    assert json.loads(cli("inspect", some, "--json").out)["samples"] == 8
    assert json.loads(cli("inspect", some, "--verify", "--workers", 1, "--json").out)["verified"]["samples"] == 8
    assert json.loads(cli("inspect", some, "--index", "--json").out)["samples"] == 8, "the index stays that of all"
    assert cli("pretrain", nano, "--shards", some, "--out", out, "--steps", 1).code == 0
    refused(
        cli("pretrain", nano, "--shards", tars, "--out", out, "--steps", 1), 2, "was trained on the shards", "--fresh"
    )
    assert cli("finetune", run, "--shards", f"{some}=0.5", "--shards", f"{tars}/00002.tar=0.5", "--out",
               tmp_path / "ft", "--steps", 1).code == 0  # fmt: skip
    assert json.loads(cli("eval", run, "--shards", some, "--json").out)["videos"] == 8
    embedded = json.loads(cli("embed", run, "--shards", some, "--out", tmp_path / "vectors", "--json").out)
    assert embedded["rows"] == 8
    more = json.loads(cli("embed", run, "--shards", tars, "--out", tmp_path / "all", "--json").out)
    assert more["rows"] == 12
    found = json.loads(cli("search", tmp_path / "vectors", "clip", "-k", 3, "--json").out)
    assert len(found) == 3
    for verb in ("pretrain", "finetune", "eval", "embed"):
        with_out = () if verb == "eval" else ("--out", tmp_path / "x")
        source = nano if verb == "pretrain" else run
        refused(
            cli(verb, source, "--shards", f"{tars}/{{00001..00003}}.tar", *with_out), 2, "00003.tar does not exist",
        )  # fmt: skip
