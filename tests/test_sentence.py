"""Models of sentence-transformers that take videos, made small here: their vectors are those of the library."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vtr import api, build
from vtr.data import tokenizer
from vtr.data.index import ShardIndex
from vtr.errors import ConfigError, InputError, RunError, WorkError
from vtr.imagetext import open_image_text

pytest.importorskip("sentence_transformers", reason="an extra: pip install '.[sentence-transformers]'")
CPU = {"device": "cpu", "precision": "fp32"}
CAPTIONS = ["a red circle moves left", "a star"]
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, shards):
    """A tiny VideoPrism with a text tower, as sentence-transformers keeps it, with a prompt for queries."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from transformers import (
        LlavaOnevisionVideoProcessor,
        PreTrainedTokenizerFast,
        VideoPrismClipModel,
        VideoPrismConfig,
        VideoPrismProcessor,
    )

    base, out = (tmp_path_factory.mktemp("st") / name for name in ("base", "st"))
    index = ShardIndex.open(shards)
    words = tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 24, 200)
    words.save(base)
    torch.manual_seed(3)
    text = {**SMALL, "num_hidden_layers": 1, "vocab_size": words.vocabulary, "max_position_embeddings": 64}
    vision = {
        **SMALL, "image_size": 32, "num_frames": 4, "tubelet_size": [1, 8, 8], "num_spatial_layers": 1,
        "num_temporal_layers": 1, "num_auxiliary_layers": 1,
    }  # fmt: skip
    VideoPrismClipModel(VideoPrismConfig(text_config=text, vision_config=vision)).save_pretrained(base)
    pixels = LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32})
    VideoPrismProcessor(pixels, PreTrainedTokenizerFast.from_pretrained(base)).save_pretrained(base)
    model = SentenceTransformer(
        modules=[Transformer(str(base), processing_kwargs={"video": {"size": {"height": 32, "width": 32}}})],
        device="cpu", prompts={"query": "a video of "},
    )  # fmt: skip
    model.save_pretrained(str(out))
    return out


def test_vectors_are_those_of_the_library(saved):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(saved), device="cpu")
    loaded = build.load_model(f"st:{saved}", "cpu", "fp32")
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    videos = model.encode_document(
        [{"video": clip} for clip in clips], processing_kwargs={"video": {"do_sample_frames": False}}
    )
    wanted = F.normalize(torch.from_numpy(videos).flatten(1), dim=1)  # of VideoPrism (2, 1, 16)
    torch.testing.assert_close(loaded.embedder.embed_video(clips), wanted)
    words = loaded.tokenizer(CAPTIONS)
    ids, attention = torch.from_numpy(words.ids), torch.from_numpy(words.attention)
    texts = torch.from_numpy(model.encode_query(CAPTIONS))
    assert not torch.allclose(texts, torch.from_numpy(model.encode(CAPTIONS)))  # the prompt counts
    torch.testing.assert_close(loaded.embedder.embed_text(ids, attention), F.normalize(texts, dim=1))
    with pytest.raises(InputError, match="give this model uint8"):
        loaded.embedder.embed_video(clips.float())


def test_it_is_evaluated_like_a_run(saved, test_shards, tmp_path):
    found = api.evaluate(f"st:{saved}", test_shards, probe=True, draws=0, **CPU)
    assert (found["frames"], found["resolution"]) == (4, [32, 32])
    assert len(found["weights_sha256"]) == 64
    assert found["model"] == f"st:{saved},frames=4,size=32"
    assert found["videos"] == 12
    again = api.evaluate(found["model"], test_shards, draws=0, **CPU)
    assert (again["t2v"], again["weights_sha256"]) == (found["t2v"], found["weights_sha256"])
    api.embed(found["model"], test_shards, tmp_path / "e", captions=True, **CPU)
    assert api.evaluate(embeddings=tmp_path / "e", draws=0)["t2v"] == found["t2v"]


@pytest.mark.slow
def test_the_command_line_takes_it(saved, test_shards):
    command = [str(Path(sys.executable).with_name("vtr")), "eval", f"st:{saved}", "--shards", str(test_shards)]
    done = subprocess.run([*command, "--json", "--device", "cpu"], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["model"], found["frames"], found["videos"]) == (f"st:{saved},frames=4,size=32", 4, 12)


def test_frames_and_size_may_be_given(saved):
    opened = open_image_text(f"st:{saved},frames=2,size=64")
    assert (opened.config.data.frames, opened.config.data.size) == (2, 64)
    with pytest.raises(InputError, match=r"cannot embed clips of 2 frames of 64 x 64 pixels: (?s:.*)leave out frames="):
        opened.model.encode_video(torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ConfigError, match=r"'frames=0' in .* is no option"):
        open_image_text(f"st:{saved},frames=0")


def test_what_is_no_such_model_is_refused(saved, tmp_path, monkeypatch):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    (tmp_path / "text").mkdir()
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)]).save_pretrained(str(tmp_path / "text"))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.CLIPModel"}]))
    for where, kind, message in (
        ("text", ConfigError, r"st:.*text takes text, and no video"),
        ("torn", WorkError, r"could not be loaded, a model of sentence_transformers\.models\.CLIPModel"),
        ("nowhere", RunError, "there is no directory"),
    ):
        with pytest.raises(kind, match=message) as told:
            build.load_model(f"st:{tmp_path / where}")
        assert "vtr eval --embeddings DIR" in told.value.hint
    with pytest.raises(InputError, match="is a model of sentence-transformers already"):
        api.export(f"st:{saved}", tmp_path / "out", to="hf")
    from vtr.models.sentence import SentenceModel

    monkeypatch.setattr(SentenceModel, "encode_text", lambda self, ids, attention: torch.zeros(len(ids), 16))
    with pytest.raises(ConfigError, match="makes more of a caption than token ids"):
        build.load_model(f"st:{saved}")
