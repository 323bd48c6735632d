"""Pieces and processes give the gradients of one large batch: 4 pieces, 2 processes, and both."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradients_cases as cases
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from vtr.errors import ConfigError
from vtr.training.gradients import Step, check_pieces, cut, slices, step_gradients
from vtr.training.processes import accelerated
from vtr.training.spread import Spread, whole

PROCESSES = 2


def gradients(objective: nn.Module, batch, pieces: int, how: str = "exact", seed: int = 5):
    with accelerated(torch.device("cpu"), "fp32") as accelerator:
        model = accelerator.prepare(Step(objective))
        terms = step_gradients(model, accelerator, batch, seed, True, pieces, how, 1)
        found = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
        return terms, found


def same(a, b) -> None:
    """Within fp32's rounding, number by number; and as one vector off by at most two millionths of its length.

    How a processor's kernels add up decides what is rounded: 0.2 to 1.003 millionths on those that were tried.
    """
    assert a.keys() == b.keys()
    length = torch.cat([grad.flatten() for grad in b.values()]).norm()
    assert torch.cat([(a[name] - b[name]).flatten() for name in b]).norm() <= 2e-6 * length
    assert max(float(grad.abs().max()) for grad in b.values()) > 1e-2, "the comparison is of something"
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("pieces", [2, 4, 8])
@pytest.mark.parametrize("name", cases.CASES)
def test_pieces_give_the_gradients_of_the_whole(name: str, pieces: int) -> None:
    (whole, batch), (cutting, _) = cases.make(name), cases.make(name)
    terms, wanted = gradients(whole, batch, 1)
    found_terms, found = gradients(cutting, batch, pieces)
    assert found_terms.keys() == terms.keys()
    for term, value in terms.items():
        torch.testing.assert_close(found_terms[term], value, rtol=1e-6, atol=1e-6)
    same(found, wanted)


def work(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")  # a child does not inherit what pytest asks for
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    results = {}
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    for name in cases.CASES:
        for pieces in (1, 2):
            objective, batch = cases.make(name)
            own = cut(batch, slices(len(batch), PROCESSES)[rank])
            model = accelerator.prepare(Step(objective))
            terms = step_gradients(model, accelerator, own, 5, True, pieces, "exact", 1)
            grads = {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}
            results[name, pieces, "whole"] = (terms, grads)
            results[name, pieces, "spread"] = spread(name, rank, pieces, accelerator)
    torch.save(results, f"{folder}/{rank}.pt")
    accelerator.wait_for_everyone()
    accelerator.end_training()


def spread(name: str, rank: int, pieces: int, accelerator):
    """As above, with each layer's weights in parts: (terms, gradients put together)."""
    objective, batch = cases.make(name)
    step = Step(objective)
    Spread().share(step, torch.optim.AdamW(step.parameters()), accelerator.device)
    assert sum(hasattr(p, "placements") for p in step.parameters()) > 20
    own = cut(batch, slices(len(batch), PROCESSES)[rank])
    terms = step_gradients(step, accelerator, own, 5, True, pieces, "exact", 1)
    return terms, {n: whole(p.grad) for n, p in objective.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (str(folder), port), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("how", ["whole", "spread"])
@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("name", cases.CASES)
def test_processes_give_the_gradients_of_one(results, name: str, pieces: int, how: str) -> None:
    objective, batch = cases.make(name)
    terms, wanted = gradients(objective, batch, 1)
    for result in results:
        found_terms, found = result[name, pieces, how]
        for term, value in terms.items():
            torch.testing.assert_close(found_terms[term], value, rtol=1e-6, atol=1e-6)
        same(found, wanted)


def test_plain_pieces_are_small_batches_of_their_own() -> None:
    objective, batch = cases.make("mac")
    terms, found = gradients(objective, batch, 4, "plain")
    parts = [gradients(cases.make("mac")[0], cut(batch, part), 1) for part in slices(len(batch), 4)]
    mean = {name: sum(grads[name] for _, grads in parts) / 4 for name in found}
    same(found, mean)
    torch.testing.assert_close(terms["contrastive"], sum(t["contrastive"] for t, _ in parts) / 4)


def test_a_piece_drops_the_same_units_both_times(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, batch = cases.make("mac")
    objective.model.vid_proj = nn.Sequential(objective.model.vid_proj, nn.Dropout(0.5))
    seen: list[torch.Tensor] = []
    encode: Callable = objective.rows

    def rows(*arguments):
        found = encode(*arguments)
        seen.append(found["video"].detach().clone())
        return found

    monkeypatch.setattr(objective, "rows", rows)
    gradients(objective, batch, 4)
    first, second = seen[:4], seen[4:]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
        assert (a == 0).any()
    assert not torch.equal(first[0] == 0, first[1] == 0), "each piece draws its own"


def test_choosing_partners_draws_nothing_from_before() -> None:
    """Hard ones are chosen by encoding each piece; a run that resumes has another past than one that went through."""
    found = []
    for past in (1, 2):
        objective, batch = cases.make("simvtp, hard, a learned temperature")
        objective.model.drop_blocks(0.5)
        objective.model.embeddings.dropout.p = 0.5
        torch.manual_seed(past)
        found.append(gradients(objective, batch, 2))
    (terms, grads), (other_terms, others) = found
    assert terms == other_terms
    assert all(torch.equal(grad, others[name]) for name, grad in grads.items())


def test_recomputed_activations_give_the_same_gradients() -> None:
    from copy import deepcopy

    from vtr.models.recompute import recompute_activations

    (kept, batch), (again, _) = cases.make("mac"), cases.make("mac")
    names = list(again.state_dict())
    recompute_activations(again)
    assert list(again.state_dict()) == names
    wanted, found = gradients(kept, batch, 1)[1], gradients(again, batch, 1)[1]
    same(found, wanted)
    copy = deepcopy(again)  # as an average or a snapshot of the model does
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert not copy(batch, 5)["contrastive"].equal(again(batch, 5)["contrastive"]), "the copy uses its own weights"

    def held(objective: nn.Module) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            objective.model.video(batch.clips)
        return sum(sizes)

    assert held(again) < 0.5 * held(kept)


class Whole(nn.Module):
    unsplit = "a clip is matched with others of its batch"


class Silent(nn.Module):
    pass


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Whole cannot be split exactly: a clip is matched.*\n.*accumulate_how=plain"
    ):
        check_pieces(Whole(), 2, "exact", 8, 1)
    with pytest.raises(ConfigError, match="Silent cannot be split exactly: its losses need the whole batch"):
        check_pieces(Silent(), 2, "exact", 8, 1)
    check_pieces(Whole(), 2, "plain", 8, 1)
    check_pieces(Whole(), 1, "exact", 8, 1)


@pytest.mark.parametrize(("pieces", "how", "batch"), [(3, "exact", 8), (3, "plain", 8), (8, "exact", 4)])
def test_a_batch_that_does_not_divide(pieces: int, how: str, batch: int) -> None:
    given = rf"a batch of {2 * batch} over 2 processes, with --accumulate {pieces}: "
    wrong = rf"{batch} clips a process do not divide into {pieces} pieces\n.*--accumulate, {2 * pieces} here"
    with pytest.raises(ConfigError, match=given + wrong):
        check_pieces(cases.make("mac")[0], pieces, how, 2 * batch, 2)


def test_plain_pieces_need_negatives() -> None:
    objective = cases.make("mac")[0]
    words = r"a batch of 8 over 2 processes, with --accumulate 4: that is one clip a piece, .* need 2\b.*\n.*smaller"
    with pytest.raises(ConfigError, match=words):
        check_pieces(objective, 4, "plain", 8, 2)
    check_pieces(objective, 4, "exact", 8, 2)
    check_pieces(objective, 2, "plain", 8, 2)
    check_pieces(objective, 1, "plain", 2, 2)


def test_a_batch_that_does_not_divide_among_processes() -> None:
    with pytest.raises(ConfigError, match=r"a global batch of 7 does not divide among 2 processes\n.*--batch-size"):
        check_pieces(Silent(), 1, "exact", 7, 2)


def test_a_batch_without_one_readable_clip_in_a_piece() -> None:
    objective, batch = cases.make("mac")
    batch = replace(batch, ok=torch.arange(8) > 3)
    wanted = gradients(cases.make("mac")[0], batch, 1)[1]
    same(gradients(objective, batch, 4)[1], wanted)
