"""What is false is found: one falsehood for each thing that tests/test_documentation.py looks at."""

from __future__ import annotations

import pytest
from documentation_commands import check, check_quoted
from documentation_python import look_up
from documentation_scripts import lead_somewhere
from documentation_text import ROOT

FALSE = (
    "vtr evall runs/a --shards shards/test",
    "vtr eval runs/a --shardz shards/test",
    "vtr inspect shards/test --sheeet masks.png",
    "vtr eval runs/a --shards shards/test --protocol msrvtt-2ka",
    "vtr shard webvid DIR OUT --split 3M-train",
    "vtr shard msvdd DIR OUT --split train",
    "vtr shard msvd DIR",
    "vtr pretrain mac-bse --shards shards/train --out runs/a",
    "vtr pretrain mac-tiny --shards shards/train --out runs/a --set train.trackerr=wandb",
    "vtr pretrain mac-tiny --shards shards/train --out runs/a --set train.checkpointing=maybe",
    "vtr pretrain mac-tiny --shards shards/train --out runs/a --steps many",
    "vtr bench step --recipe mac-bse",
    "vtr recipes mac-bse",
    "vtrr foo",
    "accelerate nonsense",
    "accelerate lunch -m vtr pretrain mac-base --shards DIR --out RUN",
    "accelerate launch -m vtr pretrain mac-base --shards DIR --outt RUN",
    "python examples/compare.py --seconds 40 --pointz 6",
    "python examples/compare.py --seconds 40 --only mac-0.65",
    "python examples/custom_objective.py shards/train",
    "python tests/reliability/fuzzing.py --counts 9",
    "python -m vtr.cli.refrence docs",
    "bash examples/quickstart.bash",
    "bash examples/search_my_videos.sh DIR RUN MORE",
    "bash tests/run.sh --frobnicate",
    "pytest tests/reliability -k no_such_test",
    "pytest tests/reliability/test_no_such.py",
    "pip install '.[srve]'",
)
QUOTED = (
    "--shardz DIR",
    "vtr bench step --plann --shards DIR",
    "--set train.checkpoint=true",
    "data.cachee_gb",
    "train.compil = true",
)


@pytest.mark.parametrize("line", FALSE)
def test_what_is_false_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)


@pytest.mark.parametrize("text", QUOTED)
def test_what_is_false_in_backticks_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        check_quoted(text)


LOAD = "from vtr.build import load_model\nmodel = load_model('RUN')\n"


@pytest.mark.parametrize(
    "line", ["model.embed_clipz(clips)", "model.embed_video(clips, ids)", "load_model(runs='RUN')"]
)
def test_what_is_false_in_python_is_found(line: str) -> None:
    look_up(f"{LOAD}model.embed_video(clips)")
    with pytest.raises((AttributeError, TypeError)):
        look_up(LOAD + line)


@pytest.mark.parametrize(
    "text",
    ["[x](data.md#no-such-heading)", "[x](no.md)", "`tests/test_rng.py::test_no_such`", "`tests/test_rng.py` (slow)"],
)
def test_a_link_that_leads_nowhere_is_found(text: str) -> None:
    lead_somewhere(ROOT / "docs/design.md", "[x](data.md#order), `tests/test_rng.py`")
    with pytest.raises(AssertionError):
        lead_somewhere(ROOT / "docs/design.md", text)
