"""Runs in other libraries: transformers, sentence-transformers and onnxruntime give the vectors that vtr gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from vtr import api, build, recipe
from vtr.data.clipping import clip_file
from vtr.data.index import ShardIndex
from vtr.errors import InputError, RunError

TEXTS = ["a red circle moves left", "a dog"]


@pytest.fixture(scope="module")
def clip(test_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    path.write_bytes(ShardIndex.open(test_shards).read_video(0))
    return path


@pytest.fixture(scope="module")
def divided(nano: Path, shards: Path, distilbert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with divided attention and a pretrained text model, read out at CLS."""
    out = tmp_path_factory.mktemp("runs") / "divided"
    given = {"model.attention": "divided", "model.tubelet": 1, "model.text": str(distilbert), "model.pool": "cls"}
    api.pretrain(recipe.override(recipe.load(str(nano)), {**given, "train.steps": 1}), shards, out)
    return out


@pytest.fixture(scope="module")
def unified(nano: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of SimVTP: one encoder for clips and captions."""
    out = tmp_path_factory.mktemp("runs") / "unified"
    given = {"objective.name": "simvtp", "objective.mask": "tube", "objective.mask_ratio": 0.75,
             "objective.word_ratio": 0.5, "objective.decoder_width": 16, "objective.decoder_depth": 1,
             "objective.decoder_heads": 2, "model.kind": "unified", "model.embed_dim": 32}  # fmt: skip
    api.pretrain(recipe.override(recipe.load(str(nano)), {**given, "train.steps": 1}), shards, out)
    return out


@pytest.fixture(scope="module")
def twin(unified: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its two copies, fine-tuned."""
    out = tmp_path_factory.mktemp("runs") / "twin"
    api.finetune(unified, shards, out, overrides={"model.kind": "twin", "train.steps": 1})
    return out


def vectors(run: Path, clip: Path) -> tuple[np.ndarray, np.ndarray]:
    loaded = build.load_model(run, "cpu", "fp32")
    tokens = loaded.tokenizer(TEXTS)
    text = loaded.embedder.embed_text(torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention))
    video = loaded.embedder.embed_video(torch.from_numpy(clip_file(clip, build.clip_shape(loaded.config))))
    return text.numpy(), video.numpy()


@pytest.mark.parametrize("name", ["run", "divided", "unified", "twin"])
def test_transformers_loads_it_and_runs_no_code_of_it(
    request: pytest.FixtureRequest, name: str, clip: Path, tmp_path: Path
) -> None:
    run: Path = request.getfixturevalue(name)
    numbers = {"R@1": 12.5, "R@5": 50.0, "R@10": 75.0, "MdR": 5.0, "MnR": 6.0}
    (tmp_path / "result.json").write_text(json.dumps({"t2v": numbers}))
    files = api.export(run, tmp_path / "hf", result=tmp_path / "result.json")
    assert {file.name for file in files} == {
        "README.md", "config.json", "model.safetensors", "processor_config.json", "result.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    text, video = vectors(run, clip)
    from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

    from vtr import hub

    hub.register()
    hub.register()  # twice does no harm
    assert AutoConfig.from_pretrained(tmp_path / "hf").model_type == "vtr"
    model, processor = AutoModel.from_pretrained(tmp_path / "hf"), AutoProcessor.from_pretrained(tmp_path / "hf")
    inputs = processor(text=TEXTS, videos=[str(clip)], return_tensors="pt")
    with torch.inference_mode():
        out = model(**inputs)
    np.testing.assert_allclose(out.text_embeds, text, atol=1e-6)
    np.testing.assert_allclose(out.video_embeds, video, atol=1e-6)
    np.testing.assert_allclose(
        out.logits_per_text.numpy(), text @ video.T / model.encoders.temperature.item(), rtol=1e-4, atol=1e-5
    )
    ids = AutoTokenizer.from_pretrained(tmp_path / "hf")(TEXTS[0])["input_ids"]
    assert ids == [i for i in inputs["input_ids"][0].tolist() if i != processor.words.pad_id]
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "pip install ." in card.split("```")[0], "the package of this name in the public index is another"
    assert "| text to video | 12.5 | 50.0 | 75.0 | 5.0 | 6.0 |" in card
    assert build.load_model(run, "cpu").weights_sha256 in card


def test_the_cards_own_lines_run(run: Path, clip: Path, tmp_path: Path) -> None:
    """As a reader would: the Python block of the README, in the directory, with a clip beside it."""
    pytest.importorskip("sentence_transformers", reason="an extra: pip install '.[sentence-transformers]'")
    code = ""
    for kind in ("hf", "sentence-transformers"):
        api.export(run, tmp_path / kind, to=kind)
        shutil.copy(clip, tmp_path / kind / "clip.mp4")
        block = (tmp_path / kind / "README.md").read_text().split("```python\n")[1].split("```")[0]
        code += f"import os; os.chdir({str(tmp_path / kind)!r})\n{block}\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tensor([[") == 2


def test_sentence_transformers_gives_equal_vectors(run: Path, clip: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("sentence_transformers", reason="an extra: pip install '.[sentence-transformers]'")
        api.export(run, tmp_path / "st", to="sentence-transformers")
        from sentence_transformers import SentenceTransformer

        from vtr import hub

        text, video = vectors(run, clip)
        for model in (
            hub.sentence_transformer(tmp_path / "st", device="cpu"),
            SentenceTransformer(str(tmp_path / "st"), device="cpu", trust_remote_code=True),
        ):
            np.testing.assert_allclose(model.encode(TEXTS), text, atol=1e-6)
            np.testing.assert_allclose(model.encode([str(clip)]), video, atol=1e-6)
            assert model.get_embedding_dimension() == 16
        model.save(str(tmp_path / "again"))
        again = hub.sentence_transformer(tmp_path / "again", device="cpu")
        np.testing.assert_allclose(again.encode(TEXTS), text, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["run", *(pytest.param(name, marks=pytest.mark.slow) for name in ("divided", "unified", "twin"))]
)
def test_onnx_gives_equal_vectors(request: pytest.FixtureRequest, name: str, clip: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnxruntime = pytest.importorskip("onnxruntime", reason="an extra: pip install '.[onnx]'")
        pytest.importorskip("onnxscript", reason="an extra: pip install '.[onnx]'")
        run: Path = request.getfixturevalue(name)
        api.export(run, tmp_path / "onnx", to="onnx")
    from vtr.hub.processor import VtrProcessor

    text, video = vectors(run, clip)
    inputs = VtrProcessor.from_pretrained(tmp_path / "onnx")(text=TEXTS, videos=[clip, clip, clip])
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "video.onnx"))
    found = session.run(None, {"clips": inputs["pixel_values"].numpy()})[0]
    np.testing.assert_allclose(found, np.repeat(video, 3, axis=0), atol=1e-3)
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "text.onnx"))
    given = {key: inputs[key].numpy() for key in ("input_ids", "attention_mask")}
    np.testing.assert_allclose(session.run(None, given)[0], text, atol=1e-3)


def test_frames_in_memory_are_a_video_too(run: Path, clip: Path, tmp_path: Path) -> None:
    from vtr.data import video
    from vtr.hub.processor import VtrProcessor

    api.export(run, tmp_path / "hf")
    processor = VtrProcessor.from_pretrained(tmp_path / "hf")
    data = clip.read_bytes()
    frames = video.read_frames(data, range(video.probe(data).frames))
    np.testing.assert_array_equal(processor(videos=frames)["pixel_values"], processor(videos=clip)["pixel_values"])


def test_transformers_own_words_are_heeded(run: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    from vtr import hub
    from vtr.hub.model import VtrModel

    api.export(run, tmp_path / "hf")
    hub.register()
    for given, wanted in (("bfloat16", torch.bfloat16), (torch.float16, torch.float16), ("auto", torch.float32)):
        model, fit = AutoModel.from_pretrained(tmp_path / "hf", dtype=given, output_loading_info=True)
        assert {value.dtype for value in model.parameters()} == {wanted}
        assert not any(fit.values())
        assert set(fit) == {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}
    for none in ("bf17", "int8", "nn", {"": "bfloat16"}):
        with pytest.raises(InputError, match=r"dtype=.* is no type of floats\n.*torch.bfloat16"):
            VtrModel.from_pretrained(tmp_path / "hf", dtype=none)


def test_exports_that_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be exported to 'tflite'\n.*hf, sentence-transformers, onnx"):
        api.export(run, tmp_path / "x", to="tflite")
    with pytest.raises(RunError, match="there is no run"):
        api.export(tmp_path / "none", tmp_path / "x")
    with pytest.raises(InputError, match=r"clip:some is a model of transformers already\n.*CLIPModel"):
        api.export("clip:some", tmp_path / "x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"mine is there already\n.*--overwrite"):
        api.export(run, tmp_path / "mine")
    with pytest.raises(InputError, match="is no export of a run, so it is not overwritten"):
        api.export(run, tmp_path / "mine", overwrite=True)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad.json is no result: .*\n.*vtr eval RUN"):
        api.export(run, tmp_path / "x", result=tmp_path / "bad.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.json", "mine"], "nothing was left behind"
    api.export(run, tmp_path / "x")
    api.export(run, tmp_path / "x", overwrite=True)


def test_a_damaged_export_is_refused(run: Path, tmp_path: Path) -> None:
    from vtr.hub.model import VtrModel
    from vtr.hub.processor import VtrProcessor

    api.export(run, tmp_path / "x")
    settings = json.loads((tmp_path / "x" / "processor_config.json").read_text())
    (tmp_path / "x" / "processor_config.json").write_text(json.dumps({**settings, "strange": 1}))
    with pytest.raises(RunError, match=r"processor_config.json is missing or damaged: .*strange"):
        VtrProcessor.from_pretrained(tmp_path / "x")
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    config["recipe"]["model"]["embed_dim"] = 8
    (tmp_path / "x" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"are not of this model: vid_proj"):
        VtrModel.from_pretrained(tmp_path / "x")
