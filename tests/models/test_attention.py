"""The divided block against a literal one, and what its time attention is at the start."""

from __future__ import annotations

import pytest
import torch
from literal_encoder import allowed_keys, attend, divided_block
from timm.layers import Attention

from vtr.models.attention import DividedBlock, GroupAttention

SHAPES = [(1, 1), (1, 5), (4, 1), (3, 4), (2, 6)]  # slots, visible patches of a slot


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every weight random, biases and norms too, in float64."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) * 0.3)
    return module.double()


def tokens(batch: int, slots: int, k: int, width: int, seed: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1 + slots * k, width, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("group", ["space", "time"])
@pytest.mark.parametrize(("slots", "k"), SHAPES)
def test_attention_is_that_of_each_query_over_its_allowed_keys(group, slots, k):
    attention, x = randomised(GroupAttention(12, 3)), tokens(2, slots, k, 12)
    weights = {f"a.{name}": value for name, value in attention.state_dict().items()}
    out = attention(x, slots, group)
    assert out.shape == x.shape
    for i in range(2):
        literal = attend(x[i], weights, "a", 3, lambda query: allowed_keys(query, slots, k, group))
        torch.testing.assert_close(out[i], literal, rtol=1e-10, atol=1e-10)


def test_the_groups_are_the_papers():
    """2 slots of 3 patches: CLS 0 | 1 2 3 | 4 5 6."""
    assert allowed_keys(0, 2, 3, "space") == allowed_keys(0, 2, 3, "time") == [0, 1, 2, 3, 4, 5, 6]
    assert [allowed_keys(i, 2, 3, "space") for i in (2, 6)] == [[0, 1, 2, 3], [0, 4, 5, 6]]
    assert [allowed_keys(i, 2, 3, "time") for i in (2, 6)] == [[0, 2, 5], [0, 3, 6]]


@pytest.mark.parametrize(("slots", "k"), SHAPES)
def test_the_block_is_the_literal_one(slots, k):
    block, x = randomised(DividedBlock(12, 3)), tokens(2, slots, k, 12)
    out = block(x, slots)
    for i in range(2):
        torch.testing.assert_close(out[i], divided_block(x[i], block.state_dict(), "", 3, slots), rtol=1e-9, atol=1e-9)


def test_the_space_residual_adds_to_the_input():
    """With space attention and MLP silent the block is the identity, whatever time attention says."""
    block, x = randomised(DividedBlock(12, 3)), tokens(2, 3, 4, 12)
    for linear in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    assert block.timeattn(block.norm3(x), 3, "time").abs().max() > 0.1
    assert torch.equal(block(x, 3), x)


@pytest.mark.parametrize("time_init", ["qkv", "proj"])
@pytest.mark.parametrize(("slots", "k"), [(1, 5), (4, 3)])
def test_at_the_start_it_is_a_per_frame_block_with_a_global_cls(time_init, slots, k):
    block, x = randomised(DividedBlock(12, 3, time_init=time_init)), tokens(2, slots, k, 12)
    block.init_time()
    assert not block.timeattn(x, slots, "time").any()
    # timm's attention: the patches of a frame see CLS and their frame; CLS sees everything.
    whole = Attention(12, 3, qkv_bias=True).double()
    whole.load_state_dict(block.attn.state_dict())
    h = block.norm1(x)
    frames = [torch.cat([h[:, :1], h[:, 1 + s * k : 1 + (s + 1) * k]], dim=1) for s in range(slots)]
    attended = torch.cat([whole(h)[:, :1]] + [whole(frame)[:, 1:] for frame in frames], dim=1)
    y = x + attended
    torch.testing.assert_close(block(x, slots), y + block.mlp(block.norm2(y)), rtol=1e-10, atol=1e-10)


def test_the_two_starts_set_what_they_say():
    released, scratch = DividedBlock(12, 3, time_init="qkv"), DividedBlock(12, 3, time_init="proj")
    released.init_time()
    scratch.init_time()
    assert not released.timeattn.qkv.weight.any()
    assert not released.timeattn.qkv.bias.any()
    assert (released.timeattn.proj.weight == 1).all()
    assert scratch.timeattn.qkv.weight.any()
    assert not scratch.timeattn.proj.weight.any()
    for block in (released, scratch):
        assert not block.timeattn.proj.bias.any()
        assert block.attn.qkv.weight.any(), "space attention is left alone"


def time_gradients(block: DividedBlock, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a loss asks of the time attention's weights, and of the space attention's for comparison."""
    block.zero_grad()
    block(x, 3).square().mean().backward()
    q, k, v = block.timeattn.qkv.weight.grad.split(12)
    return {"q": q, "k": k, "v": v, "proj": block.timeattn.proj.weight.grad, "space": block.attn.qkv.weight.grad}


def test_the_released_start_gives_time_attention_no_gradient():
    """Ones in the projection add one number to all channels of a token, and the next norm takes it away again."""
    block, x = randomised(DividedBlock(12, 3, time_init="qkv")), tokens(2, 3, 4, 12)
    block.init_time()
    largest = {name: float(grad.abs().max()) for name, grad in time_gradients(block, x).items()}
    assert largest["space"] > 0.05
    assert largest["q"] == largest["k"] == largest["proj"] == 0
    assert largest["v"] < 1e-12, "nothing but rounding"


def test_the_released_start_never_learns_to_attend():
    """Wherever rounding pushes it: query and key stay zero, and the channels of the value stay equal.

    Any such weights ask for such gradients, so that no number of steps leads elsewhere.
    """
    block, x = randomised(DividedBlock(12, 3, time_init="qkv")), tokens(2, 3, 4, 12)
    block.init_time()
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        block.timeattn.qkv.weight[24:] = torch.randn(1, 12, generator=g)  # one row for all channels
        block.timeattn.proj.weight[:] = torch.randn(12, 1, generator=g)
    grads = time_gradients(block, x)
    assert not grads["q"].any()
    assert not grads["k"].any()
    assert grads["v"].abs().max() > 1e-3
    torch.testing.assert_close(grads["v"], grads["v"][:1].expand(12, -1), rtol=1e-9, atol=1e-12)
    assert grads["proj"].abs().max() > 1e-3
    torch.testing.assert_close(grads["proj"], grads["proj"][:, :1].expand(-1, 12), rtol=1e-9, atol=1e-12)


def test_the_start_for_training_from_scratch_learns_to_attend():
    block, x = randomised(DividedBlock(12, 3, time_init="proj")), tokens(2, 3, 4, 12)
    block.init_time()
    assert time_gradients(block, x)["proj"].abs().max() > 0.05
    torch.optim.SGD(block.parameters(), lr=0.1).step()
    grads = time_gradients(block, x)
    for name in ("q", "k", "v", "proj"):
        assert grads[name].abs().max() > 1e-6, name  # small after one step, but far above rounding
    assert (grads["v"] - grads["v"][:1]).abs().max() > 1e-4, "its channels part"
