"""The verbs from the command line: stdout is data, stderr is progress and nothing else."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
from cli_helpers import Cli

from vtr.data import synthetic

CPU = ("--device", "cpu", "--precision", "fp32")
METRICS = {"R@1", "R@5", "R@10", "MdR", "MnR"}
READING = re.compile(r"clips read: |from a frame store one core|batch \d+ = ")
STEP = re.compile(r"step \d+/\d+  loss \d+\.\d+  lr \S+  \d+ samples/s  \S+ left|step \d+  (\w+ \S+ \d+\.\d(  |$))+")


def table(folder: Path, count: int = 4) -> Path:
    """captions.csv and its videos, two captions for the first."""
    rows = []
    for n, scene in zip(range(count), synthetic.scenes(1, "train"), strict=False):
        (folder / f"v{n}.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
        rows += [{"video": f"v{n}.mp4", "caption": synthetic.caption(scene), "source": "made"}] * (2 if n == 0 else 1)
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["video", "caption", "source"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "captions.csv"


def test_shard(cli: Cli, tmp_path: Path) -> None:
    source = table(tmp_path)
    result = cli("shard", "table", source, tmp_path / "s", "--workers", 1)
    assert (result.code, result.err) == (0, "")
    assert re.match(r"4 videos, \d captions, \d+ s in 1 shards, \d+\.\d MB\n", result.out)
    again = cli("shard", "table", source, tmp_path / "s", "--workers", 1)
    assert again.out.startswith(f"{tmp_path / 's'} is whole already: nothing to do\n")
    found = json.loads(cli("shard", "table", source, tmp_path / "s", "--json").out)
    assert (found["samples"], found["nothing_to_do"], found["skipped"]) == (4, True, {})


def test_shard_names_what_it_skips(cli: Cli, tmp_path: Path) -> None:
    source = table(tmp_path)
    (tmp_path / "v2.mp4").write_bytes(b"no video at all")
    result = cli("shard", "table", source, tmp_path / "s", "--workers", 1, "--max-skipped", 0.5)
    assert result.code == 0
    assert result.out.splitlines()[-1] == f"skipped 1 (1 not-video): see {tmp_path / 's' / 'skipped.jsonl'}"


def test_from_shards_to_search(cli: Cli, nano: Path, shards: Path, test_shards: Path, tmp_path: Path) -> None:
    run, tuned, out = tmp_path / "run", tmp_path / "ft", tmp_path / "e"
    trained = cli("pretrain", nano, "--shards", shards, "--out", run, "--eval-shards", test_shards, "--workers", 1)
    assert trained.code == 0
    assert trained.out == f"{run / 'checkpoints' / 'step-00000006'}\n"
    lines = [line for line in trained.err.splitlines() if not READING.match(line)]
    assert all(STEP.fullmatch(line) for line in lines), trained.err
    assert lines[-1].startswith("step 6  t2v R@1 ")
    assert "clips read: 48 by pyav (" in trained.err
    given = ("--epochs", 2, "--lr", 1e-4, "--batch-size", 12, "--seed", 3, "--set", "optim.clip=1.0", "--json")
    trained = cli("finetune", run, "--shards", shards, "--out", tuned, *given)
    assert json.loads(trained.out) == {"run": str(tuned), "checkpoint": str(tuned / "checkpoints/step-00000004")}
    scored = cli("eval", tuned, "--shards", test_shards, *CPU)
    assert (scored.code, scored.err) == (0, "")
    assert "text to video" in scored.out
    assert "R@10" in scored.out
    written = cli("embed", tuned, "--shards", test_shards, "--out", out, *CPU)
    assert re.fullmatch(rf"{re.escape(str(out))}: 12 rows in 1 file, 12 of them now, [\d.e+]+ clips/s\n", written.out)
    assert written.err == ""
    again = cli("embed", tuned, "--shards", test_shards, "--out", out, "-v", *CPU)
    assert again.out == f"{out / 'emb-00000.parquet'}\n{out}: 12 rows in 1 file, nothing new\n"
    found = cli("search", out, "a red circle moves left", "-k", 2, "--device", "cpu")
    assert (found.code, found.err) == (0, "")
    assert "test-0000" in found.out


def test_eval_json_is_as_promised(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "result.json"
    result = cli("eval", run, "--shards", test_shards, "--json", "--out", file, *CPU)
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    for way in ("t2v", "v2t"):
        assert set(found[way]) == METRICS
        assert all(isinstance(value, float) for value in found[way].values())
    assert json.loads(file.read_text()) == found


def test_embed_as_npy_with_captions(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    given = ("embed", run, "--shards", test_shards, "--out", tmp_path / "e", "--format", "npy", "--captions", *CPU)
    found = json.loads(cli(*given, "--json").out)
    files = found["files"]
    assert (found["rows"], found["new"], found["clips"]) == (24, 24, 12)
    assert found["clips_per_s"] == pytest.approx(found["clips"] / found["seconds"])
    assert {Path(file).parent.name for file in files} >= {"img_emb", "text_emb", "metadata"}
    again = json.loads(cli(*given, "--json").out)
    assert (again["added"], again["new"], again["clips_per_s"]) == (0, 0, None)
    assert cli(*given, "--overwrite").code == 0


def test_embed_refuses_a_port_that_is_taken_before_it_begins(
    cli: Cli, run: Path, test_shards: Path, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="the search page is an extra: pip install '.[serve]'")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("embed", run, "--shards", test_shards, "--out", tmp_path / "e", "--serve", "--port", port, *CPU)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: port {port} is taken\nhint: give another --port")
    assert not (tmp_path / "e").exists()


def test_embed_names_videos_that_have_gone(cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name, scene in zip("abc", synthetic.scenes(5, "train"), strict=False):
        (tmp_path / "v" / f"{name}.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
    given = ("embed", run, "--videos", tmp_path / "v", "--out", tmp_path / "e", *CPU)
    assert (first := cli(*given)).code == 0
    assert "gone" not in first.err
    (tmp_path / "v/a.mp4").unlink()
    (tmp_path / "v/b.txt").write_text("a caption")
    told = "1 video has gone, its rows stay: a.mp4; --overwrite leaves it out\n"
    assert (second := cli(*given)).code == 0
    assert second.err.endswith(told)
    (tmp_path / "v/b.mp4").unlink()
    third = cli(*given, "--json")
    assert (third.code, json.loads(third.out)["gone"]) == (0, ["a.mp4", "b.mp4"])
    assert third.err.endswith("2 videos have gone, their rows stay: a.mp4, b.mp4; --overwrite leaves them out\n")


def test_search_json(cli: Cli, embeddings: Path) -> None:
    result = cli("search", embeddings, "a red circle", "-k", 3, "--json", "--device", "cpu")
    hits = json.loads(result.out)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert {"id", "score", "caption", "start_s", "end_s"} <= set(hits[0])
    assert result.err == ""


def test_flags_win_over_sets_and_recipe(cli: Cli, nano: Path, shards: Path, tmp_path: Path) -> None:
    given = ("--set", "optim.lr=5.0", "--lr", 1e-4, "--steps", 1, "--mask-ratio", 0.25, "--frames", 2, "--precision",
             "bf16", "--device", "cpu", "--seed", 9, "--batch-size", 6, "--workers", 1)  # fmt: skip
    assert cli("pretrain", nano, "--shards", shards, "--out", tmp_path / "r", *given).code == 0
    from vtr import recipe

    config = recipe.load(str(tmp_path / "r" / "config.toml"))
    assert (config.optim.lr, config.train.steps, config.objective.mask_ratio, config.data.frames) == (1e-4, 1, 0.25, 2)
    assert (config.train.precision, config.train.seed, config.train.batch_size, config.data.workers) == (
        "bf16",
        9,
        6,
        1,
    )


def test_more_workers_than_processors_are_no_matter(cli: Cli, nano: Path, shards: Path, tmp_path: Path) -> None:
    given = ("--steps", 1, "--workers", (os.cpu_count() or 1) + 1)
    result = cli("pretrain", nano, "--shards", shards, "--out", tmp_path / "r", *given)
    lines = [line for line in result.err.splitlines() if not READING.match(line)]
    assert len(lines) == 1, result.err


def test_epochs_win_over_a_recipes_steps(cli: Cli, nano: Path, shards: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(nano.read_text().replace("epochs = 2", "steps = 50"))
    result = cli("pretrain", recipe, "--shards", shards, "--out", tmp_path / "r", "--epochs", 1)
    assert result.out.endswith("step-00000003\n")


def test_the_same_command_again_resumes_and_fresh_starts_over(
    cli: Cli, run: Path, nano: Path, shards: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(out / "checkpoints" / "step-00000006")
    again = cli("pretrain", nano, "--shards", shards, "--out", out)
    assert again.err.splitlines()[0] == "going on from step 4"
    fresh = cli("pretrain", nano, "--shards", shards, "--out", out, "--fresh")
    assert "going on" not in fresh.err
    assert fresh.code == 0


def test_real_clips(cli: Cli, nano: Path, tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2].parent / "shared" / "clips" / "captions.csv"
    if not source.is_file():
        pytest.skip("the real clips are not here")
    sharded = cli("shard", "table", source, tmp_path / "s", "--limit", 6, "--workers", 1, "--json")
    assert json.loads(sharded.out)["samples"] == 6
    assert cli("pretrain", nano, "--shards", tmp_path / "s", "--out", tmp_path / "r", "--steps", 1).code == 0
    scored = cli("eval", tmp_path / "r", "--shards", tmp_path / "s", "--json", *CPU)
    assert json.loads(scored.out)["videos"] == 6
