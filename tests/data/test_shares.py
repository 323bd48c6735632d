"""What cannot be shared out is refused before anything is loaded, and what is advised can be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vtr.data.index import ShardIndex
from vtr.data.shares import check_batch, checked, feeds, fewest_pieces
from vtr.errors import ConfigError


@pytest.mark.parametrize(
    ("batch", "world", "pieces", "how", "words"),
    [
        (61, 2, 1, "exact", r"of 61 does not divide among 2 processes\n.*multiple with --batch-size: 60, say"),
        (61, 2, 4, "exact", r"does not divide among 2 processes\n.*--batch-size: 56, say"),
        (3, 4, 1, "exact", r"of 3 does not divide among 4 processes\n.*--batch-size, or fewer processes"),
        (60, 2, 4, "exact", r"30 clips a process do not divide into 4 pieces\n.*--accumulate, 8 here: 56, say"),
        (4, 2, 2, "plain", r"one clip a piece, and plain pieces need 2"),
    ],
)
def test_what_does_not_divide(batch: int, world: int, pieces: int, how: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_batch(batch, world, pieces, how)
    with pytest.raises(ConfigError, match=f"batch of {batch} \\(all samples there are, for 96 were asked\\)"):
        check_batch(batch, world, pieces, how, wanted=96)


def test_what_is_advised_divides() -> None:
    for batch in range(2, 70):
        for world, pieces in ((2, 1), (3, 2), (4, 5)):
            try:
                check_batch(batch, world, pieces)
            except ConfigError as error:
                numbers = [int(word.rstrip(",")) for word in error.hint.split() if word.rstrip(",").isdecimal()]
                if error.hint.endswith(", say"):
                    check_batch(numbers[-1], world, pieces)


def test_the_fewest_pieces_that_fit() -> None:
    for how, least in (("exact", 1), ("plain", 2)):
        for clips in range(2, 65):
            for most in range(1, 65):
                pieces = fewest_pieces(clips, most, how)
                could = [n for n in range(1, clips + 1) if clips % n == 0 and least <= clips // n <= most]
                assert pieces == (could[0] if could else None)
                if pieces:
                    check_batch(clips, 1, pieces, how)
    assert fewest_pieces(1, 1, "plain") == 1


def test_samples_and_processes(test_shards: Path, shards: Path) -> None:
    index = ShardIndex.open(shards)  # 24 clips
    assert feeds(index, 5, None) == "4 samples a process"
    assert feeds(index, 2, 96, 3) == "steps of 24 clips, not 96: there are no more; 12 a process"
    with pytest.raises(ConfigError, match=r"24 samples are fewer than 25 processes: some .*\n.*24 processes or fewer"):
        feeds(index, 25, None)
    with pytest.raises(ConfigError, match=r"24 \(all samples there are, for 96 were asked\) does not divide among 5"):
        feeds(index, 5, 96)
    found = checked("feeds", lambda: feeds(index, 5, 96))
    assert (found["check"], found["ok"], found["hint"]) == (
        "feeds", False, "choose a multiple with --batch-size: 20, say",
    )  # fmt: skip


HEAVY = ("torch", "torchvision", "timm", "transformers", "accelerate", "scipy")


def test_what_asks_of_shards_alone_needs_no_torch(shards: Path) -> None:
    """Torch takes longer to import than all of this takes."""
    code = (
        "import sys; from vtr import api;"
        "api.inspect_shards(sys.argv[1], num_processes=2, batch_size=8, workers=1, verify=True, sheet=sys.argv[2]);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = [sys.executable, "-c", code, shards, shards.parent / "sheet.png"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"
