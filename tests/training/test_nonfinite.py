"""A loss that is not finite in one of two processes: the error and the file name what that process held."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from vtr import api
from vtr.errors import WorkError
from vtr.objectives.mac import MAC

BAD_STEP, BAD_PROCESS, BAD_ROW = 3, 1, 2


class Noted(MAC):
    """MAC that notes what it was given; one vector of one process is not a number at step 3."""

    def __init__(self, model, tokenizer) -> None:
        super().__init__(model, tokenizer.mask_id, 0.5, 0.0)
        self.held: list[list[str]] = []
        NOTES["held"] = self.held

    def rows(self, batch, seed, masked=True):
        rows = super().rows(batch, seed, masked)
        self.held.append(list(batch.keys))
        if is_bad(self.held):
            factors = torch.ones(len(batch), 1)
            factors[BAD_ROW] = float("nan")
            rows["video"] = rows["video"] * factors
        return rows


class Own(nn.Module):
    """A loss of each process's own rows, without vectors to look at."""

    def __init__(self, model, tokenizer) -> None:
        super().__init__()
        self.model, self.held = model, []
        NOTES["held"] = self.held

    def forward(self, batch, seed, masked=True):
        self.held.append(list(batch.keys))
        vectors = self.model.encode_video(batch.clips), self.model.encode_text(batch.ids, batch.attention)
        return {"own": (vectors[0] - vectors[1]).square().mean() * (float("inf") if is_bad(self.held) else 1.0)}


NOTES: dict[str, list] = {}


def is_bad(held: list) -> bool:
    return len(held) == BAD_STEP and dist.get_rank() == BAD_PROCESS


def work(rank: int, nano: str, shards: str, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    for objective in (Noted, Own):  # the second run of these processes is another one between the same
        out = Path(folder) / objective.__name__
        with pytest.raises(WorkError) as caught:
            api.pretrain(nano, shards, out, objective=objective, overrides={"train.log_every": 2})
        (Path(folder) / f"{objective.__name__}-{rank}.json").write_text(
            json.dumps({"said": str(caught.value), "held": NOTES["held"]})
        )


@pytest.fixture(scope="module")
def folder(nano: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two runs of two processes left."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (str(nano), str(shards), str(folder), port), nprocs=2)
    return folder


def found(folder: Path, name: str) -> tuple[dict, list[str], list[str]]:
    """(the line in the file, what both processes said, the keys that the bad one held)."""
    notes = [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2)]
    (line,) = map(json.loads, (folder / name / "nonfinite.jsonl").read_text().splitlines())
    held = notes[BAD_PROCESS]["held"][BAD_STEP - 1]
    assert not set(held) & set(notes[0]["held"][BAD_STEP - 1])
    return line, [note["said"] for note in notes], held


@pytest.mark.slow
def test_a_vector_is_named_by_its_key(folder: Path) -> None:
    line, said, held = found(folder, "Noted")
    assert line["step"] == BAD_STEP
    assert line["keys"] == held
    assert line["not_finite"] == [held[BAD_ROW]]
    for words in said:
        assert f"at step {BAD_STEP}; the vectors that are not finite are of {held[BAD_ROW]}: see " in words


@pytest.mark.slow
def test_a_loss_is_named_by_the_keys_of_its_process(folder: Path) -> None:
    line, said, held = found(folder, "Own")
    assert line["loss"] == "inf"
    assert line["keys"] == held
    assert "not_finite" not in line
    for words in said:
        assert (
            f"the loss is inf, its gradient's norm nan, at step {BAD_STEP}; this batch held {', '.join(held)}: see "
            in words
        )
