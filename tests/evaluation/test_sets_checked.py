"""What bears a protocol's name, and what of a set is missing: splits, media, and videos that sharding lost."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from test_evaluation import CPU, coco, sharded

from vtr import api
from vtr.data import synthetic
from vtr.data.index import ShardIndex
from vtr.errors import DataError
from vtr.evaluation import lost
from vtr.retrieval import protocols, rows


def test_another_split_or_medium_does_not_bear_the_name(run, test_shards, tmp_path, monkeypatch):
    """Also where all counts are right: COCO has as many images and captions in val as in test."""
    images = coco(tmp_path / "val", "val")
    monkeypatch.setattr(protocols.Protocol, "expected", lambda self, split: (4, 20))
    with pytest.raises(DataError, match=r"this is not COCO, 5k test images: 4 labelled 'val', not 'test'\n"):
        api.evaluate(run, images, protocol="coco-5k", **CPU)
    part = api.evaluate(run, images, protocol="coco-5k", allow_partial=True, draws=0, **CPU)
    assert (part["protocol"]["split"], part["protocol"]["partial"]) == ("val", True)
    api.embed(run, images, tmp_path / "e", captions=True, **CPU)
    with pytest.raises(DataError, match="4 labelled 'val', not 'test'"):
        api.evaluate(embeddings=tmp_path / "e", shards=images, protocol="coco-5k")
    alone = api.evaluate(embeddings=tmp_path / "e", protocol="coco-5k", draws=0)  # which say nothing of either
    assert (alone["protocol"]["split"], alone["protocol"]["partial"]) == (None, False)
    unchecked = ["whether these are of the split 'test', for want of labels", "whether these are images"]
    assert alone["protocol"]["unchecked"] == unchecked
    assert rows.notes(alone)[0] == f"not checked: {unchecked[0]}"
    monkeypatch.setattr(protocols.Protocol, "expected", lambda self, split: (12, 12))
    with pytest.raises(DataError, match=r"1k test images: 12 of 12 are videos, not images\n"):
        api.evaluate(run, test_shards, protocol="flickr30k", **CPU)


def test_shards_that_name_no_split_are_taken_with_a_note(run, test_shards, tmp_path, monkeypatch):
    (tmp_path / "tars").mkdir()
    with tarfile.open(next(test_shards.glob("*.tar"))) as ours, tarfile.open(tmp_path / "tars" / "0.tar", "w") as out:
        for member in ours:
            data = ours.extractfile(member).read()
            if member.name.endswith(".json"):
                data = json.dumps({"caption": json.loads(data)["caption"]}).encode()
                member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    api.index_tars(tmp_path / "tars", workers=1)
    monkeypatch.setattr(protocols.Protocol, "expected", lambda self, split: (12, 12))
    found = api.evaluate(run, tmp_path / "tars", protocol="msrvtt-1ka", draws=0, **CPU)
    assert (found["protocol"]["split"], found["protocol"]["partial"]) == (None, False)
    assert found["protocol"]["unchecked"] == ["whether these are of the split '1k-A-test', for want of labels"]
    assert set(found.ranks()["split"].to_pylist()) == {""}


def test_what_was_lost_at_sharding_is_expected_and_named(run, tmp_path, monkeypatch):
    shards = sharded(tmp_path / "s", [[f"a red circle {n}"] for n in range(6)])
    (tmp_path / "s" / "v2.mp4").write_bytes(b"no video")
    (tmp_path / "s" / "v4.mp4").unlink()
    api.shard("table", str(tmp_path / "s" / "captions.csv"), tmp_path / "less", workers=1, max_skipped=0.5)
    whole, found = (api.evaluate(run, at, draws=0, **CPU) for at in (shards, tmp_path / "less"))
    assert (whole["expected"], whole["undecodable"]["count"]) == ({"videos": 6, "captions": None}, 0)
    assert (found["expected"], found["videos"]) == ({"videos": 6, "captions": None}, 4)
    assert found["protocol"]["problems"] == ["4 of 6 videos"]
    assert found["undecodable"] == {"count": 2, "kinds": {"not-video": 1, "missing": 1}, "first": ["v2", "v4"]}
    assert rows.notes(found) == ["2 could not be used (1 missing, 1 not-video): v2, v4"]
    (tmp_path / "less" / "skipped.jsonl").unlink()  # the manifest still counts them
    bare = api.evaluate(run, tmp_path / "less", draws=0, **CPU)
    monkeypatch.setenv("VTR_CACHE_DIR", str(tmp_path / "cache"))
    afar = api.evaluate(run, f"file://{tmp_path / 'less'}", draws=0, **CPU)
    assert all(afar[key] == bare[key] for key in ("expected", "undecodable", "manifest_sha256", "protocol", "t2v"))
    assert (bare["undecodable"]["count"], rows.notes(bare)) == (2, ["2 could not be used (1 missing, 1 not-video)"])
    for name, text in (("skipped.jsonl", "[]\n"), ("manifest.json", "{}")):
        (tmp_path / "less" / "skipped.jsonl").unlink(missing_ok=True)
        (tmp_path / "less" / name).write_text(text)
        with pytest.raises(DataError, match=rf"{name} is damaged"):
            api.evaluate(run, tmp_path / "less", **CPU)
    index = ShardIndex.open(tmp_path / "less")
    for count in ("10000000000", "-1", "Infinity", "1.5", "true", '"2"'):
        (tmp_path / "less" / "manifest.json").write_text(f'{{"skipped": {{"missing": {count}}}}}')
        with pytest.raises(DataError, match=r"manifest\.json is damaged: it counts .* of the kind 'missing', wanted a"):
            lost.left_out(index)
    (tmp_path / "less" / "manifest.json").write_text('{"skipped": {"missing": 1000000000, "no-caption": 7}}')
    assert lost.left_out(index) == ([], {"missing": 1_000_000_000})


def test_a_sample_of_others_that_has_no_caption_is_no_loss(run, tmp_path):
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "a.tar", "w") as new:
        for n, scene in zip(range(6), synthetic.scenes(1, "test"), strict=False):
            video = synthetic.encode(synthetic.render(scene))
            members = {"mp4": b"no video" if n == 3 else video, "txt": b"a red circle"}
            for ext, data in list(members.items())[: 1 if n == 1 else 2]:
                member = tarfile.TarInfo(f"v{n}.{ext}")
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    api.index_tars(str(tmp_path / "tars"), workers=1, max_skipped=0.9)
    entries = [json.loads(line) for line in (tmp_path / "tars" / "skipped.jsonl").read_text().splitlines()]
    assert {entry["key"]: entry["kind"] for entry in entries}["v1"] == "incomplete"
    found = api.evaluate(run, tmp_path / "tars", draws=0, **CPU)
    assert (found["undecodable"]["count"], found["undecodable"]["first"]) == (1, ["v3"])
    assert (found["expected"]["videos"], found["videos"]) == (5, 4)


def test_shards_of_another_set_are_no_source_for_embeddings(test_shards, tmp_path):
    rng = np.random.default_rng(0)
    for name, width in (("video", (4, 8)), ("text", (4, 8))):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal(width))
    (tmp_path / "videos.txt").write_text("a\nb\nc\nd\n")
    np.save(tmp_path / "caption_video.npy", np.arange(4))
    with pytest.raises(DataError, match=r"has none of the ids of these embeddings: not 'a', but "):
        api.evaluate(embeddings=tmp_path, shards=test_shards)
