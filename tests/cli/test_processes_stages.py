"""A recipe with stages, or several runs, in several processes: one way after the other between the same processes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cli_helpers import rows
from process_helpers import same_weights, start, wait_for

from vtr import api, checkpoint

STAGES = """
[[stages]]
"data.frames" = 2
"train.steps" = 2
[[stages]]
"train.steps" = 30
"train.save_every" = 1000
"""


@pytest.mark.slow
def test_stages_train_on_and_go_on_in_the_second(staged: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(staged, shards, out, "--num-processes", 2)
    wait_for(lambda: len(rows(out)) >= 2, "steps of the second stage")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert stderr.count("batch 8 = 4 a process x 2 processes x 1 piece\n") == 2, stderr
    saved = int(checkpoint.newest(out).name[5:])
    assert 2 <= saved < 30

    process = start(staged, shards, out, "--num-processes", 2)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stdout == f"{out}/checkpoints/step-00000030\n"
    assert "going on from step 2\n" in stderr, "the first stage was done"
    assert f"going on from step {saved}\n" in stderr
    assert [row["step"] for row in rows(out)] == list(range(1, 31))

    alone = tmp_path / "alone"
    api.pretrain(str(staged), shards, alone)
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in rows(out)] == pytest.approx([row[key] for row in rows(alone)], rel=2e-3)
    same_weights(tmp_path / "alone.stage-1", tmp_path / "run.stage-1")


@pytest.mark.slow
def test_a_signal_in_the_last_steps_of_a_stage(nano: Path, shards: Path, tmp_path: Path) -> None:
    """Of nine steps none is the tenth, at which processes agree."""
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(nano.read_text() + STAGES.replace('"train.steps" = 2\n', '"train.steps" = 9\n', 1))
    process = start(
        recipe, shards, out, "--num-processes", 2, "--set", "train.log_every=10", "--set", "train.save_every=1"
    )
    wait_for(lambda: len(rows(tmp_path / "run.stage-1")) >= 1, "steps of the first stage")
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "error: stopped " in stderr
    assert not rows(out)
