"""SimVTP's files, of pretraining and of fine-tuning, give the released models' embeddings.

The embeddings are computed here one token at a time and share no code with `vtr`.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vtr import build
from vtr.errors import ConfigError
from vtr.models.released_simvtp import read_simvtp

WIDTH, DEPTH, WORDS = 128, 2, 60
IDS = torch.tensor([[2, 9, 30, 4, 3, 0, 0], [2, 5, 6, 7, 8, 11, 3]])
MASK = IDS > 0


def tower(prefix: str, text: str, random: torch.Generator, norm: str) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}patch_embed.proj.weight": (WIDTH, 3, 2, 16, 16),
        f"{prefix}patch_embed.proj.bias": (WIDTH,),
        f"{prefix}{norm}.weight": (WIDTH,),
        f"{prefix}{norm}.bias": (WIDTH,),
        f"{text}word_embeddings.weight": (WORDS, WIDTH),
        f"{text}position_embeddings.weight": (512, WIDTH),
        f"{text}token_type_embeddings.weight": (2, WIDTH),
        f"{text}LayerNorm.weight": (WIDTH,),
        f"{text}LayerNorm.bias": (WIDTH,),
    }
    for i in range(DEPTH):
        at = f"{prefix}blocks.{i}"
        shapes |= {f"{at}.{name}.{kind}": (WIDTH,) for name in ("norm1", "norm2") for kind in ("weight", "bias")}
        shapes |= {f"{at}.attn.q_bias": (WIDTH,), f"{at}.attn.v_bias": (WIDTH,)}
        shapes |= {f"{at}.attn.qkv.weight": (3 * WIDTH, WIDTH), f"{at}.attn.proj.weight": (WIDTH, WIDTH)}
        shapes |= {f"{at}.mlp.fc1.weight": (4 * WIDTH, WIDTH), f"{at}.mlp.fc2.weight": (WIDTH, 4 * WIDTH)}
        shapes |= {f"{at}.attn.proj.bias": (WIDTH,), f"{at}.mlp.fc1.bias": (4 * WIDTH,), f"{at}.mlp.fc2.bias": (WIDTH,)}
    return {name: 0.1 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def pretraining() -> dict[str, torch.Tensor]:
    extra = {
        "decoder.blocks.0.norm1.weight": torch.ones(8), "encoder_to_decoder.weight": torch.ones(8, WIDTH),
        "mask_token": torch.zeros(1, 1, 8), "text_cls.weight": torch.ones(WORDS, WIDTH),
        "vtm_head.bias": torch.zeros(2), "text_embeddings.position_ids": torch.arange(512)[None],
    }  # fmt: skip
    return tower("encoder.", "text_embeddings.", torch.Generator().manual_seed(0), "norm") | extra


def finetuning() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        name: value
        for side in ("video_encoder.", "text_encoder.")
        for name, value in tower(side, f"{side}text_embeddings.", random, "fc_norm").items()
    }


def norm(x: torch.Tensor, w: dict, name: str, eps: float = 1e-6) -> torch.Tensor:
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(var + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def blocks(x: torch.Tensor, w: dict, prefix: str, seen: torch.Tensor) -> torch.Tensor:
    """(N,D) -> (N,D): pre-norm blocks with two heads of 64; nobody looks at what is not `seen`."""
    for i in range(DEPTH):
        at = f"{prefix}blocks.{i}"
        q, k, v = (norm(x, w, f"{at}.norm1") @ w[f"{at}.attn.qkv.weight"].T).split(WIDTH, dim=1)
        q, v = q + w[f"{at}.attn.q_bias"], v + w[f"{at}.attn.v_bias"]
        out = []
        for h in (slice(0, 64), slice(64, 128)):
            scores = q[:, h] @ k[:, h].T / math.sqrt(64)
            out.append(torch.softmax(scores.masked_fill(~seen, -math.inf), dim=1) @ v[:, h])
        x = x + torch.cat(out, 1) @ w[f"{at}.attn.proj.weight"].T + w[f"{at}.attn.proj.bias"]
        h = norm(x, w, f"{at}.norm2") @ w[f"{at}.mlp.fc1.weight"].T + w[f"{at}.mlp.fc1.bias"]
        h = 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))
        x = x + h @ w[f"{at}.mlp.fc2.weight"].T + w[f"{at}.mlp.fc2.bias"]
    return x


def clip_tokens(clip: torch.Tensor, w: dict, prefix: str) -> torch.Tensor:
    """(16,3,224,224) -> (1568,D): a tube of two frames each, and the sine of its number."""
    tokens = []
    weight = w[f"{prefix}patch_embed.proj.weight"]
    tubes = clip.view(8, 2, 3, 14, 16, 14, 16)
    for slot in range(8):
        tube = tubes[slot].permute(2, 4, 1, 0, 3, 5).reshape(196, 3, 2, 16, 16)  # row, column, colour, time, y, x
        tokens.append(torch.einsum("nctyx,dctyx->nd", tube, weight))
    x = torch.cat(tokens) + w[f"{prefix}patch_embed.proj.bias"]
    place, channel = torch.arange(1568.0, dtype=torch.float64)[:, None], torch.arange(WIDTH)
    angle = place / 10000.0 ** (2 * (channel // 2) / WIDTH)
    return x + torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()


def caption_tokens(ids: torch.Tensor, w: dict, text: str) -> torch.Tensor:
    x = w[f"{text}word_embeddings.weight"][ids] + w[f"{text}position_embeddings.weight"][: len(ids)]
    return norm(x + w[f"{text}token_type_embeddings.weight"][0], w, f"{text}LayerNorm", 1e-12)


@pytest.mark.parametrize("place", ["model", "module"])
def test_a_file_of_pretraining(tmp_path: Path, place: str) -> None:
    """One encoder for both; a vector is the mean of all tokens after the final norm, padding included, as released."""
    w = pretraining()
    torch.save({place: w, "epoch": 3}, tmp_path / "x.pth")
    model = build.load_model(f"simvtp:{tmp_path / 'x.pth'}", "cpu", "fp32")
    assert (model.config.model.kind, model.config.data.frames) == ("unified", 16)
    clip = torch.randn(1, 16, 3, 224, 224)
    x = blocks(clip_tokens(clip[0], w, "encoder."), w, "encoder.", torch.ones(1568, dtype=torch.bool))
    expected = F.normalize(norm(x, w, "encoder.norm").mean(0), dim=0)
    torch.testing.assert_close(model.embed_video(clip)[0], expected, rtol=1e-4, atol=1e-5)
    rows = [
        norm(blocks(caption_tokens(ids, w, "text_embeddings."), w, "encoder.", seen), w, "encoder.norm").mean(0)
        for ids, seen in zip(IDS, MASK, strict=True)
    ]
    torch.testing.assert_close(model.embed_text(IDS, MASK), F.normalize(torch.stack(rows), dim=1), rtol=1e-4, atol=1e-5)


def test_a_file_of_fine_tuning(tmp_path: Path) -> None:
    """Two copies; a vector is a norm of the mean of the tokens after the last block."""
    w = finetuning()
    torch.save({"model": w}, tmp_path / "x.pth")
    model = build.load_model(f"simvtp:{tmp_path / 'x.pth'}", "cpu", "fp32")
    assert model.config.model.kind == "twin"
    clip = torch.randn(1, 16, 3, 224, 224)
    x = blocks(clip_tokens(clip[0], w, "video_encoder."), w, "video_encoder.", torch.ones(1568, dtype=torch.bool))
    expected = F.normalize(norm(x.mean(0, keepdim=True), w, "video_encoder.fc_norm"), dim=1)
    torch.testing.assert_close(model.embed_video(clip), expected, rtol=1e-4, atol=1e-5)
    rows = [
        blocks(caption_tokens(ids, w, "text_encoder.text_embeddings."), w, "text_encoder.", seen).mean(0)
        for ids, seen in zip(IDS, MASK, strict=True)
    ]
    expected = F.normalize(norm(torch.stack(rows), w, "text_encoder.fc_norm"), dim=1)
    torch.testing.assert_close(model.embed_text(IDS, MASK), expected, rtol=1e-4, atol=1e-5)


def test_what_is_left_out_has_a_reason_and_what_is_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": pretraining()}, path)
    unused = read_simvtp(path).unused
    assert {name.partition(".")[0] for name in unused} == {
        "decoder", "encoder_to_decoder", "mask_token", "text_cls", "vtm_head", "text_embeddings",
    }  # fmt: skip
    torch.save({"model": finetuning()}, path)
    reasons = set(read_simvtp(path).unused.values())
    assert reasons == {"words, of the copy that sees clips alone", "patches, of the copy that sees captions alone"}
    torch.save({"model": pretraining() | {"encoder.blocks.0.gamma_1": torch.ones(WIDTH)}}, path)
    with pytest.raises(ConfigError, match=r"are not of this model: blocks\.0\.gamma_1 is unknown"):
        build.load_model(f"simvtp:{path}", "cpu", "fp32")
    torch.save({"model": pretraining() | {"queue": torch.ones(2)}}, path)
    with pytest.raises(ConfigError, match="holds tensors that are not known: queue"):
        build.load_model(f"simvtp:{path}", "cpu", "fp32")
    some = pretraining()
    some.pop("encoder.patch_embed.proj.weight")
    torch.save({"model": some}, path)
    with pytest.raises(ConfigError, match=r"no whole simvtp checkpoint: 'patch_embed\.weight' is missing"):
        build.load_model(f"simvtp:{path}", "cpu", "fp32")


def test_fewer_frames_of_another_size(tmp_path: Path) -> None:
    torch.save({"model": pretraining()}, tmp_path / "x.pth")
    model = build.load_model(f"simvtp:{tmp_path / 'x.pth'},frames=4,size=64", "cpu", "fp32")
    assert model.embed_video(torch.randn(1, 4, 3, 64, 64)).shape == (1, WIDTH)
