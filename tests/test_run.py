"""A training run: it resumes to the bit, and keeps its directory from being taken for another's."""

from __future__ import annotations

import json
import os
import shutil
import signal
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from vtr import api, build, checkpoint, recipe
from vtr.atomic import locked
from vtr.config import Config
from vtr.data.index import ShardIndex
from vtr.data.order import Subset
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import BusyError, ConfigError, Interrupted, RunError, WorkError
from vtr.models.embedder import Model
from vtr.objectives.contrastive import Contrastive
from vtr.recipe import override
from vtr.retrieval.embed import captions_of
from vtr.run import Start, train_plan, training_data
from vtr.run import run as run_it

FILES = ("model.safetensors", "state/optimizer.pt", "state/trainer.json", "tokenizer/tokenizer.json", "config.toml")


def config_of(nano: Path, **changes: object) -> Config:
    return recipe.override(recipe.load(str(nano)), {key.replace("__", "."): value for key, value in changes.items()})


def last(run: Path) -> dict[str, bytes]:
    path = checkpoint.newest(run)
    assert path is not None
    return {name: (path / name).read_bytes() for name in FILES}


def steps(run: Path) -> list[int]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "loss" in row]


def pretrain(config: Config, shards: Path, out: Path, stop: int = 0) -> Path:
    """As `api.pretrain`; with `stop`, a Ctrl-C comes while the step before is scored, and is heard at its end."""
    scored = count(1)

    def interrupt(loaded: build.Loaded) -> dict[str, float]:
        if next(scored) == stop - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return {"score": 1.0}

    def start() -> Start:
        words = build.make_tokenizer(config, captions_of(index))
        return Start(build.make_model(config, words), words)

    index = ShardIndex.open(shards)
    if not stop:
        return run_it("pretrain", config, index, out, start)
    asked = recipe.override(config, {"train.eval_every": 1})
    return run_it("pretrain", asked, index, out, start, evaluate=interrupt)


def test_what_a_run_leaves(run: Path, nano: Path) -> None:
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints", "config.toml", "metrics.jsonl", "reading.json", "run.json"
    ]  # fmt: skip
    reading = json.loads((run / "reading.json").read_text())
    assert reading["clips"] == {"pyav": 48}
    assert reading["clips_per_core_s"]["pyav"] > 1
    assert reading["frame_store_clips_per_core_s"] > 1
    assert recipe.load(str(run / "config.toml")) == recipe.load(str(nano))
    assert json.loads((run / "run.json").read_text())["verb"] == "pretrain"
    assert [p.name for p in checkpoint.steps(run)] == ["step-00000004", "step-00000006"]
    assert steps(run) == [1, 2, 3, 4, 5, 6]
    assert not list(run.parent.glob(".*.lock"))


@pytest.mark.parametrize(("step", "workers"), [(2, 0), (3, 1), (4, 0)])
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    run: Path, nano: Path, shards: Path, tmp_path: Path, step: int, workers: int
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=f"stopped at step {step} of 6"):
        pretrain(config_of(nano, data__workers=workers), shards, out, stop=step)
    api.pretrain(str(nano), shards, out)
    assert last(out) == last(run)
    assert steps(out) == steps(run)


@pytest.mark.parametrize("towers", ["pretrained, with dropout", "divided, cached, its own temperature"])
def test_every_kind_of_run_resumes_to_the_bit(
    nano: Path, shards: Path, tmp_path: Path, distilbert: Path, timm_vit: Path, towers: str
) -> None:
    kinds = {
        "pretrained, with dropout": {
            "model__text": str(distilbert), "model__video": f"local-dir:{timm_vit}", "model__pool": "cls",
            "objective__word_ratio": 0.3, "train__precision": "bf16",
        },
        "divided, cached, its own temperature": {
            "model__attention": "divided", "model__learn_temperature": True, "data__cache_gb": 0.1, "data__flip": True,
            "objective__mask": "tube", "optim__clip": 1.0, "train__unmasked_tail": 0.5,
        },
    }  # fmt: skip
    config = config_of(nano, **kinds[towers], train__steps=4)
    pretrain(config, shards, tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped at step 3 of 4"):
        pretrain(config, shards, tmp_path / "cut", stop=3)
    pretrain(config, shards, tmp_path / "cut")
    assert last(tmp_path / "cut") == last(tmp_path / "whole")


def test_a_torn_newest_checkpoint_is_trained_again(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    weights = checkpoint.steps(out)[-1] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert build.load_parts(out)[3].name == "step-00000004"
    api.pretrain(str(nano), shards, out)
    assert last(out) == last(run)
    assert steps(out) == steps(run)


def test_a_finished_run_is_left_alone(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    before = last(out), steps(out)
    assert api.pretrain(str(nano), shards, out) == out / "checkpoints" / "step-00000006"
    assert (last(out), steps(out)) == before


def test_who_asks_to_go_on_begins_nothing(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    """A slip in --out is told, where without `resume` a new run would begin there."""
    out = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(checkpoint.steps(out)[-1])
    assert api.pretrain(str(nano), shards, out, resume=True).name == "step-00000006"
    assert last(out) == last(run)
    for begin in (
        lambda where, **how: api.pretrain(str(nano), shards, where, resume=True, **how),
        lambda where, **how: api.finetune(run, shards, where, resume=True, **how),
    ):
        with pytest.raises(RunError, match=r"--resume: .*slip holds no run to go on with\n.*that --out is right"):
            begin(tmp_path / "slip")
        with pytest.raises(RunError, match=r"--resume goes on with a run, --fresh removes it"):
            begin(out, fresh=True)
    assert not (tmp_path / "slip").exists()


def test_another_config_on_the_same_out_prints_the_difference(run: Path, nano: Path, shards: Path) -> None:
    before = last(run)
    words = r"begun with another config: model\.depth: 1 -> 2; optim\.lr: 0\.001 -> 0\.5\n.*another --out, or --fresh"
    with pytest.raises(RunError, match=words):
        api.pretrain(config_of(nano, model__depth=2, optim__lr=0.5), shards, run)
    assert last(run) == before


def test_settings_that_change_nothing_learned_may_differ(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    config = config_of(nano, data__workers=1, train__log_every=2, train__save_every=1, train__keep=1)
    api.pretrain(config, shards, out)
    assert recipe.load(str(out / "config.toml")).data.workers == 1


def test_a_run_goes_on_in_less_memory(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    """In exact pieces, with activations computed again, and with another cache: from where it was, to the same end."""
    out = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(checkpoint.steps(out)[-1])
    smaller = {"train__accumulate": 4, "train__checkpointing": True}
    api.pretrain(config_of(nano, **smaller), shards, out)
    assert steps(out) == steps(run)
    lines = [map(json.loads, (at / "metrics.jsonl").read_text().splitlines()) for at in (out, run)]
    ends, wanted = ([row["loss"] for row in rows] for rows in lines)
    assert ends == pytest.approx(wanted, rel=1e-4)
    api.pretrain(config_of(nano, data__cache_gb=0.1), shards, out)
    assert recipe.load(str(out / "config.toml")).data.cache_gb == 0.1


@pytest.mark.parametrize("how", [("exact", "plain"), ("plain", "exact"), ("plain", "plain")])
def test_pieces_with_negatives_of_their_own_are_another_training(
    run: Path, nano: Path, shards: Path, tmp_path: Path, how: tuple[str, str]
) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    (out / "config.toml").write_text(recipe.to_toml(config_of(nano, train__accumulate_how=how[0])))
    with pytest.raises(RunError, match=r"begun with another config: .*train\.accumulate: 1 -> 2"):
        api.pretrain(config_of(nano, train__accumulate=2, train__accumulate_how=how[1]), shards, out)


def test_other_shards_are_refused(run: Path, nano: Path, test_shards: Path) -> None:
    with pytest.raises(RunError, match=r"was trained on the shards \w{12}, not \w{12}\n.*--fresh"):
        api.pretrain(str(nano), test_shards, run)


def test_a_run_of_another_kind_is_refused(run: Path, shards: Path, tmp_path: Path, nano: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    (out / "run.json").write_text((out / "run.json").read_text().replace('"pretrain"', '"finetune"'))
    with pytest.raises(RunError, match="was made by finetune, not pretrain"):
        api.pretrain(str(nano), shards, out)


@pytest.mark.parametrize("harm", ["{", "[1]", "no config"])
def test_a_damaged_run_says_so(run: Path, shards: Path, tmp_path: Path, nano: Path, harm: str) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    if harm == "no config":
        (out / "config.toml").unlink()
    else:
        (out / "run.json").write_text(harm)
    with pytest.raises(RunError, match=r"is a damaged run: .*\n.*--fresh") as caught:
        api.pretrain(str(nano), shards, out)
    assert "\n" not in caught.value.message


def test_fresh_starts_over(run: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    api.pretrain(config_of(nano, train__steps=1), shards, out, fresh=True)
    assert steps(out) == [1]
    assert [p.name for p in checkpoint.steps(out)] == ["step-00000001"]


def test_out_may_be_a_link_to_a_directory(nano: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    out = tmp_path / "run"
    out.symlink_to(tmp_path / "disk")
    pretrain(config_of(nano), shards, out)
    kept = steps(out)
    assert kept
    api.pretrain(config_of(nano), shards, out, fresh=True)
    assert out.is_symlink()
    assert steps(out) == kept
    (tmp_path / "disk").rename(tmp_path / "gone")
    with pytest.raises(RunError, match=r"run is a link to .*disk, which is not there"):
        api.pretrain(config_of(nano), shards, out)


def test_fresh_removes_nothing_but_a_run(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    """Its own shards, for instance, or a report that somebody has put there."""
    out = shutil.copytree(run, tmp_path / "run")
    shutil.copytree(shards, out / "shards")
    with pytest.raises(RunError, match=r"--fresh removes what is in .*, and shards is no part of a run\n.*move that"):
        api.pretrain(config_of(nano), out / "shards", out, fresh=True)
    shutil.rmtree(out / "shards")
    with pytest.raises(RunError, match="holds the weights to begin with"):
        api.pretrain(config_of(nano), shards, out, init_from=str(out), fresh=True)
    assert steps(out) == steps(run)


def test_a_writable_directory_in_one_that_is_not(nano: Path, shards: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    out = tmp_path / "parent" / "run"
    out.mkdir(parents=True)
    out.parent.chmod(0o500)
    try:
        pretrain(config_of(nano), shards, out)
    finally:
        out.parent.chmod(0o700)
    assert steps(out)


def test_two_names_of_one_directory_have_one_lock(nano: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with (
        locked(tmp_path / ".disk.lock", "disk"),
        pytest.raises(BusyError, match="run is being written by another process"),
    ):
        api.pretrain(config_of(nano), shards, tmp_path / "run")


def parts(samples: int) -> list[Subset]:
    return [Subset(np.arange(samples), np.zeros(samples, np.int32), Fraction(samples))]


def test_few_videos_get_more_epochs() -> None:
    config = override(Config(), {"train.epochs": 2.0, "train.min_steps": 50, "train.batch_size": 10})
    assert train_plan(config, parts(100), {}).steps == 50
    assert train_plan(config, parts(1000), {}).steps == 200
    assert train_plan(override(config, {"train.steps": 7}), parts(100), {}).steps == 7


def test_fresh_touches_nothing_when_the_new_run_cannot_start(run: Path, nano: Path, shards: Path, tmp_path: Path):
    out = shutil.copytree(run, tmp_path / "run")
    before = last(out)
    with pytest.raises(WorkError, match="could not be loaded"):
        api.pretrain(config_of(nano, model__video="local-dir:/nowhere"), shards, out, fresh=True)

    def frozen(model: Model, words: CaptionTokenizer) -> Contrastive:
        return Contrastive(model.requires_grad_(False))

    with pytest.raises(ConfigError, match="leaves nothing to train"):
        api.pretrain(config_of(nano), shards, out, objective=frozen, fresh=True)
    assert last(out) == before
    with pytest.raises(WorkError, match="could not be loaded"):
        api.pretrain(config_of(nano, model__video="local-dir:/nowhere"), shards, tmp_path / "new")
    assert not (tmp_path / "new").exists(), "a start that failed leaves no run behind that would refuse the next"


def test_what_is_no_run_is_not_written_into_or_removed(nano: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    for fresh in (False, True):
        for out in (tmp_path / "file", tmp_path / "folder", shards):
            with pytest.raises(RunError, match=rf"{out} is there and is not a run\n.*another --out, or remove it"):
                api.pretrain(str(nano), shards, out, fresh=fresh)
        with pytest.raises(RunError, match=r"file cannot be made: "):
            api.pretrain(str(nano), shards, tmp_path / "file" / "run", fresh=fresh)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "file").read_text() == "mine"


def test_precision_may_change_from_run_to_run_in_one_process(nano: Path, shards: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16", "fp32"):
        api.pretrain(config_of(nano, train__precision=precision, train__steps=1), shards, tmp_path / "r", fresh=True)


def test_a_data_set_of_one_has_nothing_to_tell_apart(nano: Path, tmp_path: Path) -> None:
    api.shard("synthetic", "seed:0", tmp_path / "one", limit=1, workers=1)
    with pytest.raises(ConfigError, match=r"holds 1 sample, a contrast needs 2\n.*shard more"):
        api.pretrain(str(nano), tmp_path / "one", tmp_path / "run")


def test_a_batch_is_never_larger_than_the_data(nano: Path, test_shards: Path, tmp_path: Path) -> None:
    path = api.pretrain(config_of(nano, train__batch_size=512), test_shards, tmp_path / "run")
    assert path.name == "step-00000002", "two epochs of one batch each"


def test_damaged_videos_are_named_and_many_stop_the_run(nano: Path, shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "shards")
    index = ShardIndex.open(copy)

    def harm(sample: int) -> None:
        member = next(m for m in index.members(sample) if m.ext == "mp4")
        with (copy / index.shards[index.shard_of[sample]].name).open("r+b") as file:
            file.seek(member.offset + 100)
            file.write(bytes(64))

    harm(5)
    api.pretrain(str(nano), copy, tmp_path / "one")
    lines = [json.loads(line) for line in (tmp_path / "one" / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["key"], line["kind"]) for line in lines] == [(index.key(5), "corrupt")]
    for sample in range(16):
        harm(sample)
    with pytest.raises(WorkError, match=r"\d+ of \d+ samples could not be read \(\d+ corrupt\)"):
        api.pretrain(str(nano), copy, tmp_path / "many")
    with pytest.raises(WorkError, match=rf"{index.key(0)} in .* cannot be read \(corrupt\)"):
        api.evaluate(tmp_path / "one", copy)


def test_a_cache_is_made_where_the_recipe_asks(nano: Path, shards: Path) -> None:
    index = ShardIndex.open(shards)
    assert training_data(config_of(nano), index).cache is None
    cached = training_data(config_of(nano, data__cache_gb=0.1), index).cache
    assert cached is not None
    assert cached.held == len(index)
