"""CLIP and SigLIP of transformers, frame by frame: made small here, saved, opened by name, evaluated."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from vtr import api, build
from vtr.data import tokenizer
from vtr.data.index import ShardIndex
from vtr.errors import ConfigError, WorkError
from vtr.imagetext import open_image_text
from vtr.imagetext.named import missing_directory

CPU = {"device": "cpu", "precision": "fp32"}
TEXT = {"vocab_size": 200, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def saved(folder, kind, shards):
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    index = ShardIndex.open(shards)
    words = tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 24, 200)
    words.save(folder)
    sep = words.backend.token_to_id("[SEP]")
    text = TEXT | {"max_position_embeddings": 24, "eos_token_id": sep, "bos_token_id": 0, "pad_token_id": words.pad_id}
    torch.manual_seed(2)
    if kind == "clip":
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12))
        size = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    else:
        model = SiglipModel(SiglipConfig(text_config=text | {"projection_size": 16}, vision_config=VISION))
        size = {"size": {"height": 32, "width": 32}}
    model.save_pretrained(folder)
    processor = {"image_processor_type": "CLIPImageProcessor" if kind == "clip" else "SiglipImageProcessor"}
    pixels = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps({**processor, **pixels, **size}))
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request, tmp_path_factory, shards):
    return request.param, saved(tmp_path_factory.mktemp("hub") / request.param, request.param, shards)


def test_a_clip_is_the_mean_of_its_frames(model):
    kind, folder = model
    loaded = build.load_model(f"{kind}:{folder},frames=3", **{"device_name": "cpu", "precision_name": "fp32"})
    clips = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    from transformers import AutoModel

    whole = AutoModel.from_pretrained(folder).eval()
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    with torch.no_grad():
        frames = whole.get_image_features(pixel_values=((clips.float() / 255 - mean) / std).flatten(0, 1)).pooler_output
        frames = torch.nn.functional.normalize(frames, dim=-1).view(2, 3, -1)
        wanted = torch.nn.functional.normalize(frames.mean(1), dim=-1)
        words = loaded.tokenizer(["a red circle moves left", "a star"])
        ids, mask = torch.from_numpy(words.ids), torch.from_numpy(words.attention)
        given = {"attention_mask": mask.long()} if kind == "clip" else {}
        text = torch.nn.functional.normalize(whole.get_text_features(input_ids=ids, **given).pooler_output, dim=-1)
    torch.testing.assert_close(loaded.embedder.embed_video(clips), wanted)
    torch.testing.assert_close(loaded.embedder.embed_text(ids, mask), text)
    if kind == "siglip":  # which was trained on captions padded to its whole length
        assert ids.shape == (2, 24)


def test_it_is_evaluated_like_a_run(model, test_shards):
    kind, folder = model
    found = api.evaluate(f"{kind}:{folder},frames=2", test_shards, probe=True, draws=0, **CPU)
    assert (found["frames"], found["resolution"], found["words"]) == (2, [32, 32], 24)
    assert len(found["weights_sha256"]) == 64
    assert found["model"].startswith(f"{kind}:/")
    # A mean over frames knows nothing of their order.
    assert found["probe"]["reversed"]["t2v"] == pytest.approx(found["t2v"])
    again = api.evaluate(found["model"], test_shards, draws=0, **CPU)
    assert again["t2v"] == found["t2v"]
    assert again["weights_sha256"] == found["weights_sha256"]


def test_it_can_be_embedded_and_evaluated_from_there(model, test_shards, tmp_path):
    kind, folder = model
    api.embed(f"{kind}:{folder}", test_shards, tmp_path / "e", captions=True, **CPU)
    ours = api.evaluate(f"{kind}:{folder}", test_shards, draws=0, **CPU)
    assert api.evaluate(embeddings=tmp_path / "e", draws=0)["t2v"] == ours["t2v"]


def test_what_it_embedded_is_searched_with_it(model, test_shards, tmp_path):
    kind, folder = model
    api.embed(f"{kind}:{folder}", test_shards, tmp_path / "e", **CPU)
    assert len(api.search(tmp_path / "e", "a red circle", k=3, device="cpu")) == 3


def test_other_weights_have_another_name(model):
    kind, folder = model
    opened = open_image_text(f"{kind}:{folder}")
    before = opened.model.weights_sha256()
    with torch.no_grad():
        next(iter(opened.model.model.parameters())).view(-1)[0] += 1e-3
    assert opened.model.weights_sha256() != before
    assert np.isfinite(opened.model.mean.numpy()).all()


def test_clips_are_what_its_image_processor_makes_of_frames(model):
    from transformers import AutoImageProcessor

    kind, folder = model
    loaded = build.load_model(f"{kind}:{folder}", **{"device_name": "cpu", "precision_name": "fp32"})
    frames = np.random.default_rng(0).integers(0, 256, (8, 48, 70, 3), dtype=np.uint8)
    clip = build.clip_shape(loaded.config).evaluation(frames)[None]
    pixels = AutoImageProcessor.from_pretrained(folder)(list(frames), return_tensors="pt")["pixel_values"][None]
    torch.testing.assert_close(loaded.embedder.embed_video(clip), loaded.embedder.embed_video(pixels))
    fit = {"clip": "short side 40 (bicubic), centre crop 32", "siglip": "squeezed to 32 x 32 (bicubic)"}[kind]
    assert loaded.meta["preprocessing"].startswith(fit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resample": 1}, "makes frames fit in a way that is not known"),
        ({"do_resize": False}, "makes frames fit in a way that is not known"),
        ({"size": {"height": 32, "width": 40}, "do_center_crop": False}, "they are not square"),
        ({"size": {"longest_edge": 40}, "do_center_crop": False}, "does not say how large its images are"),
        ({"size": {"shortest_edge": 24}, "crop_size": 32, "do_center_crop": True}, "pads frames of 24 pixels to 32"),
    ],
)
def test_frames_that_would_not_be_the_models_own_are_refused(change, message):
    from vtr.imagetext import parse
    from vtr.imagetext.hub import frame
    from vtr.imagetext.named import config_for

    with pytest.raises(ConfigError, match=message) as told:
        config_for(parse("clip:x"), *frame("x", change), 77, 8, fixed=False)
    assert "--embeddings" in told.value.hint


def test_what_does_not_fit_is_refused(model, tmp_path):
    kind, folder = model
    other = {"clip": "siglip", "siglip": "clip"}[kind]
    with pytest.raises(ConfigError, match=f"is a '{kind}' model, not '{other}'"):
        open_image_text(f"{other}:{folder}")
    for option in ("frames=0", "frames=x", "size=3", "weights=x"):
        with pytest.raises(ConfigError, match=f"'{option}' in .* is no option"):
            open_image_text(f"{kind}:{folder},{option}")
    with pytest.raises(WorkError, match=r"could not be loaded"):
        open_image_text(f"{kind}:{tmp_path / 'nowhere'}")


def test_a_misspelt_directory_is_not_sought_on_the_model_hub(tmp_path, monkeypatch):
    (tmp_path / "models" / "clip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source, place in (("models/clap", ""), ("./clip", ""), ("/clip", ""), ("models/clip/x", ""), ("~/c", tmp_path)):
        words = f"clip:{source} could not be loaded: there is no directory {place / 'c' if place else source}"
        with pytest.raises(WorkError, match=re.escape(words)):
            open_image_text(f"clip:{source}")
    for source in ("models/clip", "./models/clip", "openai/clip-vit-base-patch32", "gpt2"):
        assert not missing_directory(source)
