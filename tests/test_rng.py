"""Addresses are folded as published (splitmix64), and draws depend on nothing but their address."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from vtr.rng import fold_in, fold_in_rows, generator, uniform, uniform_pairs

# The first outputs of splitmix64 from the state 1234567, as its author's C code prints them.
SPLITMIX = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def test_uniform_is_splitmix64():
    drawn = uniform(torch.tensor([1234567]), 5)[0]
    assert drawn.dtype == torch.float32
    assert drawn.tolist() == [(word >> 40) / 2**24 for word in SPLITMIX]


def test_fold_in_is_splitmix64():
    assert fold_in(1234567) == SPLITMIX[0] >> 1


def test_addresses_stay_what_they_are():
    """A resumed run, perhaps under a later version, must draw what it would have drawn."""
    assert fold_in(0, 1, 2, 3) == 3734841505640892017
    assert fold_in_rows(7, torch.tensor([0, 1, 2**40])).tolist() == [
        -1338707532197258240,
        -2435687332539206404,
        3598465765214291620,
    ]


def test_every_address_is_another_seed():
    seeds = [fold_in(s, *parts) for s in range(8) for n in range(4) for parts in itertools.product(range(6), repeat=n)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert fold_in(1, 2, 3) != fold_in(1, 3, 2)
    assert fold_in(1, 0) != fold_in(1)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64 + 5, 10**30])
def test_any_whole_number_is_a_seed(seed):
    assert 0 <= fold_in(seed, -3, 2**70) < 2**63
    assert fold_in_rows(seed, torch.arange(3)).unique().numel() == 3


def test_rows_are_all_different():
    rows = torch.arange(200_000)
    assert fold_in_rows(3, rows).unique().numel() == len(rows)
    assert not torch.equal(fold_in_rows(3, rows), fold_in_rows(4, rows))


def test_a_row_draws_the_same_in_any_company():
    rows, order = fold_in_rows(11, torch.arange(64)), torch.randperm(64, generator=torch.Generator().manual_seed(0))
    whole = uniform(rows, 50)
    assert torch.equal(fold_in_rows(11, torch.arange(64)[order]), rows[order])
    assert torch.equal(uniform(rows[order], 50), whole[order])
    assert torch.equal(uniform(rows[17:18], 50), whole[17:18])
    assert torch.equal(uniform(rows, 9), whole[:, :9]), "a longer row begins like a shorter one"


def test_draws_are_uniform_and_uncorrelated():
    x = uniform(fold_in_rows(5, torch.arange(2000)), 200)
    assert x.min() >= 0
    assert x.max() < 1
    counts = np.bincount((x.flatten() * 256).long().numpy(), minlength=256)
    expected = x.numel() / 256
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi2 - 255) < 4 * np.sqrt(2 * 255)
    y = (x.double() - 0.5) * np.sqrt(12)
    for a, b in ((y[1:], y[:-1]), (y[:, 1:], y[:, :-1]), (y[1:, 1:], y[:-1, :-1])):  # neighbours in either direction
        assert abs(float((a * b).mean())) < 4 / np.sqrt(a.numel())


def test_close_seeds_are_as_far_apart_as_any():
    """Raw sample numbers are close together; folded, not one of their draws may follow from a neighbour's."""
    a, b = (uniform(fold_in_rows(seed, torch.arange(1000)), 100).double() - 0.5 for seed in (0, 1))
    assert abs(float((a * b).mean()) * 12) < 4 / np.sqrt(a.numel())


def test_generator_is_addressed_too():
    assert generator(1, 2, 3).integers(0, 10**9, 5).tolist() == generator(1, 2, 3).integers(0, 10**9, 5).tolist()
    assert generator(1, 2, 3).random() != generator(1, 3, 2).random()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same():
    rows = fold_in_rows(5, torch.arange(1000))
    on_gpu = fold_in_rows(5, torch.arange(1000, device="cuda"))
    assert torch.equal(on_gpu.cpu(), rows)
    assert torch.equal(uniform(on_gpu, 784).cpu(), uniform(rows, 784))


def test_a_pair_is_drawn_for_wherever_its_two_stand():
    rows, others = fold_in_rows(3, torch.arange(40)), fold_in_rows(4, torch.arange(500))
    drawn = uniform_pairs(rows, others)
    assert drawn.shape == (40, 500)
    mixed = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform_pairs(rows[7:9], others[mixed]), drawn[7:9][:, mixed])
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.unique().numel() > 0.99 * drawn.numel()
    flat = (drawn - drawn.mean()).T
    assert float(torch.corrcoef(flat.T).fill_diagonal_(0).abs().max()) < 0.25
