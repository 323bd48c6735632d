"""`--num-processes`: several processes train as one; one that is lost ends the others, and the run goes on after."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_helpers import Cli, refused, rows
from process_helpers import ACCELERATE, TWO, child, command, same_weights, start, wait_for

from vtr import api, checkpoint


def test_two_processes_train_like_one(nano: Path, shards: Path, test_shards: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("--num-processes", 2, "--accumulate", 2, "--eval-shards", test_shards, "--json")
    process = start(nano, shards, out, *given)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert json.loads(stdout) == {"run": str(out), "checkpoint": str(checkpoint.newest(out))}, "said once"
    assert "batch 8 = 2 a process x 2 processes x 2 pieces" in stderr
    assert json.loads((out / "reading.json").read_text())["clips"] == {"pyav": 48}, "those of both"
    *trained, scored = rows(out)
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in trained] == pytest.approx([row[key] for row in rows(run)], rel=1e-3)
    alone = api.evaluate(out, test_shards, device="cpu", precision="fp32")
    for way in ("t2v", "v2t"):
        assert {name: scored[f"{way} {name}"] for name in ("R@1", "MdR")} == {n: alone[way][n] for n in ("R@1", "MdR")}


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_none_is_started_where_the_batch_does_not_divide(
    verb: str, nano: Path, run: Path, shards: Path, tmp_path: Path
) -> None:
    """Each Python that starts leaves its rank: the one that was asked is the only one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nwith open(os.environ['STARTS'], 'a') as file:\n    print(os.environ.get('RANK', '-'), file=file)\n"
    )
    starts = tmp_path / "starts"
    found = [path for path in (str(tmp_path), os.environ.get("PYTHONPATH", "")) if path]
    seen = {**os.environ, "STARTS": str(starts), "PYTHONPATH": os.pathsep.join(found)}
    line = command(nano, shards, tmp_path / "run", "--num-processes", 3, "--device", "cpu")
    line[1:3] = [verb, str(nano if verb == "pretrain" else run)]
    ended = subprocess.run(line, env=seen, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "of 8 does not divide among 3 processes" in ended.stderr
    assert starts.read_text().split() == ["-"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, "FSDP"),
        pytest.param(
            {
                "ACCELERATE_USE_DEEPSPEED": "true",
                "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
                "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
            },
            "ZeRO-2, by torch's FSDP",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_spread_model_trains_like_a_whole_one(
    nano: Path, shards: Path, run: Path, tmp_path: Path, said: dict[str, str], named: str
) -> None:
    out = tmp_path / "run"
    spread = {**os.environ, **said}
    process = start(nano, shards, out, "--num-processes", 2, "--accumulate", 2, env=spread)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert f"each process holds a part of the model ({named})" in stderr
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in rows(out)] == pytest.approx([row[key] for row in rows(run)], rel=1e-3)
    same_weights(run, out)


def test_a_lost_process_ends_the_others_and_the_run_goes_on(nano: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("--num-processes", 2, "--steps", 2000, "--set", "train.save_every=5")
    process = start(nano, shards, out, *given)
    wait_for(lambda: len(rows(out)) >= 7, "steps")
    lost = time.monotonic()
    os.kill(child(process, 1), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - lost < 60
    assert process.returncode == 1
    assert stdout == ""
    assert "error: process 1 of 2 was ended by SIGKILL" in stderr
    assert "Traceback" not in stderr
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    saved = int(checkpoint.newest(out).name[5:])
    before = rows(out)[-1]["step"]  # what is in the log already must not count as going on

    process = start(nano, shards, out, *given)  # and while it goes on, a scheduler's signal comes
    wait_for(lambda: rows(out) and rows(out)[-1]["step"] > before, "steps after the restart")
    process.send_signal(signal.SIGUSR1)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"going on from step {saved}" in stderr
    assert stderr.count("error: stopped at step") == 1
    assert "interrupted" not in stderr
    assert int(checkpoint.newest(out).name[5:]) > saved + 2


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_is_one_ctrl_c(nano: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(nano, shards, out, "--num-processes", 2, "--steps", 2000)
    wait_for(lambda: len(rows(out)) >= 1, "steps")
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-2].startswith("error: stopped at step ")
    assert stderr.splitlines()[-1] == "hint: run the same command to go on"


@pytest.mark.slow
def test_processes_do_not_outlive_their_launcher(nano: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(nano, shards, out, "--num-processes", 2, "--steps", 100000)
    wait_for(lambda: len(rows(out)) >= 1, "steps")
    process.kill()
    process.communicate(timeout=60)

    def gone() -> bool:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(gone, "end of the orphans", 60)
    assert checkpoint.newest(out) is not None, "they saved"


def test_an_error_of_all_is_told_once(nano: Path, shards: Path, tmp_path: Path) -> None:
    process = start(nano, shards, tmp_path / "run", "--num-processes", 2, "--batch-size", 7)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert stderr.count("a global batch of 7 does not divide among 2 processes") == 1, stderr
    assert "Traceback" not in stderr


def test_more_or_fewer_than_were_launched(cli: Cli, nano: Path, shards: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    result = cli("pretrain", nano, "--shards", shards, "--out", tmp_path / "run", "--num-processes", 2)
    refused(result, 2, "--num-processes 2, but 3 were launched already", "leave --num-processes out")


@pytest.mark.slow
def test_accelerate_launch(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = subprocess.run(
        [*ACCELERATE, *TWO, *command(nano, shards, out)[1:]], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkpoint.newest(out)}\n"
    assert done.stderr.count("batch 8 = 4 a process x 2 processes x 1 piece\n") == 1, done.stderr
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in rows(out)] == pytest.approx([row[key] for row in rows(run)], rel=1e-3)
    same_weights(run, out)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="accelerate starts nothing for DeepSpeed without it")
def test_accelerate_s_file_for_deepspeed(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "run", tmp_path / "zero.yaml"
    file.write_text(
        "distributed_type: DEEPSPEED\nnum_processes: 2\nnum_machines: 1\nmachine_rank: 0\nmixed_precision: 'no'\n"
        "deepspeed_config:\n  zero_stage: 3\n  gradient_clipping: 1.0\n  gradient_accumulation_steps: 4\n"
        "  offload_optimizer_device: none\ndynamo_config:\n  dynamo_backend: EAGER\n"
    )
    launch = [*ACCELERATE, "--config_file", str(file), "--main_process_port", "0", "-m", "vtr"]
    done = subprocess.run(
        launch + command(nano, shards, out)[1:], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "each process holds a part of the model (ZeRO-3, by torch's FSDP)" in done.stderr
    assert "accelerate's dynamo_backend EAGER is not followed" in done.stderr
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in rows(out)] == pytest.approx([row[key] for row in rows(run)], rel=1e-3)
    same_weights(run, out)


@pytest.mark.slow
def test_accelerate_spreads_the_model(nano: Path, shards: Path, test_shards: Path, tmp_path: Path) -> None:
    """FSDP by Accelerate's own file: it trains alike, and goes on from and to runs of whole models."""
    file = tmp_path / "fsdp.yaml"
    file.write_text(
        "distributed_type: FSDP\nnum_processes: 2\nnum_machines: 1\nmachine_rank: 0\nmixed_precision: 'no'\n"
        "fsdp_config:\n  fsdp_version: 2\n  fsdp_reshard_after_forward: true\n  fsdp_offload_params: false\n"
        "  fsdp_auto_wrap_policy: NO_WRAP\n  fsdp_state_dict_type: SHARDED_STATE_DICT\n"
        "  fsdp_cpu_ram_efficient_loading: true\n"
    )
    launch = [*ACCELERATE, "--config_file", str(file), "--main_process_port", "0", "-m", "vtr"]
    scored = ["--eval-shards", str(test_shards), "--set", "train.eval_every=3", "--set", "train.keep=9"]

    def train(out: Path, *, spread: bool) -> None:
        given = command(nano, shards, out, *scored)
        done = subprocess.run(
            launch + given[1:] if spread else given, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr

    whole, spread = tmp_path / "whole", tmp_path / "spread"
    train(whole, spread=False)
    train(spread, spread=True)

    def same(out: Path) -> None:
        wanted, found = rows(whole), rows(out)
        assert [row["step"] for row in found] == [row["step"] for row in wanted]
        for a, b in zip(found, wanted, strict=True):
            for name in {"loss", "gradient_norm"} & b.keys():
                assert a[name] == pytest.approx(b[name], rel=1e-3), name
        same_weights(whole, out)

    same(spread)
    for out in (whole, spread):  # each goes on from its middle as the other kind
        cut = shutil.copytree(out, tmp_path / f"{out.name}-cut")
        shutil.rmtree(checkpoint.steps(cut)[-1])
        train(cut, spread=out is whole)
        same(cut)
