"""Training: pretrained and fine-tuned runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr import checkpoint, recipe, rundir
from vtr.api.scores import evaluate
from vtr.config import OWN, Config, ObjectiveConfig
from vtr.errors import ConfigError, RunError
from vtr.launched import is_main_process, launched_processes
from vtr.plaintext import warn

if TYPE_CHECKING:
    from torch import nn

    from vtr.build import Loaded
    from vtr.data.tokenizer import CaptionTokenizer


OF_THE_WEIGHTS = ("model.", "data.words:")
# What an evaluation in training gives, and `train.best` may name.
SCORED = tuple(f"{way} {name}" for way in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MdR"))
# What fine-tuning may change in a model all the same.
ADAPTED = ("model.lora_rank", "model.lora_alpha", "model.drop_path", "model.dropout", "model.grow_time")


def pretrain(
    config: Config | str,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    overrides: Mapping[str, Any] | None = None,
    init_from: str | None = None,
    eval_shards: Path | str | None = None,
    objective: Callable[[Any, CaptionTokenizer], nn.Module] | None = None,
    fresh: bool = False,
    resume: bool = False,
) -> Path:
    """Trains a new model on `shards` and returns its last checkpoint; the same `out` again goes on where it stopped.
    With `resume` it goes on or raises RunError: nothing is begun.

    `overrides` are settings on top of the recipe's: `{"optim.lr": 1e-4}`. It begins with the weights `init_from` (see
    `vtr.initial`), where given, which bring settings of their own; `overrides` that they contradict are refused. Of a
    recipe with stages each begins with the one before; all but the last are runs beside `out`, `OUT.stage-1` and on.
    `objective(model, tokenizer)` makes an objective of your own (`vtr.objectives` says what it must do), in place of
    the one that the config names.
    """
    wanted = overrides or {}
    config = recipe.override(recipe.load(config) if isinstance(config, str) else config, wanted)
    *before, last = stages = recipe.staged(config)
    if objective is None:
        recipe.refuse_unheeded(stages, wanted)
    _check_scoring(last, wanted, eval_shards)
    folders = [Path(out).with_name(f"{Path(out).name}.stage-{number}") for number in range(1, len(before) + 1)]
    rundir.check_begun([*folders, Path(out)], fresh=fresh, resume=resume)
    with ExitStack() as stack:
        # All of them from the first stage to the last: who begins one anew takes from another what it goes on from.
        for folder in (Path(out), *folders) if folders else ():
            stack.enter_context(rundir.held(folder, main=is_main_process()))
        how: dict[str, Any] = {"later": False, "fresh": fresh, "held": bool(folders)}
        for stage, folder in zip(before, folders, strict=True):
            _pretrain_stage(stage, shards, folder, wanted, init_from, None, objective, more=True, **how)
            init_from, how["later"] = str(folder), True
        return _pretrain_stage(last, shards, out, wanted, init_from, eval_shards, objective, **how)


def finetune(
    source: Path | str,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    overrides: Mapping[str, Any] | None = None,
    eval_shards: Path | str | None = None,
    fresh: bool = False,
    resume: bool = False,
) -> Path:
    """Trains the weights of a run (or `frozen:PATH`) on, full view, by contrast alone.

    The settings are the source's, its recipe's [finetune] and `overrides`, each on top of the one before. `out`,
    `fresh` and `resume` as in `pretrain`.
    """
    rundir.check_begun([Path(out)], fresh=fresh, resume=resume)
    from vtr.build import fit_lora, load_source
    from vtr.checkpoint import sha256
    from vtr.data.mixture import open_shards
    from vtr.data.tokenizer import CaptionTokenizer
    from vtr.initial import adapted
    from vtr.run import Start, run

    found = load_source(source)
    old = found.config
    if found.weights.resolve().is_relative_to(Path(out).resolve()):
        raise RunError(f"{out} holds the run to start from", "give another --out")
    config = finetuning(old, overrides or {})
    recipe.refuse_unheeded([config], overrides or {})
    # The weights are taken as they are: a config that tells of other ones would make a run that cannot be loaded.
    twins = (old.model.kind, config.model.kind) == ("unified", "twin")
    different = recipe.difference(old, config, but=ADAPTED + (("model.kind",) if twins else ()))
    changed = [line for line in different if line.startswith(OF_THE_WEIGHTS)]
    if changed:
        raise ConfigError(
            f"fine-tuning keeps the model of {source}: {'; '.join(changed)}", "pretrain with these settings instead"
        )
    _check_scoring(config, overrides or {}, eval_shards)
    index = open_shards(shards)
    init = sha256(found.weights)
    scorer, scored_on = _scorer(eval_shards)

    def start() -> Start:
        model = adapted(found.model, config)
        fit_lora(model, old.model, config.model)
        # One of a released checkpoint is fetched when it is first asked for something: now, before anything is written.
        backend, special = found.tokenizer.backend, found.tokenizer.special
        return Start(model, CaptionTokenizer(backend, special, config.data.words, fixed=config.data.fixed_length))

    return run(
        "finetune", config, index, Path(out), start, init=init, evaluate=scorer, scored_on=scored_on, fresh=fresh
    )


def settings_of(source: Path | str) -> Config:
    """The settings of what `vtr.build.load_source` loads, of a run without its weights. Raises what that does."""
    if Path(source).is_dir():
        return recipe.load(str(checkpoint.resolve(Path(source)) / checkpoint.CONFIG))
    from vtr.build import load_source

    return load_source(source).config


def finetuning(old: Config, overrides: Mapping[str, Any]) -> Config:
    """The settings that a source with those of `old` is fine-tuned with."""
    defaults = {"objective.name": "contrastive", "train.unmasked_tail": 0.0, "train.steps": 0, "train.min_steps": 0}
    return recipe.override(old, {**defaults, **old.finetune, **overrides})


def _pretrain_stage(
    config: Config,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    wanted: Mapping[str, Any],
    init_from: str | None,
    eval_shards: Path | str | None,
    objective: Callable[[Any, CaptionTokenizer], nn.Module] | None,
    *,
    later: bool,
    fresh: bool,
    held: bool,
    more: bool = False,
) -> Path:
    """One training, with `more` to come or not, in a directory that is `held` already or not; a `later` stage goes on
    with all that `init_from`, the one before it, has learnt."""
    from vtr.build import make_model, make_tokenizer
    from vtr.data.mixture import open_shards
    from vtr.initial import Initial, initial
    from vtr.retrieval.embed import captions_of
    from vtr.run import Start, run
    from vtr.together import step_shares

    if objective is not None:
        _check_own(wanted)
        config = dataclasses.replace(config, objective=ObjectiveConfig(name=OWN))
    elif config.objective.name == OWN:
        raise ConfigError(
            "objective.name = 'own' names an objective of somebody's own, which a config does not hold",
            "give it: vtr.pretrain(..., objective=...); or --set objective.name=mac, or another of vtr's",
        )
    index = open_shards(shards)
    step_shares(config, index, launched_processes())
    if init_from and Path(init_from).exists() and Path(init_from).resolve().is_relative_to(Path(out).resolve()):
        raise RunError(f"{out} holds the weights to begin with", "give another --out")
    begun = initial(config, init_from, wanted, stage=later) if init_from else Initial(config, "")
    config = begun.config

    def start() -> Start:
        if begun.whole is not None:
            return Start(begun.whole.model, begun.whole.tokenizer, begun.whole.weights.parent if later else None)
        words = make_tokenizer(config, captions_of(index))
        return Start(make_model(config, words), words)

    scorer, scored_on = _scorer(eval_shards)
    return run(
        "pretrain", config, index, Path(out), start,
        init=begun.name, evaluate=scorer, scored_on=scored_on, objective_of=objective,
        fresh=fresh, held=held, more=more,
    )  # fmt: skip


def _check_own(wanted: Mapping[str, Any]) -> None:
    """Raises ConfigError for settings of an objective that is not the config's, which would change nothing."""
    lost = [key for key in wanted if key.startswith("objective.")]
    if lost:
        raise ConfigError(
            f"{lost[0]} = {wanted[lost[0]]!r} is a setting of vtr's objectives, and an objective of your own was given",
            "leave it out; what yours is to know goes with it: objective=functools.partial(Yours, ...)",
        )


def _check_scoring(config: Config, wanted: Mapping[str, Any], shards: Path | str | None) -> None:
    """Raises ConfigError for a figure that is not scored, or settings that were asked for without shards to score.

    What a recipe says of evaluations is for those that ask for them.
    """
    from vtr.training.best import check_scored

    if shards is not None:
        check_scored(config.train.best, SCORED)
        return
    for key in ("train.best", "train.eval_every"):
        if wanted.get(key):
            raise ConfigError(
                f"{key} = {wanted[key]!r} is of evaluations, and there is nothing to evaluate on",
                "give --eval-shards DIR, or leave it out",
            )


def _scorer(shards: Path | str | None) -> tuple[Callable[[Loaded], dict[str, float]] | None, str]:
    """For the training loop: R@K both ways on `shards`, as flat names; and their digest."""
    if shards is None:
        return None, ""
    from vtr.data.index import ShardIndex
    from vtr.data.manifest import limits_of_index

    index = ShardIndex.open(Path(shards))  # a wrong path shows before the training, not after it
    for line in limits_of_index(index) if is_main_process() else ():
        warn(line)

    def score(loaded: Loaded) -> dict[str, float]:
        result = evaluate(loaded, shards, workers=loaded.config.data.workers, draws=0, together=True)
        return {name: result[name.split()[0]][name.split()[1]] for name in SCORED}

    return score, index.digest
