"""`vtr inspect` from the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import Cli, refused
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from shard_helpers import make_samples

from vtr.data.crew import cores
from vtr.data.shards import write_shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(make_samples(tmp_path / "videos", 5), tmp_path / "s", reader="table", source="t", workers=1)
    return tmp_path / "s"


def test_a_shard_directory(cli: Cli, shards: Path, tmp_path: Path) -> None:
    result = cli("inspect", shards, "--sheet", tmp_path / "sheet.png", "--verify", "--num-processes", 2, "--workers", 1)
    assert result.code == 0, result
    assert "5 with 7 captions in 1 shards" in result.out
    assert "0 problems" in result.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
    found = json.loads(cli("inspect", shards, "--json").out)
    assert (found["samples"], found["stores"]) == (5, {"video": 5})
    assert "verified" not in found


def test_damage_fails_the_command(cli: Cli, shards: Path) -> None:
    tar = shards / "000000.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    result = cli("inspect", shards, "--verify", "--json")
    assert result.code == 1
    assert len(json.loads(result.out)["verified"]["problems"]) == 1
    plain = cli("inspect", shards, "--verify")
    assert plain.code == 1
    assert "warning: 000000.tar: clip-000: corrupt" in plain.err


def test_too_few_samples_fail_the_command(cli: Cli, shards: Path) -> None:
    few = cli("inspect", shards, "--num-processes", 8)
    assert few.code == 1
    assert "5 samples are fewer than 8 processes" in few.err


def test_one_check_says_whether_steps_divide(cli: Cli, shards: Path) -> None:
    """Of a recipe: its batch, its frames and its workers are what is measured and shared out."""
    whole = cli("inspect", shards, "--recipe", "mac-tiny", "--num-processes", 1, "--json")
    assert whole.code == 0, whole
    found = json.loads(whole.out)
    assert (found["decoding"]["frames"], found["decoding"]["workers"], found["decoding"]["ok"]) == (8, 2, True)
    assert found["ready"][0]["told"] == "steps of 5 clips, not 96: there are no more; 5 a process"
    asked = "--recipe", "mac-tiny", "--world-size", 2, "--frames", 4, "--workers", 0  # as it was once called
    told = cli("inspect", shards, *asked)
    assert told.code == 1
    why = "a global batch of 5 (all samples there are, for 96 were asked) does not divide among 2 processes"
    assert f"feeds: {why}; choose a multiple with --batch-size: 4, say" in told.err
    assert " of 4 frames" in told.out
    assert "samples each" not in told.out
    for advised in (("--batch-size", 4), ("--set", "train.batch_size=4"), ("--batch-size", 4, "--accumulate", 2)):
        assert cli("inspect", shards, *asked, *advised).code == 0
    refused(cli("inspect", shards, "--recipe", "mac-tiny", "--set", "train.batch=4"), 2, "no setting 'train.batch'")


def test_an_index_is_made_and_found(cli: Cli, shards: Path) -> None:
    (shards / "index.parquet").unlink()
    refused(cli("inspect", shards), 2, "has tars but no index.parquet", f"vtr inspect {shards} --index")
    made = cli("inspect", shards / "*.tar", "--index", "--workers", 1)
    assert made.code == 0, made
    assert made.out.startswith("5 samples, 7 captions in 1 tars")
    assert json.loads(cli("inspect", f"{shards}/{{000000..000000}}.tar", "--index", "--json").out)["nothing_to_do"]
    assert cli("inspect", shards).code == 0


def test_what_is_refused(cli: Cli, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    refused(cli("inspect", tmp_path / "run"), 2, "is a run, not a shard directory")
    refused(cli("inspect", tmp_path / "nothing"), 2, "does not exist", "vtr shard")
    refused(cli("inspect", tmp_path / "nothing", "--recipe", "mac-tni"), 2, "no recipe 'mac-tni'", "mac-tiny?")
    refused(cli("inspect", shards, "--caption-key", "alt"), 2, "--caption-key says how an index is made", "--index")
    refused(cli("inspect", shards, "--batch-size", "4"), 2, "--batch-size alone feeds nobody")
    refused(cli("inspect", shards / "{0..3}.tar", "--index"), 2, "0.tar does not exist")


@pytest.mark.parametrize("what", ["--verify", "--index"])
def test_no_workers_are_refused(cli: Cli, shards: Path, what: str) -> None:
    refused(cli("inspect", shards, what, "--workers", -1), 2, "greater than or equal to 0")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--mask-ratio", 0.5), "--mask-ratio says what a contact sheet shows"),
        (("--samples", 24), "add --sheet, or take it out"),
        (("--frames", 8), "--frames says what a process is fed"),
        (("--workers", 2), "add --num-processes or --verify or --index"),
        (("--time-limit", 3), "--time-limit bounds the decoding"),
        (("--max-skipped", 1), "--max-skipped says how an index is made"),
        (("--clips", 2), "--clips says what a run restores"),
        (("--accumulate", 2), "--accumulate changes a recipe, and none is asked for"),
        (("--set", "train.ema=0.9", "--num-processes", 2), "add --recipe, or take it out"),
        (("--index", "--verify"), "--verify does nothing beside --index"),
        (("--reconstruct", "x.png", "--sheet", "y.png"), "--sheet does nothing beside --reconstruct"),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(cli: Cli, shards: Path, flags: tuple[object, ...], words: str) -> None:
    refused(cli("inspect", shards, *flags), 2, words)


def test_more_processes_than_cores_are_told_as_a_guess(cli: Cli, shards: Path) -> None:
    here = cores()
    guess = f", if each has a core: this machine has {here}"
    assert guess not in cli("inspect", shards, "--num-processes", 1).out
    assert guess in cli("inspect", shards, "--num-processes", here + 1).out


def test_a_sheet_that_cannot_be_written_is_refused_before_the_work(cli: Cli, shards: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "sheet.png"
    refused(
        cli("inspect", shards, "--verify", "--sheet", nowhere), 2,
        f"{nowhere} cannot be written: {nowhere.parent} is not there", "a folder where you may write",
    )  # fmt: skip
    refused(cli("inspect", shards, "--sheet", tmp_path), 2, f"{tmp_path} is a directory")
    refused(cli("inspect", shards, "--sheet", shards / "000000.tar" / "x.png"), 2, "x.png cannot be written")


def test_damage_is_told_in_full_beside_who_can_be_fed(cli: Cli, shards: Path) -> None:
    from vtr.data.index import ShardIndex

    index, tar = ShardIndex.open(shards), shards / "000000.tar"
    data = bytearray(tar.read_bytes())
    for sample in (0, 3):
        data[index.members(sample)[1].offset + 60] ^= 1
    tar.write_bytes(data)
    found = cli("inspect", shards, "--verify", "--num-processes", 1, "--json")
    assert found.code == 1
    told = json.loads(found.out)
    assert [one["key"] for one in told["verified"]["problems"]] == ["clip-000", "clip-003"]
    assert "of 5 samples tried 2 cannot be read: clip-000 (corrupt" in told["decoding"]["problems"][0]
    assert told["decoding"]["clips_per_s"] > 0


def test_captions_and_splits_mean_nothing_to_a_terminal(cli: Cli, tmp_path: Path) -> None:
    """Neither as markup of the table that shows them, nor as escape sequences."""
    samples = [
        replace(one, captions=("see [/b] now",), split=split)
        for one, split in zip(make_samples(tmp_path / "videos", 2), ("[/x]", "\x1b]0;owned\x07[bold]B"), strict=True)
    ]
    write_shards(samples, tmp_path / "s", reader="table", source="t", workers=1)
    result = cli("inspect", tmp_path / "s")
    assert (result.code, "\x1b]0" in result.out) == (0, False)
    assert "1 [/x], 1  ]0;owned [bold]B" in result.out
    assert "2 x 'see [/b] now'" in result.out


def test_what_verbs_print_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    from vtr.cli.app import print_json, print_text, say

    print_text("a\x1b[2Jb\tc\nd\x9be\ud800")
    print_json({"a": "\x1b"})
    say("a\x1b[2Jb\nc")
    out, err = capsys.readouterr()
    assert out == 'a [2Jb\tc\nd e \n{\n "a": "\\u001b"\n}\n'
    assert err == "a [2Jb c\n"
