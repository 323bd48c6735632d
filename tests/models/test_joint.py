"""The unified encoder: three modes of the same weights, positions in one line, padding without influence."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Attention

from vtr.errors import ConfigError
from vtr.models.decoder import PixelDecoder
from vtr.models.joint import JointAttention, UnifiedEncoder, sinusoids
from vtr.models.twin import TwinEncoder
from vtr.models.weights import load_videomae, load_words


def small(**given) -> UnifiedEncoder:
    """4 frames of 16 x 16 in tubelets of 2 x 4 x 4: 2 slots of 16 cells."""
    torch.manual_seed(0)
    shape = {"width": 12, "depth": 2, "heads": 3, "patch": 4, "tubelet": 2, "frames": 4, "size": 16, "dropout": 0.0}
    encoder = UnifiedEncoder(50, **(shape | given))
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return encoder


def clips(batch: int = 2, frames: int = 4, height: int = 16, width: int = 16) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, frames, 3, height, width), dtype=torch.uint8, generator=g)


def test_sines_are_those_of_the_papers():
    table = sinusoids(1568, 768)
    assert table.shape == (1568, 768)
    for place, channel in ((0, 0), (0, 1), (5, 0), (1567, 767), (33, 100), (33, 101)):
        angle = place / 10_000 ** (2 * (channel // 2) / 768)
        assert table[place, channel].item() == pytest.approx((math.cos if channel % 2 else math.sin)(angle), abs=1e-5)


def test_attention_is_timms_whose_key_has_no_bias():
    ours, theirs, x = JointAttention(12, 3), Attention(12, 3, qkv_bias=True), torch.randn(2, 5, 12)
    torch.nn.init.normal_(ours.q_bias)
    torch.nn.init.normal_(ours.v_bias)
    with torch.no_grad():
        theirs.qkv.weight.copy_(ours.qkv.weight)
        theirs.qkv.bias.copy_(torch.cat([ours.q_bias, torch.randn(12), ours.v_bias]))
        theirs.proj.load_state_dict(ours.proj.state_dict())
    # Any bias of the keys adds one number to all scores of a query: softmax takes it away.
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_tokens_that_are_not_seen_have_no_influence():
    encoder, x = small(), torch.randn(2, 6, 12)
    seen = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    out = encoder.encode(x, seen)
    torch.testing.assert_close(out[:1, :4], encoder.encode(x[:1, :4]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[1:], encoder.encode(x[1:]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.pool(out, seen)[0], out[0, :4].mean(0))


def test_a_caption_is_the_same_among_longer_ones():
    encoder = small()
    ids = torch.tensor([[2, 7, 8, 3, 0, 0, 0, 0]])
    alone = encoder.encode_text(ids[:, :4], ids[:, :4] > 0)
    torch.testing.assert_close(encoder.encode_text(ids, ids > 0), alone, rtol=1e-4, atol=1e-5)


def test_words_are_berts_embedding_layer():
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig(vocab_size=50, hidden_size=12, num_hidden_layers=1, num_attention_heads=3)).eval()
    encoder, ids = small(), torch.tensor([[2, 7, 8, 3, 0], [2, 9, 3, 0, 0]])
    weights = {name: value for name, value in bert.embeddings.state_dict().items() if not name.endswith("_ids")}
    encoder.embeddings.load_state_dict(weights)
    torch.testing.assert_close(encoder.words(ids), bert.embeddings(ids))


def test_tubes_are_a_conv3d_and_their_places():
    encoder, given = small(), clips()
    normal = (given.float() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    weight = encoder.patch_embed.weight.view(12, 3, 2, 4, 4)
    conv = F.conv3d(normal.transpose(1, 2), weight, encoder.patch_embed.bias, stride=(2, 4, 4)).flatten(2)
    expected = conv.transpose(1, 2) + sinusoids(32, 12)  # slot by slot, row by row: one line of 32
    torch.testing.assert_close(encoder.tubes(given), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoder.tubes(normal), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 2, 16, 16), (2, 8, 16, 16), (2, 4, 24, 8), (2, 6, 32, 32)])
def test_any_frame_count_and_resolution(shape):
    encoder, given = small(), clips(*shape)
    slots, rows, columns = shape[1] // 2, shape[2] // 4, shape[3] // 4
    assert encoder.tubes(given).shape == (2, slots * rows * columns, 12)
    assert encoder.encode_video(given).shape == (2, 12)
    if (rows, columns) == (4, 4) and slots <= 2:
        assert torch.equal(encoder.places(slots, 4, 4)[0], encoder.positions[: slots * 16])


def test_the_temperature_is_fixed_or_learned():
    assert small(temperature=0.05).temperature.item() == pytest.approx(0.05)
    assert not small().log_temperature.requires_grad
    assert small(learn_temperature=True).temperature.requires_grad


def test_blocks_are_left_out_in_training_alone_and_deeper_ones_more_often():
    encoder = small(depth=3, drop_path=0.4)
    assert [getattr(block.drop_path, "drop_prob", 0) for block in encoder.blocks] == pytest.approx([0, 0.2, 0.4])
    given = clips()
    assert torch.equal(encoder.eval().encode_video(given), encoder.encode_video(given))
    assert not torch.equal(encoder.train().encode_video(given), encoder.encode_video(given))


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="a width of 12 does not divide into 5 heads\n  hint: choose heads"):
        small(heads=5)


def test_the_decoder_restores_each_hidden_tube_from_the_visible_ones():
    torch.manual_seed(0)
    decoder = PixelDecoder(12, 16, 2, 96, 8, 1, 2)
    visible = torch.tensor([[[0, 5], [0, 5]], [[3, 4], [3, 4]]])
    hidden = torch.stack([torch.tensor([c for c in range(16) if c not in row[0].tolist()]) for row in visible])
    hidden = hidden[:, None].expand(-1, 2, -1)
    outputs = torch.randn(2, 4, 12)
    restored = decoder(outputs, visible, hidden)
    assert restored.shape == (2, 28, 96)
    # Another order of what is asked is another order of the answers, and of nothing else.
    torch.testing.assert_close(
        decoder(outputs, visible, hidden.flip(-1)).view(2, 2, 14, 96).flip(2).flatten(1, 2), restored
    )
    assert not torch.allclose(restored[:, 0], restored[:, 1]), "their places tell them apart"
    assert decoder.proj.bias is None


def test_twins_are_two_copies_that_part():
    unified = small(learn_temperature=True, pool_includes_pad=True)
    twin, given = TwinEncoder(unified), clips()
    ids = torch.tensor([[2, 7, 8, 3, 0, 0]]).expand(2, -1)
    tokens = unified.tubes(given)
    for block in unified.blocks:
        tokens = block(tokens)
    expected = F.layer_norm(tokens.mean(1), (12,), eps=1e-6)
    torch.testing.assert_close(twin.encode_video(given), expected, rtol=1e-4, atol=1e-5)
    assert twin.encode_text(ids, ids > 0).shape == (2, 12)
    assert twin.temperature.item() == pytest.approx(unified.temperature.item())
    (twin.encode_video(given).sum() * twin.temperature).backward()
    idle = {name.split(".")[0] for name, p in twin.named_parameters() if p.grad is None}
    assert idle == {"text", "text_norm"}, "a step on clips leaves the other tower alone"
    with torch.no_grad():
        twin.video.blocks[0].mlp.fc1.weight.zero_()
    assert twin.text.blocks[0].mlp.fc1.weight.any()
    assert unified.blocks[0].mlp.fc1.weight.any()
    assert torch.equal(TwinEncoder(unified).encode_text(ids, ids > 0), twin.encode_text(ids, ids > 0))


def test_weights_of_a_videomae_give_its_output(tmp_path):
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    shape = VideoMAEConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=16, patch_size=4,
        num_frames=4, use_mean_pooling=False, initializer_range=0.3, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = VideoMAEModel(shape).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(tmp_path / "mae")
    encoder, given = small(), torch.randn(2, 4, 3, 16, 16)
    words = encoder.embeddings.word_embeddings.weight.clone()
    load_videomae(encoder, str(tmp_path / "mae"))
    expected = theirs(given).last_hidden_state
    torch.testing.assert_close(encoder.encode(encoder.tubes(given)), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(encoder.embeddings.word_embeddings.weight, words)
    with pytest.raises(ConfigError, match=r"are not of this model: blocks\.2\.q?"):
        load_videomae(small(depth=3), str(tmp_path / "mae"))


def test_words_of_a_bert_by_its_directory(tmp_path):
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig(vocab_size=50, hidden_size=12, num_hidden_layers=1, num_attention_heads=3)).eval()
    bert.save_pretrained(tmp_path / "bert")
    encoder, ids = small(), torch.tensor([[2, 7, 8, 3, 0], [2, 9, 3, 0, 0]])
    load_words(encoder.embeddings, str(tmp_path / "bert"))
    torch.testing.assert_close(encoder.words(ids), bert.embeddings(ids))
    with pytest.raises(ConfigError, match=r"are not of this model: word_embeddings\.weight is \(50, 12\), wanted"):
        load_words(small(width=24).embeddings, str(tmp_path / "bert"))


def test_fitted_to_other_clips_its_sines_are_as_many():
    encoder, other = small(), small(frames=8, size=24)
    encoder.fit(8, 24)
    given = clips(2, 8, 24, 24)
    torch.testing.assert_close(encoder.encode_video(given), other.encode_video(given))
