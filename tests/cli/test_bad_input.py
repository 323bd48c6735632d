"""Whatever is wrong: one red line and a hint, exit code 2 or 1, no traceback, and what was made stays whole."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import VTR, Cli, refused

from vtr.data import synthetic

CPU = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    scene = next(synthetic.scenes(1, "train"))
    (tmp_path / "clip.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
    return tmp_path / "clip.mp4"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# vtr shard


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["captions.csv is empty", "header"]),
        ("video,caption\n", ["captions.csv"]),
        ("file,caption\nclip.mp4,a dog\n", ["has no column 'video'; its columns are: file, caption"]),
        ("video,caption,key\nclip.mp4,a dog,x\nother.mp4,a cat,x\n", ["key 'x'"]),
    ],
    ids=["an empty table", "a table of no rows", "an unknown column", "a duplicate key"],
)
def test_tables(cli: Cli, clip: Path, text: str, words: list[str]) -> None:
    shutil.copy(clip, clip.with_name("other.mp4"))
    source = clip.with_name("captions.csv")
    source.write_text(text)
    out = clip.parent / "out"
    refused(cli("shard", "table", source, out, "--workers", 1), 2, *words)
    assert not list(out.glob("*.tar"))


@pytest.mark.parametrize(("content", "kind"), [("<html>not found</html>", "not-video"), (None, "missing")])
def test_a_video_that_is_none(cli: Cli, clip: Path, content: str | None, kind: str) -> None:
    if content is not None:
        clip.with_name("bad.mp4").write_text(content)
    source = clip.with_name("captions.csv")
    source.write_text("video,caption\nclip.mp4,a dog\nbad.mp4,a cat\n")
    out = clip.parent / "out"
    found = cli("shard", "table", source, out, "--workers", 1)
    if content is None:
        warned, _, rest = found.err.partition("\n")
        assert warned == "warning: table: 1 of 2 media files are not there and will be skipped: bad.mp4"
        found = replace(found, err=rest)
    refused(found, 1, "1 of 2", kind, "bad.mp4", "skipped.jsonl")
    named = json.loads((out / "skipped.jsonl").read_text())
    assert (named["kind"], named["key"]) == (kind, "bad")
    again = cli("shard", "table", source, out, "--workers", 1, "--max-skipped", 0.5)
    assert again.code == 0, "the good one was written, and is enough where that is allowed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table", "/nowhere/captions.csv"], ["/nowhere/captions.csv", "not"]),
        (["tabel", "x.csv"], ["tabel", "table"]),
        (["folder", "/nowhere"], ["/nowhere"]),
        (["synthetic", "seed:0"], ["endless", "--limit"]),
        (["synthetic", "seed:0", "--limit", "0"], ["a limit of 0"]),
        (["synthetic", "seed:0", "--limit", "2", "--split", "val"], ["no split 'val'"]),
        (["synthetic", "seed:0", "--limit", "2", "--workers", "0"], ["0 workers"]),
        (["synthetic", "seed:0", "--limit", "2", "--max-skipped", "2"], ["2 is no share"]),
        (["synthetic", "seed:0", "--limit", "2", "--store", "jpeg"], ["no store 'jpeg'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and len(value) > 1 else "",
)
def test_readers(cli: Cli, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    refused(cli("shard", *arguments[:2], tmp_path / "out", *arguments[2:]), 2, *words)
    assert not list(tmp_path.rglob("*.tar"))


def test_shards_of_something_else(cli: Cli, shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "s")
    before = tree(copy)
    refused(cli("shard", "synthetic", "seed:4", copy, "--limit", 24, "--workers", 1), 2, str(copy))
    assert tree(copy) == before
    (tmp_path / "file").touch()
    refused(cli("shard", "synthetic", "seed:4", tmp_path / "file", "--limit", 2), 2, "is a file")


# vtr pretrain, vtr finetune


@pytest.mark.parametrize(
    ("recipe", "arguments", "words"),
    [
        ("mac-tinny", [], ["no recipe 'mac-tinny'", "did you mean mac-tiny?"]),
        ("/nowhere/r.toml", [], ["no recipe '/nowhere/r.toml'", "mac-base, mac-tiny"]),
        ("nano", ["--set", "optim.lrr=1"], ["no setting 'optim.lrr'", "did you mean optim.lr?"]),
        ("nano", ["--set", "optim.lr"], ["--set 'optim.lr' has no value"]),
        ("nano", ["--set", "data.flip=maybe"], ["data.flip = 'maybe' is of the wrong type", "true or false"]),
        ("nano", ["--epochs", "-1"], ["train.epochs = -1.0"]),
        ("nano", ["--steps", "-1"], ["train.steps = -1"]),
        ("nano", ["--steps", "0"], ["--steps 0 trains nothing"]),
        ("nano", ["--epochs", "1e308"], ["train.epochs = 1e+308", "at most"]),
        ("nano", ["--set", "model.vocabulary=99999999999"], ["model.vocabulary = 99999999999", "at most 1e+06"]),
        ("nano", ["--set", "data.workers=500000"], ["data.workers = 500000", "at most 1024"]),
        ("nano", ["--set", "model.embed_dim=999999999999"], ["model.embed_dim", "at most 65536"]),
        ("nano", ["--lr", "0"], ["optim.lr = 0.0"]),
        ("nano", ["--mask-ratio", "1"], ["objective.mask_ratio = 1.0"]),
        ("nano", ["--frames", "3"], ["clips of 3 frames"]),
        ("nano", ["--batch-size", "1"], ["train.batch_size = 1"]),
        ("nano", ["--seed", "-1"], ["train.seed = -1"]),
        ("nano", ["--precision", "fp64"], ["train.precision = 'fp64'", "auto, fp32, bf16, fp16"]),
        ("nano", ["--precision", "fp16"], ["fp16 needs a GPU"]),
        ("nano", ["--device", "gpu"], ["the device 'gpu' cannot be used", "--device auto"]),
        ("mac-base", ["--device", "cpu"], ["tokenizer of 'distilbert-base-uncased' could not be loaded"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value and value[0][0] == "-" else "",
)
def test_recipes_and_settings(
    cli: Cli, nano: Path, shards: Path, tmp_path: Path, recipe: str, arguments: list[str], words: list[str]
) -> None:
    out = tmp_path / "run"
    given = ("pretrain", nano if recipe == "nano" else recipe, "--shards", shards, "--out", out, *arguments)
    refused(cli(*given), 1 if recipe == "mac-base" else 2, *words)  # a download that failed is no wrong input
    assert not out.exists()


def test_a_recipe_that_is_no_toml(cli: Cli, shards: Path, tmp_path: Path) -> None:
    given = ("pretrain", tmp_path / "r.toml", "--shards", shards, "--out", tmp_path / "r")
    (tmp_path / "r.toml").write_text("[data\nframes")
    refused(cli(*given), 2, "is not TOML")
    (tmp_path / "r.toml").write_text("# nothing\n")
    refused(cli(*given), 2, "r.toml is empty", "mac-tiny")


def test_memory_that_runs_out(nano: Path, shards: Path, tmp_path: Path) -> None:
    """A real process under a real limit: no traceback."""
    given = [VTR, "pretrain", nano, "--shards", shards, "--out", tmp_path / "r", "--set", "model.vocabulary=32"]
    wide = ["--set", "model.width=65536", "--set", "model.heads=1024", "--set", "data.workers=0"]
    command = f"ulimit -v 12000000; exec {shlex.join(map(str, [*given, *wide]))}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: memory ran out: ")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "eval", "embed", "pretrain --eval-shards"])
def test_shard_directories_that_are_none(
    cli: Cli, nano: Path, run: Path, shards: Path, tmp_path: Path, verb: str
) -> None:
    source = nano if verb.startswith("pretrain") else run
    out = [] if verb == "eval" else ["--out", tmp_path / "out"]

    def with_shards(folder: Path):
        given = ["--shards", shards, "--eval-shards", folder] if " " in verb else ["--shards", folder]
        return cli(verb.split(maxsplit=1)[0], source, *given, *out)

    refused(with_shards(tmp_path / "nothing"), 2, "nothing does not exist", "vtr shard")
    refused(with_shards(run), 2, "is a run, not a shard directory", "vtr shard")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(next(shards.glob("*.tar")), bare)
    refused(with_shards(bare), 2, "bare has tars but no index.parquet")
    cut = shutil.copytree(shards, tmp_path / "cut")
    with (cut / "000001.tar").open("r+b") as file:
        file.truncate(5000)
    refused(with_shards(cut), 2, "000001.tar has 5000 bytes, the index says")
    (cut / "000001.tar").unlink()
    refused(with_shards(cut), 2, "000001.tar is missing")
    (cut / "index.parquet").write_bytes(b"PAR1 nothing PAR1")
    refused(with_shards(cut), 2, "index.parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["finetune", "eval", "embed"])
def test_runs_that_are_none(cli: Cli, shards: Path, embeddings: Path, tmp_path: Path, verb: str) -> None:
    out = [] if verb == "eval" else ["--out", tmp_path / "out"]
    for source, words in (
        (tmp_path / "nothing", "there is no run"),
        (shards, "is a shard directory, not a run"),
        (embeddings, "holds no checkpoint"),
    ):
        refused(cli(verb, source, "--shards", shards, *out), 2, words, "vtr pretrain")
    assert not (tmp_path / "out").exists()


def test_another_run_on_the_same_out(cli: Cli, run: Path, nano: Path, shards: Path, test_shards: Path) -> None:
    before = tree(run)
    given = ("pretrain", nano, "--out", run, "--shards")
    refused(cli(*given, shards, "--lr", 5), 2, "optim.lr: 0.001 -> 5.0", "--fresh")
    refused(cli(*given, test_shards), 2, "was trained on the shards", "--fresh")
    refused(cli("finetune", run, "--shards", shards, "--out", run, "--fresh"), 2, "holds the run to start from")
    refused(cli("pretrain", nano, "--shards", shards, "--out", shards), 2, "is there and is not a run")
    assert tree(run) == before


# vtr eval, embed, search


def test_eval(cli: Cli, run: Path, test_shards: Path, tmp_path: Path) -> None:
    given = ("eval", run, "--shards", test_shards)
    refused(cli(*given, "--precision", "fp64"), 2, "precision 'fp64' is unknown")
    refused(cli(*given, "--device", "cuda:77"), 2, "device 'cuda:77' cannot be used")
    refused(cli(*given, "--out", tmp_path), 2, "is a directory")
    torn = shutil.copytree(run, tmp_path / "run")
    for weights in torn.rglob("model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:100])
    refused(cli("eval", torn, "--shards", test_shards), 2, "no checkpoint that is whole")


def test_embed_and_search(cli: Cli, run: Path, test_shards: Path, embeddings: Path, tmp_path: Path) -> None:
    before = tree(embeddings)
    given = ("embed", run, "--shards", test_shards, "--out")
    refused(cli(*given, embeddings, "--dtype", "float16"), 2, "with other options: dtype was float32")
    refused(cli(*given, tmp_path / "e", "--format", "csv"), 2, "format 'csv' is unknown")
    refused(cli(*given, tmp_path / "e", "--dtype", "int8"), 2, "'int8'", "float32, float16")
    (tmp_path / "file").touch()
    refused(cli(*given, tmp_path / "file"), 2, "is a file, embeddings are a directory")
    for there, what in ((test_shards, "a shard directory"), (run, "a run")):
        untouched = tree(there)
        refused(cli(*given, there, "--format", "npy"), 2, f"is {what}, no place for embeddings")
        refused(cli(*given, there, "--overwrite"), 2, f"is {what}, no place for embeddings")
        assert tree(there) == untouched
    refused(cli("search", tmp_path / "nothing", "a dog"), 2, "nothing does not exist")
    refused(cli("search", run, "a dog"), 2, "holds no embeddings")
    refused(cli("search", embeddings, " "), 2, "the query is empty")
    refused(cli("search", embeddings, "a dog", "-k", 0), 2, "-k 0")
    refused(cli("search", embeddings, "a dog", "--shards", "s3://b/s"), 2, "--shards says where", "--html or --serve")
    refused(cli("search", embeddings, "a dog", "--run", tmp_path / "nothing"), 2, "there is no run")
    older = run / "checkpoints" / "step-00000004"
    refused(cli("search", embeddings, "a dog", "--run", older), 2, "was made with the weights", "embed again")
    torn = shutil.copytree(embeddings, tmp_path / "torn")
    for file in torn.glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-50])
    refused(cli("search", torn, "a dog"), 2, "emb-00000.parquet")
    assert tree(embeddings) == before


def test_a_reader_that_goes_away(shards: Path) -> None:
    """`vtr shard ... | head -0`, as a real process: no word about the broken pipe."""
    command = [
        VTR,
        "shard",
        "synthetic",
        "seed:3",
        str(shards),
        "--split",
        "train",
        "--limit",
        "24",
        "--per-shard",
        "8",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
