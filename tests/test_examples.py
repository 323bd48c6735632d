"""Every example runs as it stands, in a small form."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BIN = Path(sys.executable).parent


def call(where: Path, *words: object, **variables: object) -> str:
    """Runs a command in `where` as somebody would who has vtr installed, and returns its stdout."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment |= {name: str(value) for name, value in variables.items()}
    done = subprocess.run(
        [str(word) for word in words], cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_all_are_tried() -> None:
    tried = Path(__file__).read_text("utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {
        "setup.sh",
        "compare_tables.py",
    }  # parts of others
    assert [name for name in sorted(names) if f'"{name}"' not in tried] == []


def test_quickstart(tmp_path) -> None:
    out = call(tmp_path, "bash", EXAMPLES / "quickstart.sh", TRAIN=32, TEST=8, STEPS=4)
    verbs = [line.split()[2] for line in out.splitlines() if line.startswith("$ vtr ")]
    assert verbs == ["shard", "shard", "pretrain", "finetune", "eval", "embed", "search"]
    assert "text to video" in out
    assert json.loads((tmp_path / "work/eval.json").read_text())["videos"] == 8


def test_quickstart_spares_what_it_did_not_make(tmp_path) -> None:
    """Work of others beside its own stays, in either order; what has one of its names stops it before anything goes."""
    stub = tmp_path / "bin/vtr"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\nexit 0\n")
    stub.chmod(0o755)
    mine = tmp_path / "mine"
    (mine / "simvtp").mkdir(parents=True)
    (mine / "simvtp/model").write_text("years of work")

    def quickstart() -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{stub.parent}:{os.environ['PATH']}"}
        script = ["bash", EXAMPLES / "quickstart.sh", "mine"]
        return subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    (mine / "finetuned").mkdir()
    refused = quickstart()
    assert refused.returncode == 2
    assert "mine/finetuned was not made by this script" in refused.stderr
    (mine / "finetuned").rmdir()
    assert quickstart().returncode == 0
    (mine / "mac").mkdir()
    assert quickstart().returncode == 0
    assert not (mine / "mac").exists()
    assert (mine / "simvtp/model").read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.parametrize("captions", ["beside", "table"])
def test_search_my_videos(tmp_path, captions: str) -> None:
    """The same again adds what has come to the folder since, to be found by the model that is there."""
    from vtr.data.annotations import READERS, ReaderOptions

    folder = tmp_path / "videos"
    folder.mkdir()
    made = READERS["synthetic"]("seed:1", ReaderOptions(limit=5))
    script, rows = EXAMPLES / "search_my_videos.sh", ["video,caption"]

    def found(*new: object) -> tuple[str, set[str]]:
        for one in new:
            (folder / f"{one.key}.mp4").write_bytes(one.video())
            rows.append(f'{one.key}.mp4,"{one.captions[0]}"')
            if captions == "beside":
                (folder / f"{one.key}.txt").write_text(one.captions[0])
        if captions == "table":
            (folder / "captions.csv").write_text("\n".join(rows))
        said = call(tmp_path, "bash", script, folder, NO_PAGE=1, STEPS=2, SEGMENTS="2s/2s", WORK=tmp_path / "search")
        hits = json.loads(call(tmp_path, "vtr", "search", "search/embeddings", "a red circle", "-k", 99, "--json"))
        return said, {hit["id"].removesuffix(".mp4") for hit in hits}

    assert found(*made[:4])[1] == {one.key for one in made[:4]}
    weights = next((tmp_path / "search/model/checkpoints").iterdir()) / "model.safetensors"
    before = weights.stat().st_mtime_ns
    said, there = found(made[4])
    assert there == {one.key for one in made}
    assert [line.split()[2] for line in said.splitlines() if line.startswith("$ vtr ")] == ["pretrain", "embed"]
    assert weights.stat().st_mtime_ns == before


def test_custom_dataset(tmp_path) -> None:
    script = EXAMPLES / "custom_dataset.py"
    assert call(tmp_path, sys.executable, script).startswith("16 videos, 16 captions in 1 shards")
    known = call(tmp_path, sys.executable, script, "shard", "clips-json", "work/custom/videos", "two", "--limit", 2)
    assert known.startswith("2 videos, 2 captions")


def test_the_reader_has_fifteen_lines() -> None:
    source = (EXAMPLES / "custom_dataset.py").read_text().split("\ndef read(", 1)[1].split("\n\n\n", 1)[0]
    assert len(source.splitlines()) <= 15


def test_custom_objective(tmp_path, shards) -> None:
    script = EXAMPLES / "custom_objective.py"
    out = call(tmp_path, sys.executable, script, shards, "run", 4)
    assert "R@1" in out
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"contrastive", "views"} <= set(lines[-1])
    assert json.loads((tmp_path / "run/run.json").read_text())["objective"] == "TwoViews"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.skipif(find_spec("fastapi") is None, reason="needs the extra serve")
def test_pictures(tmp_path, test_shards, embeddings) -> None:
    (tmp_path / "work").mkdir()
    for name, made in (("test", test_shards), ("embeddings", embeddings)):
        (tmp_path / "work" / name).symlink_to(made)
    call(tmp_path, "bash", EXAMPLES / "pictures.sh", "work", "images", PORT=0)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["masks.png", "search.png"]
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 50, f"{path.name} shows nothing"


NANO = (
    "data.size=32 data.resize=32 data.workers=0 model.width=48 model.depth=1 model.heads=3 train.batch_size=8 "
    "train.log_every=1 data.decoder=pyav model.text_width=48 model.text_depth=1"
)


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra plot")
def test_mask_ratio(tmp_path) -> None:
    more = " ".join(f"--set {one}" for one in NANO.split())
    sizes = {"TRAIN": 24, "TEST": 8, "EPOCHS": 1, "SEEDS": "0", "RATIOS": "0.75"}
    out = call(tmp_path, "bash", EXAMPLES / "mask_ratio.sh", **sizes, MORE=more)
    names = [line.split(" |")[0] for line in out.splitlines()]
    assert names == ["| run", "|---|---|---|---|---|---|---|---|---|", "| contrastive", "| mac-0.75"]
    runs = [json.loads(line) for line in (tmp_path / "work/mask_ratio/runs.jsonl").read_text().splitlines()]
    assert runs[1]["gflop"] < 0.8 * runs[0]["gflop"]
    assert [samples for samples, _, _ in runs[0]["curve"]] == [8, 16, 24]
    assert (tmp_path / "work/mask_ratio/mask_ratio.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_compare_by_time_with_all_methods(tmp_path) -> None:
    more = [word for one in NANO.split() for word in ("--set", one)]
    sizes = ["--seconds", "0.1", "--turns", "2", "--train", "24", "--test", "80", "--work", "w"]
    own = f"{EXAMPLES / 'custom_objective.py'}:TwoViews"
    only = ["--only", "contrastive", "mac-0.75-tail5", "miles", "simvtp", "--own", own, "--probe"]
    words = [EXAMPLES / "compare.py", *sizes, *only, *more]
    out = call(tmp_path, sys.executable, *words)
    assert call(tmp_path, sys.executable, *words) == out, "what is finished is not run again"
    first, second = out.split("\n\n")
    for table in (first, second):
        names = [re.sub("-[0-9a-f]{8}$", "", line.split(" | ")[0]) for line in table.splitlines()[2:]]
        assert names == ["| contrastive", "| mac-0.75-tail5", "| miles", "| simvtp", "| TwoViews"]
    assert "| 1 | " in first
    own = re.search(r"\| (?:(\d+) % \(\d+ to \d+\)|never \(1 of 1 never\)) \|$", first.splitlines()[2])
    assert own, "the baseline is compared with itself"
    assert int(own[1] or 0) <= 100
    runs = [json.loads(line) for line in (tmp_path / "w/runs.jsonl").read_text().splitlines()]
    assert len(runs) == 5
    assert json.loads((Path(tmp_path / runs[4]["out"]) / "run.json").read_text())["objective"] == "TwoViews"
    assert runs[4]["gflop"] != runs[0]["gflop"]


@pytest.mark.slow
def test_compare_runs_what_has_changed(tmp_path) -> None:
    """Files of one class name are two objectives, as is one before and after a change; those shown are clocked."""
    more = [word for one in NANO.split() for word in ("--set", one)]
    for name in ("one", "other"):
        source = (EXAMPLES / "custom_objective.py").read_text("utf-8")
        (tmp_path / f"{name}.py").write_text(f"{source}\n# {name}\n")
    sizes = ["--epochs", "1", "--turns", "1", "--train", "16", "--test", "8", "--points", "1", "--work", "w"]
    words = [sys.executable, EXAMPLES / "compare.py", *sizes, "--only", "contrastive", *more]

    def compared(*own: str) -> tuple[list[str], str, dict[str, float]]:
        script = f"{shlex.join(map(str, [*words, *(word for one in own for word in ('--own', one))]))} 2> said"
        names = [line.split(" | ")[0].removeprefix("| ") for line in call(tmp_path, "bash", "-c", script).splitlines()]
        said = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("from earlier")]
        (speeds,) = json.loads((tmp_path / "w/speeds.json").read_text()).values()
        return names[2:], "".join(said), speeds

    names, said, first = compared("one.py:TwoViews", "other.py:TwoViews")
    assert said == ""
    assert set(first) == set(names)
    assert len(set(names)) == 3
    with (tmp_path / "one.py").open("a") as file:
        file.write("# changed\n")
    after, said, second = compared("one.py:TwoViews")
    assert said == "from earlier runs, as w/runs.jsonl has them: contrastive (seed 0)"
    assert after[0] == "contrastive"
    assert after[1] not in names
    assert second["contrastive"] != first["contrastive"], "clocked again, beside what is new"
    assert compared("one.py:TwoViews")[1:] == (f"{said}, {after[1]} (seed 0)", second)


def test_names_in_the_picture_of_a_comparison_do_not_meet(monkeypatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plot").use("Agg")
    from matplotlib import text

    monkeypatch.syspath_prepend(EXAMPLES)
    compare_tables = import_module("compare_tables")
    places = {"contrastive": (3.0, 40.0), "mac-0.5": (2.0, 41.0), "mac-0.6": (1.9, 41.1), "mac-0.75": (1.8, 41.2),
              "low": (1.0, 0.1), "lower": (1.1, 0.0)}  # fmt: skip
    runs = [
        {"name": name, "gflop": gflop, "t2v": score, "curve": [[64, 1, score / 2], [128, 2, score]]}
        for name, (gflop, score) in places.items()
    ]
    figure = compare_tables.charts(runs)
    figure.draw_without_rendering()
    boxes = {one.get_text(): text.Text.get_window_extent(one) for one in figure.axes[2].texts}  # without its line
    assert set(boxes) == set(places)
    assert not [pair for pair in combinations(boxes.values(), 2) if pair[0].overlaps(pair[1])]
    assert compare_tables.apart([1, 1, 9, 1.5], 2, -9, 99) == pytest.approx([-5 / 6, 7 / 6, 9, 19 / 6])
    assert compare_tables.apart([5, 1, 9], 2, 2, 8) == [5, 2, 8]


@pytest.mark.slow
def test_the_notebook(tmp_path) -> None:
    pytest.importorskip("nbclient", reason="needs the extra dev")
    pytest.importorskip("ipykernel", reason="needs the extra dev")
    book = shutil.copy(EXAMPLES / "notebook.ipynb", tmp_path)
    call(tmp_path, "jupyter-execute", "--inplace", book, CLIPS=24, STEPS=4, WORK=tmp_path / "work")
    cells = json.loads(Path(book).read_text())["cells"]
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    assert sum("image/png" in out.get("data", {}) for cell in outputs for out in cell) == 2
    assert "".join(outputs[-1][0]["text"]).startswith("1  ")


@pytest.mark.slow
def test_other_captions(tmp_path) -> None:
    from vtr.data.annotations import READERS, ReaderOptions

    rows = ["video,caption"]
    for made in READERS["synthetic"]("seed:1", ReaderOptions(limit=6)):
        (tmp_path / f"{made.key}.mp4").write_bytes(made.video())
        rows += [f"{made.key}.mp4,{made.captions[0]}", f"{made.key}.mp4,here {made.captions[0]}"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    out = call(tmp_path, sys.executable, EXAMPLES / "other_captions.py", "captions.csv", "work", 2)
    assert out.splitlines()[-1].startswith("R@1 of 6 other captions: ")
