"""Nothing let in, of work half done: what an interrupted run left, and the next goes on from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from door_helpers import CPU, HTML, changed, contents, payloads, tar_of, tried

from vtr import api
from vtr.data.foreign_tar import IndexTask, index_tar
from vtr.data.index import ShardIndex
from vtr.data.manifest import warnings_of
from vtr.data.oneshard import ShardTask, write_shard
from vtr.data.planfile import StoredPlan
from vtr.errors import DataError, VtrError
from vtr.evaluation.lost import left_out


class Beat:
    """A worker's, that nobody watches."""

    def native(self, item: int) -> Any:
        from contextlib import nullcontext

        return nullcontext()


@pytest.fixture
def indexing(clip: bytes, tmp_path: Path) -> tuple[Path, Path]:
    """A tar of others, and the part of it that an indexing left which was killed."""
    root = tmp_path / "tars"
    tar_of(root / "000000.tar", {"a.mp4": clip, "a.txt": b"a caption"})
    task = IndexTask(root, 0, "000000.tar", None, "")
    task.part.parent.mkdir()
    index_tar(task, Beat())
    return root, task.part


LINE = {"key": "../x", "video": f"../../{HTML}", "kind": "bad-tar", "message": "\x1b[2J"}
ODD: list[Any] = [5, [5], {"a": "b"}, [LINE]]


def test_parts_of_an_indexing(mark: Path, outside: Path, indexing: tuple[Path, Path]) -> None:
    root, part = indexing
    kept = part.read_bytes()

    def index() -> None:
        api.index_tars(root, workers=1, max_skipped=1)
        assert [shard.name for shard in ShardIndex.open(root).shards] == ["000000.tar"]

    def anew(write: Callable[[], object]) -> bool:
        (root / "index.parquet").unlink(missing_ok=True)
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(kept)
        write()
        return tried(index)

    for name in ("../secret", str(outside / "notes.txt"), f"pipe:touch {mark}"):
        assert not anew(lambda name=name: changed(part, shard=name)), "rows of another file"
        assert not (root / "index.parquet").exists()
    for name, value in (("skipped", [LINE]), ("skipped", 5), ("remarks", [5]), ("bytes", None)):
        anew(lambda name=name, value=value: changed(part, {b"vtr.indexing": {name: value}}))


def test_parts_of_an_indexing_that_are_none(mark: Path, outside: Path, indexing: tuple[Path, Path]) -> None:
    """They are made again; a link that stands for their folder is refused, and nothing is taken away behind it."""
    root, part = indexing
    part.write_bytes(payloads(mark)["zip"])
    assert api.index_tars(root, workers=1).samples == 1
    (root / "index.parquet").unlink()
    (root / ".indexing").symlink_to(outside)
    with pytest.raises(DataError, match=r"\.indexing is a link"):
        api.index_tars(root, workers=1)
    (root / ".indexing").unlink()
    (root / ".lock").symlink_to(outside / "made")
    with pytest.raises(VtrError, match="is a link, a lock is a file"):
        api.index_tars(root, workers=1)


@pytest.fixture
def sharding(clip: bytes, tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    """A shard directory that a sharding left which was killed before its index, and the command that goes on."""
    videos, out = tmp_path / "videos", tmp_path / "s"
    videos.mkdir()
    for name in ("a", "b"):
        (videos / f"{name}.mp4").write_bytes(clip)
        (videos / f"{name}.txt").write_text(f"caption {name}")
    api.plan_shards("folder", str(videos), out, per_shard=1)
    plan = json.loads((out / ".parts" / "plan.json").read_text())
    stored = StoredPlan(out / ".parts" / "plan.parquet", plan, {})
    for number, digest in enumerate(plan["digests"]):
        write_shard(ShardTask(out, number, stored.shard(number), digest), Beat())
    return out, lambda: api.shard("folder", str(videos), out, per_shard=1, workers=1, max_skipped=1)


def test_parts_of_a_sharding(mark: Path, outside: Path, sharding: tuple[Path, Callable[[], object]]) -> None:
    out, go_on = sharding
    part = out / ".parts" / "000000.parquet"
    before = contents(out)

    def anew(write: Callable[[], object]) -> bool:
        for name in ("index.parquet", "manifest.json", "skipped.jsonl"):
            (out / name).unlink(missing_ok=True)
        part.parent.mkdir(exist_ok=True)
        for name, data in before.items():
            if data is not None:
                (out / name).write_bytes(data)
        write()
        done = tried(go_on)
        assert not done or len(ShardIndex.open(out)) == 2
        return done

    for name in ("../secret", str(outside / "notes.txt"), f"pipe:touch {mark}"):
        assert not anew(lambda name=name: changed(part, shard=name)), "rows of another file"
    shard = [str(outside / "notes.txt"), (out / "000000.tar").stat().st_size, 1]
    assert anew(lambda: changed(part, {b"vtr.part": {"shard": shard}})), "made again"
    for key, value in (("skipped", [5]), ("pace", 5)):
        assert anew(lambda key=key, value=value: changed(part, {b"vtr.part": {key: value}})), "made again"
    assert anew(lambda: part.write_bytes(payloads(mark)["zip"])), "made again"
    assert not anew(lambda: (part.parent / "plan.json").write_bytes(payloads(mark)["zip"]))


def test_links_in_shards_that_are_not_whole(
    mark: Path, outside: Path, sharding: tuple[Path, Callable[[], object]]
) -> None:
    """Nothing is written or removed through any, nor through one that has the name that a writer would take next."""
    out, go_on = sharding
    for path in (out / "skipped.jsonl", out / "manifest.json", *(out / f"index.parquet.tmp-{os.getpid()}",)):
        path.symlink_to(outside / "not there yet")
    go_on()
    assert not any(path.is_symlink() for path in out.iterdir())
    (out / ".parts").symlink_to(outside)
    with pytest.raises(DataError, match=r"\.parts is a link"):
        go_on()


def test_what_stands_beside_shards(mark: Path, outside: Path, test_shards: Path, tmp_path: Path) -> None:
    """manifest.json and skipped.jsonl: pickles, pages, and names that lead out."""
    out = shutil.copytree(test_shards, tmp_path / "s")
    whole = json.loads((out / "manifest.json").read_text())
    plan = whole["plan"]

    def go_on() -> None:
        api.shard("synthetic", "seed:3", out, split="test", limit=12, workers=1, per_shard=12)

    assert tried(go_on)
    texts: list[bytes] = [*payloads(mark).values()]
    for name in ("../secret.tar", str(outside / "000000.tar"), f"pipe:touch {mark}"):
        shards = [whole["shards"][0] | {"name": name}]
        texts.append(json.dumps(whole | {"shards": shards}).encode())
    for value in ODD:
        texts += [json.dumps(whole | {key: value}).encode() for key in ("skipped", "census", "shards", "plan")]
    for text in texts:
        for name in ("manifest.json", "skipped.jsonl"):
            (out / name).write_bytes(text)
            for act in (go_on, lambda: warnings_of(ShardIndex.open(out)), lambda: left_out(ShardIndex.open(out))):
                tried(act)
            (out / "skipped.jsonl").write_bytes(b"")
    (out / "manifest.json").write_text(json.dumps(whole | {"census": {"warnings": [f"\x1b[2J{HTML}"]}, "plan": plan}))
    [warning] = warnings_of(ShardIndex.open(out))
    assert HTML in warning, "it is text; what prints it takes out what steers"


@pytest.mark.parametrize("format", ["parquet", "npy"])
def test_parts_of_an_embedding(
    mark: Path, outside: Path, format: str, run: Path, test_shards: Path, tmp_path: Path
) -> None:
    """Files of parts that are none are made again; links for their folders are refused, those for files replaced."""
    out = tmp_path / "e"

    def embed() -> None:
        api.embed(run, test_shards, out, format=format, captions=format == "npy", **CPU)

    embed()
    parts = [path for path in out.rglob("*") if path.suffix in (".parquet", ".npy")]
    assert len(parts) == (1 if format == "parquet" else 4)
    whole = contents(out)
    kind = "npy" if format == "npy" else "zip"
    for path in (out / "plan.json", out / "manifest.json", parts[-1]):
        path.write_bytes(payloads(mark)[kind])
        assert tried(embed) == (path.name != "plan.json")
        if (path.name, format) == ("manifest.json", "parquet"):
            path.unlink()  # nobody's
        elif path.name == "plan.json":
            path.write_bytes(whole["plan.json"] or b"")
        assert contents(out) == whole
    for path in parts:
        path.unlink()
        path.symlink_to(outside / "notes.txt")
    (out / f".clips-{os.getpid()}").symlink_to(outside)
    (out / "skipped.jsonl").symlink_to(outside / "notes.txt")
    (out / "other_emb").symlink_to(outside)
    embed()
    assert not any(path.is_symlink() for path in parts)
    assert not (out / f".clips-{os.getpid()}").is_symlink()
    for folder in ("img_emb", ".anew"):
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).symlink_to(outside)
        for overwrite in (False, True):
            with pytest.raises(DataError, match=f"{folder} is a link"):
                api.embed(run, test_shards, out, format=format, overwrite=overwrite, **CPU)
        (out / folder).unlink()
