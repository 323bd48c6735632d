"""The examples run as they stand, on a folder of captioned videos."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vtr import api
from vtr.data import synthetic

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos and captions.csv, which has two captions for each."""
    root = tmp_path_factory.mktemp("clips")
    rows = [("video", "caption")]
    for n, scene in zip(range(6), synthetic.scenes(7, "train"), strict=False):
        (root / f"v {n}.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
        rows += [(f"v {n}.mp4", synthetic.caption(scene)), (f"v {n}.mp4", f"here {synthetic.caption(scene)}")]
    with (root / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return root


def run(*command: object, **settings: object) -> str:
    place = {"PYTHONPATH": str(EXAMPLES.parent), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = {**os.environ, **place, **{name: str(value) for name, value in settings.items()}}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_a_folder_to_an_export_that_is_searched(folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "my search"
    out = run("bash", EXAMPLES / "search_my_videos.sh", folder, WORK=work, STEPS=2, SEGMENTS="1s/1s", NO_PAGE=1)
    assert [line.split()[2] for line in out.splitlines() if line.startswith("$ vtr")] == ["shard", "pretrain", "embed"]
    hits = api.search(work / "embeddings", "a red circle", k=12, device="cpu")
    assert {hit["source"] for hit in hits} == {f"v {n}.mp4" for n in range(6)}
    again = run("bash", EXAMPLES / "search_my_videos.sh", folder, work / "model", WORK=work / "other", NO_PAGE=1)
    assert again.count("$ vtr") == 1, "with a run, nothing is trained"


def test_other_captions_are_searched_with(folder: Path, tmp_path: Path) -> None:
    out = run(sys.executable, EXAMPLES / "other_captions.py", folder / "captions.csv", tmp_path / "work", 2)
    assert "R@1 of 6 other captions: " in out
    assert out.endswith("% (guessing: 16.7 %)\n")
