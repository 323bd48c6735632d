"""CLIP as a start: a clip of one frame and a caption have the vectors that CLIP gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from vtr import build, recipe
from vtr.errors import ConfigError, InputError, WorkError
from vtr.initial import initial
from vtr.models.clip import clip_shape

WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def clip(request: Any, tmp_path_factory: pytest.TempPathFactory, shards: Path) -> tuple[Any, Path]:
    """A tiny CLIP and where it is saved, with a tokenizer that ends captions as CLIP's does."""
    from transformers import CLIPConfig, CLIPModel

    from vtr.data import tokenizer
    from vtr.data.index import ShardIndex

    out = tmp_path_factory.mktemp("clip") / "model"
    index = ShardIndex.open(shards)
    words = tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 20, 200)
    end = words.backend.token_to_id("[SEP]")
    torch.manual_seed(2)
    shape = CLIPConfig(
        text_config=WIDE | {"vocab_size": words.vocabulary, "max_position_embeddings": 20, "hidden_act": request.param,
                            "eos_token_id": end, "bos_token_id": end + 1, "projection_dim": 12},
        vision_config=WIDE | {"image_size": 32, "patch_size": 8, "hidden_act": request.param, "projection_dim": 12},
        projection_dim=12,
    )  # fmt: skip
    model = CLIPModel(shape).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
        model.logit_scale.fill_(3.0)
    model.save_pretrained(out)
    words.save(out)
    return model, out


def features(output: Any) -> torch.Tensor:
    """transformers 5 returns an object where transformers 4 returned the tensor."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize("attention", ["divided", "joint"])
def test_pictures_and_captions_have_clips_vectors(clip, nano: Path, attention: str) -> None:
    theirs, path = clip
    base = recipe.override(recipe.load(str(nano)), {"model.tubelet": 1, "model.attention": attention})
    config = initial(base, f"clip:{path}").config
    words = build.make_tokenizer(config, [])
    ours = build.make_model(config, words).eval()
    pictures = torch.randn(3, 3, 32, 32)
    tokens = words(["a red circle moves left", "two dogs", "x"])
    ids, seen = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.encode_video(pictures[:, None]), features(theirs.get_image_features(pictures)), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            ours.encode_text(ids, seen),
            features(theirs.get_text_features(input_ids=ids, attention_mask=seen.long())),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip
    assert ours.temperature.item() == pytest.approx(torch.tensor(-3.0).exp().item())
    # Bytes are normalised with CLIP's own mean and deviation.
    grey = torch.full((1, 1, 3, 32, 32), 128, dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.48145466, 0.4578275, 0.40821073),
                                                        (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(
            F.normalize(ours.encode_video(grey), dim=1),
            F.normalize(ours.encode_video((grey / 255 - mean) / std), dim=1), rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_the_shape_comes_from_the_configuration(clip) -> None:
    model, path = clip
    shape = clip_shape(str(path))
    assert (shape["model.width"], shape["model.depth"], shape["model.patch"], shape["model.embed_dim"]) == (
        32, 2, 8, 12
    )  # fmt: skip
    assert shape["model.activation"] == model.config.vision_config.hidden_act


def test_a_directory_is_known_for_what_it_is(
    clip, nano: Path, timm_vit: Path, distilbert: Path, tmp_path: Path
) -> None:
    base = recipe.override(recipe.load(str(nano)), {"model.tubelet": 1})
    assert initial(base, str(clip[1])).config.model.video == f"clip:{clip[1]}"
    assert initial(base, str(timm_vit)).config.model.video == f"local-dir:{timm_vit}"
    with pytest.raises(InputError, match=r"holds a distilbert, which is no start(?s:.*)model\.text"):
        initial(base, str(distilbert))
    with pytest.raises(InputError, match=r"is no run and no directory with a model in it(?s:.*)give a run, frozen:"):
        initial(base, str(tmp_path))


def test_clip_that_does_not_fit_or_cannot_be_had(clip, nano: Path, distilbert: Path) -> None:
    base = recipe.override(recipe.load(str(nano)), {"model.tubelet": 1})
    config = initial(base, f"clip:{clip[1]}").config
    for given, words in {
        ("model.embed_dim", 16): r"projects \(12, 32\), this model \(16, 32\)",
        ("model.norm_pre", False): r"norm_pre\.weight has no place",
        ("model.activation", "gelu_tanh"): "were trained with .*GELU",
    }.items():
        wrong = recipe.override(config, dict([given]))
        with pytest.raises(ConfigError, match=words + r"(?s:.*)--init-from"):
            build.make_model(wrong, build.make_tokenizer(wrong, []))
    with pytest.raises(WorkError, match=r"'openai/clip-vit-base-patch16' could not be loaded from a directory or the "
                                        r"model hub(?s:.*)directory made by save_pretrained"):  # fmt: skip
        initial(base, "clip:openai/clip-vit-base-patch16")
    with pytest.raises(ConfigError, match="is a distilbert model, not CLIP"):
        initial(base, f"clip:{distilbert}")
