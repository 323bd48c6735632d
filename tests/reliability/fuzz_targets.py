"""What reads each kind of file, damaged or not.

A target is handed a folder in which one file has been damaged. It does what it can with it, and may raise VtrErrors.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vtr.errors import VideoError, VtrError


@dataclass(frozen=True)
class Target:
    """`folder` holds the originals; those that match `files` are damaged, `weight` times as many as of weight 1."""

    folder: str
    files: tuple[str, ...]
    read: Callable[[Path, Path], None]
    weight: int = 1


def _read_media(folder: Path, path: Path) -> None:
    from vtr.data.limits import DEFAULT
    from vtr.data.store import FrameStore, VideoStore

    data = path.read_bytes()
    suffix = path.suffix.lstrip(".")
    VideoStore().prepare(data, suffix, DEFAULT)
    if len(data) % 4 == 0:
        FrameStore().prepare(data, suffix, DEFAULT)


def _read_tar(folder: Path, path: Path) -> None:
    from vtr.data import foreign_tar
    from vtr.data.crew import Beat

    task = foreign_tar.IndexTask(folder, 0, path.name, None, "train")
    task.part.parent.mkdir()
    foreign_tar.index_tar(task, Beat([0.0, 0.0]))
    found = foreign_tar.read_part(task)
    assert found is not None
    if found["skipped"]:
        raise VideoError(found["skipped"][0]["kind"], found["skipped"][0]["message"])


def _read_shards(folder: Path, path: Path) -> None:
    from vtr import api
    from vtr.cli.inspect_shards import show
    from vtr.data import facts
    from vtr.data.dataset import ClipDataset, ClipShape
    from vtr.data.index import ShardIndex
    from vtr.retrieval import sources

    if path.name == "manifest.json":
        api.shard("synthetic", "seed:3", folder, split="train", limit=6, workers=1, per_shard=3)
        return
    index = ShardIndex.open(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        show(facts.describe(index) | {"warnings": []})
    sources.of_shards(folder)
    index.subsets()
    for i in range(len(index)):
        index.info(i)
        try:
            index.read(i)
        except VtrError:
            continue
    ClipDataset(index, ClipShape(4, 32, 36, decoder="pyav"), training=True)[0, len(index) - 1]


def _read_table(folder: Path, path: Path) -> None:
    from vtr.data import annotations, plan
    from vtr.retrieval import sources

    if path.suffix == ".txt":
        sources.of_text(path)
        return
    samples = annotations.read("table", str(path))
    annotations.take_census("table", str(path), annotations.ReaderOptions(), samples).record()
    plan.make_plan(samples, None, {"reader": "table"})


def _read_benchmark(folder: Path, path: Path) -> None:
    from vtr.data import annotations, plan

    reader = path.relative_to(folder).parts[0]
    source = str(folder / reader)
    samples = annotations.read(reader, source)
    annotations.take_census(reader, source, annotations.ReaderOptions(), samples).record()
    plan.make_plan(samples, None, {"reader": reader})


def _read_recipe(folder: Path, path: Path) -> None:
    from vtr import recipe

    recipe.to_toml(recipe.load(str(path)))


def _read_checkpoint(folder: Path, path: Path) -> None:
    """With its hashes put right, as somebody would who means harm."""
    from vtr import build
    from vtr.training.state import read_state

    if path.name != "sha256.json":
        hashes = folder / "sha256.json"
        wanted = json.loads(hashes.read_bytes())
        wanted[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        hashes.unlink()
        hashes.write_text(json.dumps(wanted))
    if path.parent.name == "state":
        read_state(folder, _optimizer(str(folder / "config.toml")), None)
    else:
        build.load_parts(folder)


@lru_cache(maxsize=2)
def _config(text: str) -> Any:
    from vtr import recipe

    return recipe.load(text)


def _optimizer(config_file: str) -> Any:
    from vtr import build, makers, run
    from vtr.data import tokenizer

    config = _config(config_file)
    words = tokenizer.load(Path(config_file).parent / "tokenizer", config.data.words)
    objective = makers.make_objective(config, build.make_model(config, words), words)
    return run.make_optimizer(config, objective, 4)


def _read_run(folder: Path, path: Path) -> None:
    """A run that is gone on with: what of it would go on."""
    from vtr import checkpoint
    from vtr.config import Config
    from vtr.data.index import ShardIndex
    from vtr.rundir import found
    from vtr.training.log import RunLog
    from vtr.training.quarantine import Quarantine

    index = ShardIndex.open(folder.parent / "shards")
    record = {"verb": "pretrain", "data": index.digest, "init": ""}
    if path.suffix == ".jsonl":
        with RunLog(path, 10, 1, show=True):
            Quarantine(folder / "quarantine.jsonl", write=True)
        return
    found(folder, record, Config(), fresh=False)
    checkpoint.newest(folder)


def _read_pth(folder: Path, path: Path) -> None:
    from vtr.models import pth

    pth.read(path)


def _read_export(folder: Path, path: Path) -> None:
    from vtr.retrieval import mapped, store
    from vtr.retrieval.library import Library
    from vtr.retrieval.media import Media

    store.read(folder).pairs()
    mapped.LARGE = 1  # so that the copy of the vectors is read too
    library = Library(folder)
    library.search(library.vector(0), 3)
    media = Media(folder, library.rows)
    for row in range(min(2, len(library))):
        media.place(row)


def _read_result(folder: Path, path: Path) -> None:
    from vtr.hub.write import _results
    from vtr.retrieval.compare import compare
    from vtr.retrieval.result import read

    found = read(folder / "r.json")
    _results(found.record)
    compare(found, read(folder / "r.json"))


def _read_hub(folder: Path, path: Path) -> None:
    from vtr.hub.model import VtrModel
    from vtr.hub.processor import VtrProcessor

    VtrProcessor.from_pretrained(folder)(text=["a word"])
    if path.name not in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        VtrModel.from_pretrained(folder)


TARGETS: dict[str, Target] = {
    "media": Target("media", ("*",), _read_media, 4),
    "tar": Target("tars", ("*.tar",), _read_tar, 3),
    "shards": Target("shards", ("index.parquet", "manifest.json"), _read_shards, 3),
    "tables": Target("tables", ("*",), _read_table, 3),
    "benchmarks": Target("benchmarks", ("**/*.*",), _read_benchmark, 3),
    "recipes": Target("recipes", ("*.toml",), _read_recipe, 2),
    "checkpoint": Target("checkpoint", ("*.*", "tokenizer/*", "state/*"), _read_checkpoint, 3),
    "run": Target("run", ("run.json", "config.toml", "metrics.jsonl"), _read_run, 1),
    "pth": Target("pth", ("*.pth",), _read_pth, 2),
    "export as Parquet": Target("export-parquet", ("*.parquet", "plan.json", ".index/*.npy"), _read_export, 2),
    "export as npy": Target("export-npy", ("**/*.*",), _read_export, 2),
    "result": Target("result", ("*",), _read_result, 1),
    "hub": Target("hub", ("*.json", "*.safetensors"), _read_hub, 1),
}
QUICK = ("media", "tar", "tables", "benchmarks", "recipes")  # no run is trained for them
