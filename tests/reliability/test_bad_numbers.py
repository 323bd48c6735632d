"""Odd but true data through every verb: strange captions and videos, sets of none and of one, vectors that are none."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vtr import api, recipe
from vtr.errors import ConfigError, DataError, InputError, VtrError
from vtr.retrieval import store
from vtr.retrieval.result import read as read_result

CPU = {"device": "cpu", "precision": "fp32"}
STRANGE = {
    "long": "word " * 10_000,
    "one-word": "a" * 20_000,
    "emoji": "🐕‍🦺🏃🏽‍♀️👨‍👩‍👧‍👦 🇺🇳",
    "right-to-left": "كلب يجري \u202eabc\u202c שלום",
    "punctuation": "?!... --- ,,, '\"'",
    "marks": "Z̸̧̛a̷l̶g̵o̸ \u200b\u200d\ufeff a\u0301",
    "controls": "a\x01\x07\x1b[2J\x00b",
    "chinese": "一只狗在草地上奔跑",
    "markup": "<b>&amp;</b> {0} %s $HOME `x` [MASK] [PAD] </s>",
}


def film(path: Path, stamps: list[float], size: tuple[int, int] = (64, 48)) -> None:
    """An mp4 whose frames show at `stamps` seconds."""
    import av

    with av.open(str(path), "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for n, stamp in enumerate(stamps):
            picture = np.full((size[1], size[0], 3), 40 * n % 255, np.uint8)
            picture[10:30, 3 * n % 40 : 3 * n % 40 + 15] = (255, 9 * n % 255, 0)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


FILMS: dict[str, list[float]] = {
    "one-frame": [0.0],
    "two-frames": [0.0, 0.1],
    "ten-hours": [0.0, 1.0, 36_000.0],
    "variable-rate": [0.0, 0.04, 0.05, 1.0, 1.001, 1.5, 4.0, 4.04, 9.0],
    "starts-late": [5.0, 5.1, 5.2],
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each strange film, each strange caption at one of them."""
    folder = tmp_path_factory.mktemp("odd")
    names = list(FILMS)
    for n, (name, caption) in enumerate(STRANGE.items()):
        of = names[n % len(names)]
        film(folder / f"{name}-{of}.mp4", FILMS[of], (64 + 16 * (n % 2), 48))
        (folder / f"{name}-{of}.txt").write_text(caption, "utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", ["video", "frames"])
def test_odd_data_through_every_verb(how: str, odd: Path, nano: Path, tmp_path: Path) -> None:
    shards = tmp_path / "s"
    made = api.shard("folder", str(odd), shards, workers=1, store=how)
    assert (made.samples, made.skipped) == (len(STRANGE), {})
    report = api.inspect_shards(shards, verify=True, workers=1, sheet=tmp_path / "sheet.png")
    assert report["verified"]["problems"] == ()
    given = {"train.steps": 3, "data.sampler": "dense" if how == "frames" else "segments"}
    config = recipe.override(recipe.load(str(nano)), given)
    api.pretrain(config, shards, tmp_path / "run", eval_shards=shards)
    api.finetune(tmp_path / "run", shards, tmp_path / "ft", overrides={"train.steps": 2})
    result = api.evaluate(tmp_path / "ft", shards, draws=10, **CPU)
    assert all(math.isfinite(result[way][name]) for way in ("t2v", "v2t") for name in ("R@1", "MdR", "MnR"))
    result.write(tmp_path / "r.json")
    result.report(tmp_path / "r.html")
    api.compare(tmp_path / "r.json", tmp_path / "r.json")
    out = tmp_path / "e"
    api.embed(tmp_path / "ft", shards, out, captions=True, **CPU)
    vectors = store.read(out).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    for caption in STRANGE.values():
        hits = api.search(out, caption, device="cpu")
        assert len(hits) == 5
        assert np.isfinite([hit["score"] for hit in hits]).all()
    api.write_page(out, [{"query": caption, "hits": hits} for caption in STRANGE.values()], tmp_path / "p.html")
    if how == "video":
        spans = tmp_path / "spans"
        api.embed(tmp_path / "ft", None, spans, videos=odd, segments="600s", **CPU)
        found = store.read(spans)
        assert found.ids.count("long-one-frame.mp4") <= 1
        assert max(found.end_s) > 35_000
        assert len(found) == 60 * sum("ten-hours" in path.stem for path in odd.glob("*.mp4")) + sum(
            "ten-hours" not in path.stem for path in odd.glob("*.mp4")
        )
        some = next(odd.glob("*ten-hours.mp4"))
        assert len(api.search(spans, like=some, device="cpu", k=3)) == 3


def test_a_length_that_is_made_up(odd: Path, run: Path, tmp_path: Path) -> None:
    """Spans of a header that promises a day are too many, and that costs this video alone."""
    folder = tmp_path / "v"
    folder.mkdir()
    film(folder / "day.mp4", [0.0, 100_000.0])
    film(folder / "short.mp4", [0.0, 0.1, 0.2])
    found = api.embed(run, None, tmp_path / "e", videos=folder, segments="4s/0.1s", max_skipped=1, **CPU)
    assert [(entry["id"], entry["kind"]) for entry in found.skipped] == [("day.mp4", "too-large")]
    assert found.rows == 1


def test_captions_that_are_nothing(odd: Path, tmp_path: Path) -> None:
    video = next(odd.glob("*.mp4"))
    for caption in ("", "   ", "\t", "\u2003"):
        (odd / "t.csv").write_text(f'video,caption\n{video.name},"{caption}"\n')
        with pytest.raises(DataError, match="has an empty caption"):
            api.shard("table", str(odd / "t.csv"), tmp_path / "s", workers=1)
    (odd / "t.csv").unlink()


def one(folder: Path, count: int) -> Path:
    """A shard directory of so many samples."""
    api.shard("synthetic", "seed:5", folder, split="train", limit=count, workers=1)
    return folder


def test_a_set_of_one(nano: Path, run: Path, tmp_path: Path) -> None:
    shards = one(tmp_path / "s", 1)
    assert api.inspect_shards(shards, verify=True, workers=1, sheet=tmp_path / "x.png")["samples"] == 1
    for act in (
        lambda: api.pretrain(str(nano), shards, tmp_path / "a"),
        lambda: api.finetune(run, shards, tmp_path / "b"),
    ):
        with pytest.raises(ConfigError, match="holds 1 sample, a contrast needs 2"):
            act()
    result = api.evaluate(run, shards, draws=10, **CPU)
    assert result["t2v"]["R@1"] == 100.0
    result.write(tmp_path / "r.json")
    result.report(tmp_path / "r.html")
    api.compare(tmp_path / "r.json", tmp_path / "r.json")
    api.embed(run, shards, tmp_path / "e", captions=True, **CPU)
    assert len(api.search(tmp_path / "e", "a dog", k=10, device="cpu")) == 1


def test_a_set_of_none(nano: Path, run: Path, tmp_path: Path) -> None:
    """All videos were left out: there is an index, and nothing in it."""
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "t.csv").write_text("video,caption\nbad.mp4,a dog\n")
    shards = tmp_path / "s"
    with pytest.raises(VtrError, match="1 of 1 samples were skipped"):
        api.shard("table", str(tmp_path / "t.csv"), shards, workers=1)
    for act in (
        lambda: api.inspect_shards(shards),
        lambda: api.pretrain(str(nano), shards, tmp_path / "a"),
        lambda: api.finetune(run, shards, tmp_path / "b"),
        lambda: api.evaluate(run, shards, **CPU),
        lambda: api.embed(run, shards, tmp_path / "e", **CPU),
    ):
        with pytest.raises(DataError, match="holds no samples"):
            act()
    (tmp_path / "none").mkdir()
    for reader, source in (("folder", tmp_path / "none"), ("table", tmp_path / "none.csv")):
        with pytest.raises(DataError):
            api.shard(reader, str(source), tmp_path / "t", workers=1)
    with pytest.raises(DataError, match="has no tars"):
        api.index_tars(tmp_path / "none", workers=1)
    with pytest.raises(DataError, match="holds no video file"):
        api.embed(run, None, tmp_path / "e", videos=tmp_path / "none", **CPU)
    with pytest.raises(DataError, match="holds no embeddings"):
        api.search(tmp_path / "none", "a dog")
    with pytest.raises(InputError, match="the query is empty"):
        api.search(tmp_path / "none", " ")


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_batch_of_another_size_than_the_set(batch: int, nano: Path, run: Path, tmp_path: Path) -> None:
    """Larger, or one that leaves a rest of one: every sample is there once, with the same vector."""
    shards = one(tmp_path / "s", 8)
    api.embed(run, shards, tmp_path / "e", batch_size=batch, captions=True, **CPU)
    api.embed(run, shards, tmp_path / "f", batch_size=8, captions=True, **CPU)
    a, b = store.read(tmp_path / "e"), store.read(tmp_path / "f")
    assert a.ids == b.ids
    np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-6)
    ours, theirs = (api.evaluate(run, shards, batch_size=size, draws=0, **CPU) for size in (batch, 8))
    assert ours["t2v"] == theirs["t2v"]
    if batch > 1:
        given = {"train.batch_size": batch, "train.steps": 2}
        last = api.pretrain(recipe.override(recipe.load(str(nano)), given), shards, tmp_path / "run")
        assert last.is_dir()


def vectors_of(folder: Path, rows: np.ndarray, run: Path, shards: Path) -> Path:
    """An export with these vectors in the place of its videos'."""
    from dataclasses import replace

    from vtr.retrieval import parts
    from vtr.retrieval.plan import planned

    api.embed(run, shards, folder / "whole", captions=True, **CPU)
    found = store.read(folder / "whole")
    video = np.array(found.modality) == "video"
    vectors = np.array(found.vectors)
    vectors[np.flatnonzero(video)[: len(rows)]] = rows
    parts.write(folder / "whole", planned(folder / "whole"), 0, replace(found, vectors=vectors), [])
    return folder / "whole"


def test_vectors_that_are_not_numbers(run: Path, test_shards: Path, tmp_path: Path) -> None:
    """They are never found, rank last, and are counted."""
    rows = np.stack([np.full(16, np.nan), np.full(16, np.inf)]).astype(np.float32)
    export = vectors_of(tmp_path, rows, run, test_shards)
    lost = set(store.read(export).only("video").ids[:2])
    hits = api.search(export, "a red circle", k=100, run=run, device="cpu")
    assert len(hits) == 10
    assert not lost & {hit["id"] for hit in hits}
    result = api.evaluate(embeddings=export, draws=10)
    assert result["nan"] > 0
    assert all(math.isfinite(result[way][name]) for way in ("t2v", "v2t") for name in ("R@1", "MdR", "MnR"))
    result.write(tmp_path / "r.json")
    ranks = read_result(tmp_path / "r.json").ranks.to_pylist()
    worst = [row for row in ranks if row["direction"] == "t2v" and row["id"] in lost]
    assert len(worst) >= 2
    assert {row["rank"] for row in worst} == {12.0}


@pytest.mark.parametrize("scale", [0.0, 1e-30, 3.0, 1e30])
def test_vectors_of_another_length_than_one(scale: float, run: Path, test_shards: Path, tmp_path: Path) -> None:
    row = np.zeros((1, 16), np.float32)
    row[0, 0] = scale
    export = vectors_of(tmp_path, row, run, test_shards)
    with pytest.raises(DataError, match=r"has length .*, wanted 1"):
        api.search(export, "a red circle", run=run, device="cpu")
    result = api.evaluate(embeddings=export, draws=0)
    assert (result["nan"] > 0) == (scale == 0.0), "made unit rows, where they have a direction"


def test_a_run_whose_weights_are_not_numbers(run: Path, test_shards: Path, tmp_path: Path) -> None:
    """Its vectors are none: said when they are searched, and no figure is made of them."""
    import hashlib
    import json
    import shutil

    from safetensors.numpy import load_file, save

    from vtr import checkpoint

    last = checkpoint.steps(shutil.copytree(run, tmp_path / "run"))[-1]
    state = load_file(last / "model.safetensors")
    state = {name: np.full_like(value, np.nan) if value.dtype.kind == "f" else value for name, value in state.items()}
    data = save(state)
    (last / "model.safetensors").write_bytes(data)
    hashes = json.loads((last / "sha256.json").read_text())
    hashes["model.safetensors"] = hashlib.sha256(data).hexdigest()
    (last / "sha256.json").write_text(json.dumps(hashes))
    result = api.evaluate(last, test_shards, draws=10, **CPU)
    assert result["t2v"]["R@1"] == 0.0
    assert result["nan"] == 12 * 12
    api.embed(last, test_shards, tmp_path / "e", **CPU)
    with pytest.raises(DataError, match="a query embedding is not finite"):
        api.search(tmp_path / "e", "a dog", device="cpu")
