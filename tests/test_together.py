"""What would end all processes of a training is told before one is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtr import recipe, together
from vtr.data.index import ShardIndex
from vtr.errors import ConfigError, WorkError


@pytest.fixture
def config(nano: Path):
    return recipe.load(str(nano))


def test_steps_are_shared_out(config, shards: Path) -> None:
    index = ShardIndex.open(shards)  # 24 clips; batches of 8
    assert together.step_shares(config, index, 2) == "steps of 8 clips; 4 a process"
    more = recipe.override(config, {"train.batch_size": 96})
    assert together.step_shares(more, index, 4) == "steps of 24 clips, not 96: there are no more; 6 a process"
    with pytest.raises(ConfigError, match=r"of 8 does not divide among 3 processes\n.*multiple with --batch-size"):
        together.step_shares(config, index, 3)
    pieces = recipe.override(config, {"train.accumulate": 3})
    with pytest.raises(ConfigError, match=r"8 clips a process do not divide into 3 pieces\n.*processes times"):
        together.step_shares(pieces, index, 1)


def test_each_stage_must_divide(config, shards: Path) -> None:
    index = ShardIndex.open(shards)
    one = recipe.override(config, {"train.device": "cpu"})
    together.check_processes([one, one], index, 2)
    later = recipe.override(one, {"train.batch_size": 6})
    with pytest.raises(ConfigError, match="of 6 does not divide among 4 processes"):
        together.check_processes([one, later], index, 4)


def test_each_process_needs_a_gpu(config, shards: Path, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)  # the machine's figure alone is given
    on_gpus = recipe.override(config, {"train.device": "cuda"})
    with pytest.raises(ConfigError, match=r"2 processes train on a GPU each, .* has 1\n.*-processes 1 or fewer, or"):
        together.check_processes([on_gpus], ShardIndex.open(shards), 2)
    together.check_processes([on_gpus], ShardIndex.open(shards), 1)


def test_more_processes_than_memory_holds(monkeypatch) -> None:
    monkeypatch.setattr(together, "memory_bytes", lambda where: 4 * together.PROCESS)
    together.check_room(4)
    with pytest.raises(WorkError, match=r"200 processes take 78.1 GB .*, 1.56 GB are free\n.*-processes 4 or fewer"):
        together.check_room(200)
