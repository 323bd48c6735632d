"""The encoder of clips: token for token the papers', masked or not, and at the start the image model it came from."""

from __future__ import annotations

import pytest
import timm
import torch
from literal_encoder import encode

from vtr.errors import ConfigError
from vtr.masking import hidden_cells, visible_cells, visible_count
from vtr.models.positions import fit_space, fit_time
from vtr.models.video import IMAGENET_MEAN, IMAGENET_STD, VideoEncoder
from vtr.rng import fold_in_rows

ATTENTIONS = ["divided", "joint"]


def small(attention="divided", *, random=True, **given) -> VideoEncoder:
    """Width 12, 2 blocks, 4 frames of 16 x 16 in patches of 4: 16 cells; every weight random, time attention too."""
    settings = {
        "width": 12,
        "depth": 2,
        "heads": 3,
        "patch": 4,
        "frames": 4,
        "size": 16,
        "attention": attention,
    } | given
    torch.manual_seed(0)
    encoder = VideoEncoder(**settings)
    if random:
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return encoder


def bytes_of(batch=2, frames=4, size=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, frames, 3, size, size), dtype=torch.uint8, generator=g)


def normalised(clips):
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (clips.float() / 255 - mean) / std


def cells(batch, slots, n, k, mask="per_frame", seed=0):
    return visible_cells(fold_in_rows(seed, torch.arange(batch)), slots, n, k, mask)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_mac_sees_313_tokens(attention):
    """4 frames of 224 in patches of 16, 60 % hidden: 4 * 78 and CLS, of 785."""
    encoder = VideoEncoder(width=12, depth=1, heads=3, attention=attention)
    clips = bytes_of(1, 4, 224)
    assert encoder.cells == 196
    assert encoder(clips, cells(1, 4, 196, visible_count(196, 0.6))).shape == (1, 313, 12)
    assert encoder(clips).shape == (1, 785, 12)


@pytest.mark.parametrize("tubelet", [1, 2])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("mask", ["per_frame", "tube", None])
def test_it_is_the_literal_encoder(attention, tubelet, mask):
    encoder = small(attention, tubelet=tubelet, size=8).double()
    clips, slots = normalised(bytes_of(size=8)).double(), 4 // tubelet
    visible = None if mask is None else cells(2, slots, 4, 3, mask)
    out = encoder(clips, visible)
    for i in range(2):
        shown = [list(range(4))] * slots if visible is None else visible[i].tolist()
        literal = encode(
            clips[i], shown, encoder.state_dict(), heads=3, depth=2, patch=4, tubelet=tubelet, attention=attention
        )
        torch.testing.assert_close(out[i], literal, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("mask", ["per_frame", "tube"])
def test_a_ratio_of_zero_is_the_unmasked_path_to_the_bit(attention, mask):
    encoder, clips = small(attention), bytes_of()
    everything = cells(2, 4, 16, visible_count(16, 0.0), mask)
    assert torch.equal(encoder(clips, everything), encoder(clips))
    assert torch.equal(encoder(normalised(clips), everything), encoder(normalised(clips)))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_hidden_patches_have_no_influence(attention):
    encoder, clips, visible = small(attention), bytes_of(), cells(2, 4, 16, 6)
    before = encoder(clips, visible)
    seen = torch.zeros(2, 4, 16, dtype=torch.bool).scatter_(2, visible, True).view(2, 4, 1, 4, 1, 4, 1)
    grid = clips.view(2, 4, 3, 4, 4, 4, 4)
    other = torch.where(seen, grid, 255 - grid).view_as(clips)
    assert not torch.equal(encoder(other), encoder(clips))
    assert torch.equal(encoder(other, visible), before)


@pytest.mark.parametrize("tubelet", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_bytes_and_normalised_floats_are_the_same_clip(tubelet, masked):
    encoder, clips = small(tubelet=tubelet), bytes_of()
    visible = cells(2, 4 // tubelet, 16, 6) if masked else None
    torch.testing.assert_close(encoder(clips, visible), encoder(normalised(clips), visible), rtol=1e-4, atol=1e-4)


def test_other_means_for_other_weights():
    encoder = small(pixels="half")
    clips = bytes_of()
    torch.testing.assert_close(encoder(clips), encoder(clips.float() / 127.5 - 1), rtol=1e-4, atol=1e-4)
    assert not {"mean", "std"} & set(encoder.state_dict()), "what the weights do not say, the run's config does"


@pytest.mark.parametrize("time_init", ["qkv", "proj"])
def test_at_the_start_divided_is_a_per_frame_vit_with_a_global_cls(time_init):
    """A ViT of timm's parts: frame by frame [CLS, its patches], but CLS sees all frames."""
    encoder, clips = small(random=False, time_init=time_init).double(), normalised(bytes_of()).double()
    vit = timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=False,
        num_classes=0,
        img_size=16,
        patch_size=4,
        embed_dim=12,
        depth=2,
        num_heads=3,
    ).double()
    load_vit(vit, encoder)
    frames = vit.patch_embed(clips.flatten(0, 1)).view(2, 4, 16, 12) + vit.pos_embed[:, None, 1:]
    cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(2, -1, -1)
    for block in vit.blocks:
        patches = []
        for t in range(4):
            x = torch.cat([cls, frames[:, t]], dim=1)
            patches.append(block(x)[:, 1:])
        cls = block(torch.cat([cls, frames.flatten(1, 2)], dim=1))[:, :1]
        frames = torch.stack(patches, dim=1)
    expected = vit.norm(torch.cat([cls, frames.flatten(1, 2)], dim=1))
    torch.testing.assert_close(encoder(clips), expected, rtol=1e-9, atol=1e-9)


def load_vit(vit, encoder):
    """An encoder's weights into timm's ViT, by the names that they share."""
    weights = {
        name: value for name, value in encoder.state_dict().items() if "norm3" not in name and "timeattn" not in name
    }
    weights["patch_embed.proj.weight"] = weights.pop("patch_embed.weight").view_as(vit.patch_embed.proj.weight)
    weights["patch_embed.proj.bias"] = weights.pop("patch_embed.bias")
    del weights["temporal_embed"]
    vit.load_state_dict(weights)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_weights_of_a_timm_vit_give_its_output(attention):
    """Every name but the patches' and time's fits as it is, and a frame comes out as it does from timm."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, img_size=64, depth=4).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    encoder = VideoEncoder(width=192, depth=4, heads=3, frames=4, size=64, attention=attention)
    weights = vit.state_dict()
    weights["patch_embed.weight"] = weights.pop("patch_embed.proj.weight").flatten(1)
    weights["patch_embed.bias"] = weights.pop("patch_embed.proj.bias")
    missing, unexpected = encoder.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all("timeattn" in name or "norm3" in name or name == "temporal_embed" for name in missing)
    image = normalised(bytes_of(2, 1, 64))
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), vit.forward_features(image[:, 0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_shorter_clip_uses_the_first_positions_in_time(attention):
    encoder, shorter = small(attention), small(attention, frames=2)
    weights = encoder.state_dict()
    shorter.load_state_dict(weights | {"temporal_embed": weights["temporal_embed"][:, :2]})
    clips = bytes_of(frames=2)
    assert torch.equal(encoder(clips), shorter(clips))
    assert encoder(clips).shape == (2, 33, 12)


def test_positions_in_time_start_at_zero():
    encoder = small(random=False)
    assert encoder.temporal_embed.shape == (1, 4, 12)
    assert not encoder.temporal_embed.any()
    assert encoder.pos_embed.std().item() == pytest.approx(0.02, rel=0.3)
    clip = bytes_of()
    assert torch.allclose(encoder(clip)[:, 0], encoder(clip.flip(1))[:, 0], atol=1e-5), "so time has no order yet"


def test_every_parameter_learns():
    encoder, clips = small(), bytes_of()
    encoder(clips, cells(2, 4, 16, 6))[:, 0].square().sum().backward()
    # Both clips together show most cells, but not all of them.
    assert not [name for name, p in encoder.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not [name for name, p in encoder.named_parameters() if not p.grad.any()]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("shape", [(1, 6, 3, 16, 16), (1, 4, 3, 20, 20), (1, 4, 3, 8, 32), (1, 9, 3, 24, 8)])
def test_any_frame_count_and_resolution(attention, shape):
    """As an encoder does that has these positions, interpolated, for its own."""
    encoder, clips = small(attention), torch.randint(0, 256, shape, dtype=torch.uint8)
    rows, columns = shape[3] // 4, shape[4] // 4
    assert encoder(clips).shape == (1, 1 + shape[1] * rows * columns, 12)
    if rows == columns:
        other = small(attention, frames=shape[1], size=shape[3])
        space = fit_space(encoder.pos_embed[0, 1:], (4, 4), (rows, columns))
        weights = encoder.state_dict()
        weights["pos_embed"] = torch.cat([encoder.pos_embed[:, :1], space[None]], dim=1)
        weights["temporal_embed"] = fit_time(encoder.temporal_embed[0], shape[1])[None]
        other.load_state_dict(weights)
        torch.testing.assert_close(encoder(clips), other(clips), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("tubelet", [1, 2])
def test_a_mask_token_takes_the_place_of_a_patch_and_not_its_position(attention, tubelet):
    encoder, clips = small(attention, tubelet=tubelet), bytes_of()
    token = torch.randn(1, 1, 12)
    hidden = hidden_cells(cells(2, 4 // tubelet, 16, 6, "block"), 16)
    out = encoder(clips, hidden=hidden, mask_token=token)
    assert out.shape == encoder(clips).shape
    grid = hidden.view(2, 4 // tubelet, 1, 1, 4, 1, 4, 1).expand(-1, -1, tubelet, 3, -1, 4, -1, 4)
    other = torch.where(grid.reshape(clips.shape), 255 - clips, clips)
    assert torch.equal(encoder(other, hidden=hidden, mask_token=token), out), "what is behind it has no influence"
    assert not torch.equal(encoder(clips, hidden=hidden, mask_token=token + 1), out)
    none = torch.zeros_like(hidden)
    assert torch.equal(encoder(clips, hidden=none, mask_token=token), encoder(clips))
    with torch.no_grad():  # all hidden and no positions: all tokens of a clip are the same
        encoder.pos_embed[:, 1:] = 0
        encoder.temporal_embed[:] = 0
    everywhere = encoder(clips, hidden=~none, mask_token=token)[:, 1:]
    torch.testing.assert_close(everywhere, everywhere[:1, :1].expand_as(everywhere), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"attention": "axial"}, "attention 'axial' is unknown\n  hint: choose one of: divided, joint"),
        ({"heads": 5}, "a width of 12 does not divide into 5 heads"),
        ({"patch": 5}, "clips of 4 frames of 16 pixels do not divide into tubelets of 1 x 5 x 5\n  hint: choose"),
        ({"tubelet": 3}, "clips of 4 frames of 16 pixels do not divide into tubelets of 3 x 4 x 4"),
    ],
)
def test_a_wrong_shape_of_model_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        small(**given)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_bf16_autocast_is_close(attention):
    encoder, clips, visible = small(attention, random=False), bytes_of(), cells(2, 4, 16, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(clips, visible)
    torch.testing.assert_close(half.float(), encoder(clips, visible), rtol=0.05, atol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_gpu_encodes_the_same(attention):
    encoder, clips, visible = small(attention), bytes_of(), cells(2, 4, 16, 6)
    expected = encoder(clips, visible)
    on_gpu = encoder.cuda()(clips.cuda(), visible.cuda()).cpu()
    torch.testing.assert_close(on_gpu, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_blocks_are_left_out_in_training_alone_and_deeper_ones_more_often(attention: str) -> None:
    encoder, given = small(attention, depth=3, drop_path=0.6), bytes_of(8)
    rates = [getattr(part, "drop_prob", 0) for block in encoder.blocks for name, part in block.named_children()
             if name.startswith("drop_path")]  # fmt: skip
    assert rates == pytest.approx([0, 0.3, 0.6] if attention == "divided" else [0, 0, 0.3, 0.3, 0.6, 0.6])
    assert torch.equal(encoder.eval()(given), small(attention, depth=3)(given))
    encoder.train()
    torch.manual_seed(0)
    first = encoder(given)
    assert not torch.equal(first, encoder(given))
    torch.manual_seed(0)
    assert torch.equal(first, encoder(given))
    encoder.drop_blocks(0.0)
    assert torch.equal(encoder(given), encoder(given))
