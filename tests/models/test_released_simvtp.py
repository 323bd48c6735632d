"""SimVTP's files, of pretraining and of fine-tuning, give the released models' embeddings.

The embeddings are computed here one token at a time and share no code with `vtr`.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vtr import api, build, recipe
from vtr.data import tokenizer
from vtr.data.index import ShardIndex
from vtr.errors import ConfigError
from vtr.models.released_simvtp import read_simvtp

WIDTH, DEPTH, WORDS = 128, 2, 60
IDS = torch.tensor([[2, 9, 30, 4, 3, 0, 0], [2, 5, 6, 7, 8, 11, 3]])
MASK = IDS > 0


def tower(prefix: str, text: str, random: torch.Generator, norm: str, words: int = WORDS) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}patch_embed.proj.weight": (WIDTH, 3, 2, 16, 16),
        f"{prefix}patch_embed.proj.bias": (WIDTH,),
        f"{prefix}{norm}.weight": (WIDTH,),
        f"{prefix}{norm}.bias": (WIDTH,),
        f"{text}word_embeddings.weight": (words, WIDTH),
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


def pretraining(words: int = WORDS) -> dict[str, torch.Tensor]:
    extra = {
        "decoder.blocks.0.norm1.weight": torch.ones(8), "encoder_to_decoder.weight": torch.ones(8, WIDTH),
        "mask_token": torch.zeros(1, 1, 8), "text_cls.weight": torch.ones(words, WIDTH),
        "vtm_head.bias": torch.zeros(2), "text_embeddings.position_ids": torch.arange(512)[None],
    }  # fmt: skip
    return tower("encoder.", "text_embeddings.", torch.Generator().manual_seed(0), "norm", words) | extra


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


def test_fine_tuning_is_as_published(tmp_path: Path, shards: Path) -> None:
    """What simvtp-base says of it: two copies, no flip, its sampling, 3e-4 for 256 clips; captions of one length."""
    index = ShardIndex.open(shards)
    words = tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 32, 200)
    words.save(tmp_path / "text")
    torch.save({"model": pretraining(words.vocabulary)}, tmp_path / "x.pth")
    name = f"simvtp:{tmp_path / 'x.pth'},frames=4,size=32,text={tmp_path / 'text'}"
    before, published = build.load_source(name), recipe.load("simvtp-base")
    assert before.config.finetune == published.finetune
    assert before.tokenizer(["a dog"]).ids.shape == (1, published.data.words)
    given = {"train.steps": 1, "train.batch_size": 4, "train.precision": "fp32", "train.device": "cpu"}
    api.finetune(name, shards, tmp_path / "ft", overrides=given | {"data.workers": 0, "data.decoder": "pyav"})
    tuned = build.load_source(tmp_path / "ft")
    data, optim = tuned.config.data, tuned.config.optim
    assert tuned.config.model.kind == "twin"
    assert (data.flip, data.sampler, data.stride, data.crop_min) == (False, "dense", 4, published.data.crop_min)
    assert (data.frames, data.size, data.words) == (4, 32, 32)
    assert (optim.lr, optim.lr_batch, optim.beta2) == (3e-4, 256, 0.95)
    for copy in (tuned.model.video, tuned.model.text):
        torch.testing.assert_close(
            copy.blocks[0].mlp.fc1.weight, before.model.blocks[0].mlp.fc1.weight, rtol=0.01, atol=1e-4
        )


def test_strange_shapes_are_refused_before_a_model_is_built(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for changed, said in (
        ({"encoder.blocks.60000.x": (1,)}, r"'blocks\.2\.mlp\.fc1\.weight' is missing"),
        (
            {"encoder.patch_embed.proj.weight": (WIDTH, 3, 16, 16)},
            r"patch_embed\.weight' is \(128, 3, 16, 16\), wanted",
        ),
        ({"encoder.patch_embed.proj.weight": (WIDTH, 3, 0, 16, 16)}, r"patch_embed\.weight' is \(128, 3, 0, 16, 16\)"),
        ({"text_embeddings.word_embeddings.weight": (500_000, 1)}, r"word_embeddings\.weight' is \(500000, 1\)"),
    ):
        torch.save({"model": pretraining() | {name: torch.zeros(shape) for name, shape in changed.items()}}, path)
        with pytest.raises(ConfigError, match=rf"no whole simvtp checkpoint: .*{said}"):
            read_simvtp(path)


def test_more_words_than_there_are_positions(tmp_path: Path) -> None:
    torch.save({"model": pretraining()}, tmp_path / "x.pth")
    assert build.load_source(f"simvtp:{tmp_path / 'x.pth'},words=512,frames=2,size=32").config.data.words == 512
    with pytest.raises(ConfigError, match=r"data\.words = 1000, .* captions of 512 tokens"):
        build.load_source(f"simvtp:{tmp_path / 'x.pth'},words=1000")
