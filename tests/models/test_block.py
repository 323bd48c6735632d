"""Our ViT block is timm's: the same weights at the same seed, by the same names, and the same arithmetic."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from timm.layers import DropPath as TimmDropPath
from timm.layers import get_act_layer
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn

from vtr.models.block import ACTIVATIONS, Block, DropPath

NORM = partial(nn.LayerNorm, eps=1e-6)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_a_block_is_timms(activation: str) -> None:
    torch.manual_seed(0)
    ours = Block(12, 3, NORM, ACTIVATIONS[activation])
    torch.manual_seed(0)
    theirs = TimmBlock(12, 3, qkv_bias=True, norm_layer=NORM, act_layer=get_act_layer(activation))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    x = torch.randn(2, 7, 12)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_blocks_are_left_out_as_timm_does(rate: float) -> None:
    x = torch.randn(64, 3, 4)
    ours, theirs = DropPath(rate), TimmDropPath(rate)
    torch.manual_seed(1)
    wanted = theirs(x)
    torch.manual_seed(1)
    assert torch.equal(ours(x), wanted)
    assert torch.equal(ours.eval()(x), x)
