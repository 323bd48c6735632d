"""The verbs as functions: what a run scores, exports and finds, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vtr
from vtr import api, build, checkpoint, recipe
from vtr.errors import ConfigError, DataError, InputError, RunError, WorkError
from vtr.retrieval import store

CPU = {"device": "cpu", "precision": "fp32"}
METRICS = {"R@1", "R@5", "R@10", "MdR", "MnR"}


def test_the_verbs_are_lazy_names_of_the_package() -> None:
    assert vtr.pretrain is api.pretrain
    assert set(vtr.__all__) >= {"shard", "pretrain", "finetune", "evaluate", "embed", "search"}
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = vtr.train


def test_figures_are_percentages_and_ranks(run: Path, test_shards: Path) -> None:
    result = api.evaluate(run, test_shards, **CPU)
    for way in ("t2v", "v2t"):
        assert set(result[way]) == METRICS
        assert 0 <= result[way]["R@1"] <= result[way]["R@5"] <= result[way]["R@10"] <= 100
        assert 1 <= result[way]["MdR"] <= 12
        assert 1 <= result[way]["MnR"] <= 12
    assert (result["videos"], result["captions"], result["nan"]) == (12, 12, 0)
    assert result["weights_sha256"] == checkpoint.sha256(build.load_parts(run)[3] / "model.safetensors")
    json.dumps(result)


@pytest.mark.parametrize("how", [{"batch_size": 5}, {"workers": 2}, {"batch_size": 1, "workers": 1}])
def test_figures_do_not_depend_on_how_they_are_made(run: Path, test_shards: Path, how: dict) -> None:
    assert api.evaluate(run, test_shards, **CPU, **how) == api.evaluate(run, test_shards, **CPU)


def test_a_checkpoint_is_a_run(run: Path, test_shards: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(checkpoint.steps(run)[0], tmp_path / "alone")
    older = api.evaluate(alone, test_shards, **CPU)
    assert older["weights_sha256"] != api.evaluate(run, test_shards, **CPU)["weights_sha256"]
    assert older["model"] == str(alone)


def test_several_captions_of_a_video_are_queries_of_their_own(run: Path, tmp_path: Path) -> None:
    rows = ["video,caption"]
    for n in range(3):
        from vtr.data import synthetic

        scene = synthetic.Scene((synthetic.Actor("red", "star", "left"),), "black", n)
        (tmp_path / f"v{n}.mp4").write_bytes(synthetic.encode(synthetic.render(scene)))
        rows += [f"v{n}.mp4,a red star {k}" for k in range(n + 1)]
    (tmp_path / "c.csv").write_text("\n".join(rows))
    api.shard("table", str(tmp_path / "c.csv"), tmp_path / "s", workers=1)
    result = api.evaluate(run, tmp_path / "s", **CPU)
    assert (result["videos"], result["captions"]) == (3, 6)
    files = api.embed(run, tmp_path / "s", tmp_path / "e", captions=True, **CPU).files
    rows = store.read(files[0].parent)
    assert len(rows) == 9
    assert rows.captions[2] == "a red star 0 | a red star 1 | a red star 2"
    assert [rows.ids[i] for i in range(3, 9)] == ["v0", "v1", "v1", "v2", "v2", "v2"]


def test_it_learns(nano: Path, shards: Path, tmp_path: Path) -> None:
    """24 clips by heart: pairing, gradients and evaluation fit together."""
    given = {"train.steps": 150, "train.batch_size": 24, "optim.lr": 3e-3, "data.crop_min": 1.0, "data.cache_gb": 0.1,
             "train.save_every": 1000, "objective.mask_ratio": 0.25, "objective.word_ratio": 0.0}  # fmt: skip
    out = tmp_path / "run"
    api.pretrain(recipe.override(recipe.load(str(nano)), given), shards, out, eval_shards=shards)
    result = api.evaluate(out, shards, **CPU)
    assert result["t2v"]["R@1"] >= 90
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 150
    assert last["t2v R@1"] == pytest.approx(result["t2v"]["R@1"])


# finetune


def test_finetuning_goes_on_from_a_run_by_contrast_alone(run: Path, shards: Path, tmp_path: Path) -> None:
    path = api.finetune(run, shards, tmp_path / "ft", overrides={"optim.lr": 1e-4})
    config = build.load_parts(tmp_path / "ft")[0]
    assert (config.objective.name, config.optim.lr, config.train.epochs) == ("contrastive", 1e-4, 1.0)
    assert path.name == "step-00000003", "one epoch, as [finetune] has it"
    record = json.loads((tmp_path / "ft" / "run.json").read_text())
    assert record["verb"] == "finetune"
    assert record["init"] == checkpoint.sha256(build.load_parts(run)[3] / "model.safetensors")


def test_finetuning_begins_with_the_runs_weights(run: Path, shards: Path, tmp_path: Path) -> None:
    api.finetune(run, shards, tmp_path / "ft", overrides={"optim.lr": 1e-12, "train.steps": 1})
    _, before, _, _ = build.load_parts(run)
    _, after, _, _ = build.load_parts(tmp_path / "ft")
    for (name, a), b in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        assert (a - b).abs().max() < 1e-9, name


def test_finetuning_from_other_weights_on_the_same_out_is_refused(run: Path, shards: Path, tmp_path: Path) -> None:
    api.finetune(run, shards, tmp_path / "ft", overrides={"train.steps": 1})
    older = checkpoint.steps(run)[0]
    with pytest.raises(RunError, match=r"started from the weights \w{12}, not \w{12}"):
        api.finetune(older, shards, tmp_path / "ft", overrides={"train.steps": 1})


@pytest.mark.parametrize("fresh", [False, True])
def test_finetuning_never_removes_what_it_starts_from(run: Path, shards: Path, fresh: bool) -> None:
    for source in (run, checkpoint.steps(run)[0]):
        with pytest.raises(RunError, match=r"holds the run to start from\n.*another --out"):
            api.finetune(source, shards, run, fresh=fresh)
    with pytest.raises(RunError, match="is there and is not a run"):
        api.finetune(run, shards, run.parent, fresh=fresh)
    assert len(checkpoint.steps(run)) == 2


@pytest.mark.parametrize(("key", "value"), [("model.depth", 2), ("data.words", 16), ("model.temperature", 0.1)])
def test_finetuning_keeps_the_model(run: Path, shards: Path, tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"fine-tuning keeps the model of .*nano: {key}: .* -> {value}\n"):
        api.finetune(run, shards, tmp_path / "ft", overrides={key: value})
    assert not (tmp_path / "ft").exists()


def test_finetuning_takes_clips_of_another_length_and_size(run: Path, shards: Path, tmp_path: Path) -> None:
    given = {"data.frames": 8, "data.size": 48, "data.resize": 48, "train.steps": 1}
    api.finetune(run, shards, tmp_path / "ft", overrides=given)
    model = build.load_parts(tmp_path / "ft")[1]
    assert (model.video.slots, model.video.grid) == (4, 6)


@pytest.mark.parametrize("towers", ["text", "video", "both"])
def test_pretrained_towers(
    nano: Path, shards: Path, test_shards: Path, tmp_path: Path, distilbert: Path, timm_vit: Path, towers: str
) -> None:
    text = {"model.text": str(distilbert), "model.pool": "cls"} if towers != "video" else {}
    video = {"model.video": f"local-dir:{timm_vit}", "model.tubelet": 1, "model.attention": "divided"}
    given = {**text, **(video if towers != "text" else {}), "train.steps": 2}
    api.pretrain(recipe.override(recipe.load(str(nano)), given), shards, tmp_path / "run", eval_shards=test_shards)
    assert set(api.evaluate(tmp_path / "run", test_shards, **CPU)["t2v"]) == METRICS


# embed and search


@pytest.mark.parametrize("layout", ["parquet", "npy"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_export_says_what_it_is(run: Path, test_shards: Path, tmp_path: Path, layout: str, dtype: str) -> None:
    files = api.embed(run, test_shards, tmp_path / "e", format=layout, dtype=dtype, captions=True, **CPU).files
    assert all(file.is_file() for file in files)
    rows = store.read(tmp_path / "e")
    assert rows.vectors.shape == (24, 16)
    np.testing.assert_allclose(np.linalg.norm(rows.vectors, axis=1), 1, atol=1e-3)
    assert list(rows.modality) == ["video"] * 12 + ["text"] * 12
    assert rows.meta["weights_sha256"] == checkpoint.sha256(build.load_parts(run)[3] / "model.safetensors")
    assert (rows.meta["model"], rows.meta["frames"], rows.meta["dim"]) == (str(run), "4", "16")
    assert rows.meta["preprocessing"] == "short side 36, centre crop 32, middle frame of each segment"
    with pytest.raises(DataError, match=r"other options: .*captions was True and is none"):
        api.embed(run, test_shards, tmp_path / "e", format=layout, dtype=dtype, **CPU)
    api.embed(run, test_shards, tmp_path / "e", format=layout, overwrite=True, **CPU)
    assert len(store.read(tmp_path / "e")) == 12


def test_an_export_of_an_unknown_kind(run: Path, test_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"format 'csv' is unknown\n.*parquet, npy"):
        api.embed(run, test_shards, tmp_path / "e", format="csv")
    with pytest.raises(InputError, match="cannot be stored as 'int8'"):
        api.embed(run, test_shards, tmp_path / "e", dtype="int8")
    assert not (tmp_path / "e").exists()


def test_the_nearest_videos_of_a_text(run: Path, embeddings: Path) -> None:
    hits = api.search(embeddings, "a red circle moves left", k=3, device="cpu")
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert set(hits[0]) == {"rank", "score", "row", "id", "source", "start_s", "end_s", "caption"}
    rows = store.read(embeddings)
    loaded = build.load_model(run, "cpu", "fp32")
    tokens = loaded.tokenizer(["a red circle moves left"])
    import torch

    query = loaded.embedder.embed_text(torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)).numpy()[0]
    scores = rows.vectors @ query
    assert [hit["id"] for hit in hits] == [rows.ids[i] for i in np.argsort(-scores)[:3]]
    assert len(api.search(embeddings, "a dog", k=100, device="cpu")) == 12


def test_captions_in_an_export_are_not_found(run: Path, test_shards: Path, tmp_path: Path) -> None:
    api.embed(run, test_shards, tmp_path / "e", captions=True, **CPU)
    hits = api.search(tmp_path / "e", "a dog", k=100, device="cpu")
    assert len(hits) == 12


def test_searching_with_other_weights_is_refused(run: Path, embeddings: Path) -> None:
    other = checkpoint.steps(run)[0]
    words = r"was made with the weights \w{12} of .*nano, .*step-00000004 has \w{12}\n.*embed again"
    with pytest.raises(RunError, match=words):
        api.search(embeddings, "a dog", run=other, device="cpu")


def test_a_run_that_has_moved(run: Path, test_shards: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "run")
    api.embed(moved, test_shards, tmp_path / "e", **CPU)
    moved = moved.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"was made by the run '.*/run', which is not here\n.*--run RUN"):
        api.search(tmp_path / "e", "a dog", device="cpu")
    assert len(api.search(tmp_path / "e", "a dog", run=moved, device="cpu")) == 5


def test_searches_for_nothing(embeddings: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the query is empty"):
        api.search(embeddings, "  ")
    with pytest.raises(InputError, match=r"-k 0 asks for no hits"):
        api.search(embeddings, "a dog", k=0)
    with pytest.raises(DataError, match="does not exist"):
        api.search(tmp_path / "nothing", "a dog")
    with pytest.raises(DataError, match="holds no embeddings"):
        api.search(run, "a dog")


def test_a_damaged_video_gets_no_vector(run: Path, test_shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(test_shards, tmp_path / "s")
    tar = next(copy.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    at = data.index(b"mdat") + 50
    data[at : at + 20] = bytes(20)
    tar.write_bytes(data)
    with pytest.raises(WorkError, match=r"test-000000 in .* cannot be read \(corrupt\): .*\n.*make the shards anew"):
        api.embed(run, copy, tmp_path / "e", **CPU)
    assert not list((tmp_path / "e").glob("emb-*"))
