"""Models of open_clip from a local directory or file, frame by frame: their vectors are those of the library."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vtr import api, build
from vtr.errors import ConfigError, WorkError
from vtr.imagetext import open_image_text

open_clip = pytest.importorskip("open_clip", reason="an extra: pip install '.[open-clip]'")
CPU = {"device": "cpu", "precision": "fp32"}
SHAPE = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
CAPTIONS = ["a red circle moves left", "a star"]


@pytest.fixture(scope="module", params=["shortest", "squash"])
def saved(request, tmp_path_factory):
    """A tiny CLIP as open_clip keeps it: open_clip_config.json and its weights."""
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip") / request.param
    folder.mkdir()
    torch.manual_seed(3)
    model = CLIP(SHAPE["embed_dim"], dict(SHAPE["vision_cfg"]), dict(SHAPE["text_cfg"]))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    pixels = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}
    told = {"model_cfg": SHAPE, "preprocess_cfg": {**pixels, "resize_mode": request.param}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    return request.param, folder, model.eval()


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_vectors_are_those_of_the_library(saved, kind):
    from PIL import Image

    mode, folder, model = saved
    loaded = build.load_model(f"{kind}:{folder},frames=3", "cpu", "fp32")
    frames = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    clip = build.clip_shape(loaded.config).evaluation(frames)[None]
    _, _, theirs = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    pixels = torch.stack([theirs(Image.fromarray(one)) for one in frames])
    ours = (clip[0].float() / 255 - loaded.embedder.model.mean) / loaded.embedder.model.std
    assert (ours - pixels).abs().max() < 2 / 255 / 0.2  # PIL and torch round apart by a level
    words = loaded.tokenizer(CAPTIONS)
    with torch.no_grad():
        wanted = F.normalize(F.normalize(model.encode_image(ours), dim=-1).mean(0, keepdim=True), dim=-1)
        text = F.normalize(model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS)), dim=-1)
    torch.testing.assert_close(loaded.embedder.embed_video(clip), wanted)
    ids, attention = torch.from_numpy(words.ids), torch.from_numpy(words.attention)
    torch.testing.assert_close(loaded.embedder.embed_text(ids, attention), text)
    assert words.ids.shape == (2, 24)
    assert words.attention.sum(1).tolist() == [7, 4]
    assert loaded.embedder.model.embed_dim == 12
    fit = {"shortest": "short side 32 (bicubic), centre crop 32", "squash": "squeezed to 32 x 32 (bicubic)"}[mode]
    assert loaded.meta["preprocessing"].startswith(fit)


def test_it_is_evaluated_like_a_run(saved, test_shards):
    _, folder, _ = saved
    found = api.evaluate(f"open_clip:{folder},frames=2", test_shards, draws=0, **CPU)
    assert (found["frames"], found["resolution"], found["words"]) == (2, [32, 32], 24)
    assert found["model"] == f"open_clip:{folder},frames=2"
    again = api.evaluate(found["model"], test_shards, draws=0, **CPU)
    assert (again["t2v"], again["weights_sha256"]) == (found["t2v"], found["weights_sha256"])


def test_an_architecture_takes_its_weights_from_a_file(saved, tmp_path):
    _, folder, model = saved
    (tmp_path / "vtr-tiny.json").write_text(json.dumps(SHAPE))
    open_clip.add_model_config(tmp_path / "vtr-tiny.json")
    opened = open_image_text(f"open_clip:vtr-tiny,weights={folder / 'open_clip_model.safetensors'},frames=4")
    assert opened.config.data.frames == 4
    torch.testing.assert_close(opened.model.model.model.state_dict(), model.state_dict())
    assert opened.name.endswith("open_clip_model.safetensors")


def test_what_cannot_be_loaded_is_told(saved, tmp_path):
    with pytest.raises(ConfigError, match=r"open_clip:ViT-B-32 names no weights"):
        open_image_text("open_clip:ViT-B-32")
    with pytest.raises(ConfigError, match=r"there is no directory \./nowhere"):
        open_image_text("open_clip:./nowhere")
    with pytest.raises(ConfigError, match=r"'weights=' in .* is no option"):
        open_image_text("open_clip:ViT-B-32,weights=")
    with pytest.raises(WorkError, match=r"could not be loaded") as told:
        open_image_text(f"open_clip:{tmp_path}")
    assert "open_clip_config.json" in told.value.hint
    with pytest.raises(WorkError, match=r"could not be loaded"):
        open_image_text(f"open_clip:ViT-B-32,weights={tmp_path / 'none.pt'}")
    _, folder, _ = saved
    (tmp_path / "open_clip_config.json").write_text((folder / "open_clip_config.json").read_text())
    with pytest.raises(WorkError, match=r"could not be loaded"):  # no weights: never random ones
        open_image_text(f"open_clip:{tmp_path}")


@pytest.mark.parametrize("huge", [{"width": 1 << 18}, {"layers": 10**8}])
def test_a_config_far_larger_than_its_weights(huge, tmp_path, saved):
    _, folder, _ = saved
    told = json.loads((folder / "open_clip_config.json").read_text())
    told["model_cfg"]["vision_cfg"] |= huge
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    (tmp_path / "open_clip_model.safetensors").symlink_to(folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError, match=r"its config is of a model of \d+|layers = 100000000, at most 1000"):
        open_image_text(f"open_clip:{tmp_path}")
