"""The verbs, as functions: read this first. Each composes the floors below; the command line only parses and prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr import recipe
from vtr.config import Config
from vtr.errors import ConfigError, InputError, RunError

if TYPE_CHECKING:
    from vtr.build import Loaded
    from vtr.data.foreign import IndexSummary
    from vtr.data.manifest import ShardSummary
    from vtr.data.tasks import PlanSummary, TaskSummary
    from vtr.evaluation import Result

OF_THE_WEIGHTS = ("model.", "data.words:")
# What fine-tuning may change in a model all the same.
ADAPTED = ("model.lora_rank", "model.lora_alpha", "model.drop_path", "model.grow_time")


def shard(
    reader: str,
    source: str,
    out: Path | str,
    *,
    split: str | None = None,
    limit: int | None = None,
    root: Path | None = None,
    **how: Any,
) -> ShardSummary:
    """Videos and captions to WebDataset tars with an index; `how` goes to `vtr.data.shards.write_shards`."""
    from vtr.data.shards import write_shards

    read, given = _reading(reader, source, split, limit, root)
    samples, census = read()
    return write_shards(samples, Path(out), reader=reader, source=source, options=given, census=census, **how)


def plan_shards(
    reader: str,
    source: str,
    out: Path | str,
    *,
    split: str | None = None,
    limit: int | None = None,
    root: Path | None = None,
    **how: Any,
) -> PlanSummary:
    """Notes in `out` what `shard` would do, for `shard_task` to do; `how` goes to `vtr.data.tasks.note`."""
    from vtr.data import tasks

    read, given = _reading(reader, source, split, limit, root)
    return tasks.note(read, Path(out), reader=reader, source=source, options=given, **how)


def shard_task(
    reader: str,
    source: str,
    out: Path | str,
    task: int,
    num_tasks: int,
    *,
    split: str | None = None,
    limit: int | None = None,
    root: Path | None = None,
    **how: Any,
) -> TaskSummary:
    """Every `num_tasks`-th shard, from `task` on; the last task to end completes `out` as `shard` would have."""
    from vtr.data import tasks

    read, given = _reading(reader, source, split, limit, root)
    return tasks.write_task(read, Path(out), task, num_tasks, reader=reader, source=source, options=given, **how)


def _reading(
    reader: str, source: str, split: str | None, limit: int | None, root: Path | None
) -> tuple[Callable[[], tuple[Any, Any]], dict[str, Any]]:
    """A function that gives the samples of `source` and their census, and the options that a plan remembers."""
    from vtr.data import annotations

    options = annotations.ReaderOptions(split=split, limit=limit, root=root)

    def read() -> tuple[Any, Any]:
        samples = annotations.read(reader, source, options)
        return samples, annotations.take_census(reader, source, options, samples).record()

    return read, {"split": split, "limit": limit}


def inspect_shards(
    path: Path | str,
    *,
    sheet: Path | None = None,
    samples: int = 24,
    verify: bool = False,
    world_size: int | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    frames: int = 4,
    time_limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What shards hold; with `verify` what is damaged in them, with `world_size` whether they can "feed" a training.

    `sheet` is the PNG file of a contact sheet of so many `samples`.
    """
    from vtr.atomic import replacing
    from vtr.data import facts, feed, shards
    from vtr.data import sheet as contact
    from vtr.data import verify as verifying
    from vtr.data.index import ShardIndex

    if world_size is None and batch_size is not None:
        raise InputError("--batch-size alone feeds nobody", "add --world-size, the number of training processes")
    index = ShardIndex.open(path)
    found = facts.describe(index)
    if world_size is not None:
        found["feed"] = feed.feed(index, world_size, workers or 0, batch_size=batch_size, frames=frames)
    if verify:
        done = verifying.verify(index, workers=workers or shards.cores(), time_limit_s=time_limit_s, progress=progress)
        found["verified"] = dataclasses.asdict(done)
    if sheet is not None:
        picture = contact.make_sheet(index, samples)
        with replacing(Path(sheet)) as file:
            picture.save(file, "PNG")
        found["sheet"] = str(sheet)
    return found


def index_tars(path: Path | str, *, workers: int | None = None, **how: Any) -> IndexSummary:
    """An index for WebDataset tars that others wrote; `how` goes to `vtr.data.foreign.write_index`."""
    from vtr.data import foreign, patterns, shards

    return foreign.write_index(patterns.find(str(path)), workers=workers or shards.cores(), **how)


def pretrain(
    config: Config | str,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    init_from: str | None = None,
    eval_shards: Path | str | None = None,
    fresh: bool = False,
) -> Path:
    """Trains a new model on `shards` and returns its last checkpoint; the same `out` again goes on where it stopped.

    It begins with the weights `init_from` (see `vtr.initial`), where given, which bring settings of their own. Of a
    recipe with stages each begins with the one before; all but the last are runs beside `out`, `OUT.stage-1` and on.
    """
    config = recipe.load(config) if isinstance(config, str) else config
    *before, last = recipe.staged(config)
    for number, stage in enumerate(before, start=1):
        folder = Path(out).with_name(f"{Path(out).name}.stage-{number}")
        _pretrain_stage(stage, shards, folder, init_from, None, fresh=fresh)
        init_from = str(folder)
    return _pretrain_stage(last, shards, out, init_from, eval_shards, fresh=fresh)


def _pretrain_stage(
    config: Config,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    init_from: str | None,
    eval_shards: Path | str | None,
    *,
    fresh: bool,
) -> Path:
    from vtr.build import make_model, make_tokenizer
    from vtr.data.mixture import open_shards
    from vtr.initial import Initial, initial
    from vtr.retrieval.embed import captions_of
    from vtr.run import Start, run

    index = open_shards(shards)
    begun = initial(config, init_from) if init_from else Initial(config, "")
    config = begun.config

    def start() -> Start:
        if begun.whole is not None:
            return Start(begun.whole.model, begun.whole.tokenizer)
        words = make_tokenizer(config, captions_of(index)[0])
        return Start(make_model(config, words), words)

    scorer = _scorer(eval_shards)
    return run("pretrain", config, index, Path(out), start, init=begun.name, evaluate=scorer, fresh=fresh)


def finetune(
    source: Path | str,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    overrides: Mapping[str, Any] | None = None,
    eval_shards: Path | str | None = None,
    fresh: bool = False,
) -> Path:
    """Trains the weights of a run (or `frozen:PATH`) on, full view, by contrast alone.

    The settings are the source's, its recipe's [finetune] and `overrides`, each on top of the one before.
    """
    from vtr.build import fit_lora, load_source
    from vtr.checkpoint import sha256
    from vtr.data.mixture import open_shards
    from vtr.initial import adapted
    from vtr.run import Start, run

    found = load_source(source)
    old = found.config
    if found.weights.resolve().is_relative_to(Path(out).resolve()):
        raise RunError(f"{out} holds the run to start from", "give another --out")
    defaults = {"objective.name": "contrastive", "train.unmasked_tail": 0.0, "train.steps": 0}
    config = recipe.override(old, {**defaults, **old.finetune, **(overrides or {})})
    # The weights are taken as they are: a config that tells of other ones would make a run that cannot be loaded.
    twins = (old.model.kind, config.model.kind) == ("unified", "twin")
    different = recipe.difference(old, config, but=ADAPTED + (("model.kind",) if twins else ()))
    changed = [line for line in different if line.startswith(OF_THE_WEIGHTS)]
    if changed:
        raise ConfigError(
            f"fine-tuning keeps the model of {source}: {'; '.join(changed)}", "pretrain with these settings instead"
        )
    index = open_shards(shards)
    init = sha256(found.weights)
    scorer = _scorer(eval_shards)

    def start() -> Start:
        model = adapted(found.model, config)
        fit_lora(model, old.model, config.model)
        return Start(model, found.tokenizer)

    return run("finetune", config, index, Path(out), start, init=init, evaluate=scorer, fresh=fresh)


def evaluate(
    run: Path | str | Loaded | None = None,
    shards: Path | str | Sequence[Path | str] = (),
    *,
    embeddings: Path | str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 32,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    command: str | None = None,
    **asked: Any,
) -> Result:
    """R@1, R@5, R@10 (percent), MdR and MnR of text-to-video ("t2v") and video-to-text ("v2t"), and how sure they are.

    Of a run or another model (see `vtr.build.load_model`) on all of `shards`, or of `embeddings` alone. `asked` goes
    to `vtr.evaluation.Asked`: the protocol, tricks, the probe. The result is the record of `vtr.retrieval.result`;
    `result.write(FILE)` keeps it with the rank of every query.
    """
    from vtr import evaluation
    from vtr.build import load_model

    how = evaluation.Asked(**asked)
    several = [Path(at) for at in ([shards] if isinstance(shards, (str, Path)) else shards)]
    if (run is None) == (embeddings is None):
        raise InputError("nothing, or two things, to evaluate", "give a run and --shards, or --embeddings DIR")
    if embeddings is not None:
        at = several[0] if several else None
        return evaluation.of_embeddings(Path(embeddings), how, shards=at, command=command)
    loaded = load_model(run, device, precision) if isinstance(run, (str, Path)) else run
    assert loaded is not None  # noqa: S101
    return evaluation.of_model(
        loaded, several, how, batch=batch_size, workers=workers, progress=progress, command=command
    )


def compare(a: Path | str, b: Path | str, *, column: str = "raw", seed: int = 0) -> dict[str, Any]:
    """A paired test of two result files over the same queries; see `vtr.retrieval.compare`."""
    from vtr.retrieval import result
    from vtr.retrieval.compare import compare as compared

    return compared(result.read(Path(a)), result.read(Path(b)), column=column, seed=seed)


def embed(
    run: Path | str,
    shards: Path | str,
    out: Path | str,
    *,
    format: str = "parquet",
    dtype: str = "float32",
    captions: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 32,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Writes the normalised vector of every video of `shards` (and of every caption, with `captions`) into `out`."""
    from vtr.build import clip_shape, load_model
    from vtr.data.index import ShardIndex
    from vtr.retrieval import embed as embedding
    from vtr.retrieval import store

    writers = {"parquet": store.write_parquet, "npy": store.write_npy}
    if format not in writers:
        raise InputError(f"the format {format!r} is unknown", f"choose one of: {', '.join(writers)}")
    if Path(out).is_file():
        raise InputError(f"{out} is a file, an export is a directory", "give another --out")
    store.check_target(Path(out), dtype, overwrite=overwrite)
    loaded, index = load_model(run, device, precision), ShardIndex.open(Path(shards))
    video = embedding.embed_videos(
        loaded.embedder, index, clip_shape(loaded.config), loaded.tokenizer,
        batch=batch_size, workers=workers, progress=progress,
    )  # fmt: skip
    text = None
    if captions:
        text = embedding.embed_captions(loaded.embedder, loaded.tokenizer, embedding.captions_of(index)[0])
    rows = embedding.export(index, video, text, loaded.meta)
    return writers[format](Path(out), rows, dtype=dtype, overwrite=overwrite)


def search(
    embeddings: Path | str, query: str, *, k: int = 5, run: Path | str | None = None, device: str = "auto"
) -> list[dict[str, Any]]:
    """The `k` videos of an export nearest to `query`: rank, score (cosine), id, start_s, end_s, caption.

    The query is embedded by the run that the export names, or by `run`, whose weights must be the same.
    """
    from vtr.build import is_here, load_model
    from vtr.retrieval.embed import embed_captions
    from vtr.retrieval.embeddings import VIDEO
    from vtr.retrieval.index import ExactIndex
    from vtr.retrieval.store import read

    if not query.strip():
        raise InputError("the query is empty", 'describe what to find: vtr search EMBEDDINGS "a red circle moves left"')
    if k < 1:
        raise InputError(f"-k {k} asks for no hits", "give at least 1")
    rows = read(Path(embeddings)).only(VIDEO)
    wanted, model = rows.meta.get("weights_sha256", ""), rows.meta.get("model", "")
    if run is None and not is_here(model):
        raise RunError(f"{embeddings} was made by the run {model!r}, which is not here", "give that run with --run RUN")
    loaded = load_model(run or model, device)
    if loaded.weights_sha256 != wanted:
        raise RunError(
            f"{embeddings} was made with the weights {wanted[:12]} of {model}, "
            f"{loaded.path} has {loaded.weights_sha256[:12]}",
            "search with the run that made the export, or embed again with this one",
        )
    vector = embed_captions(loaded.embedder, loaded.tokenizer, [query])
    scores, places = ExactIndex(rows.vectors).search(vector, k)
    found = [(float(score), int(row)) for score, row in zip(scores[0], places[0], strict=True)]
    return [
        {
            "rank": rank, "score": score, "id": rows.ids[row], "source": rows.source[row],
            "start_s": float(rows.start_s[row]), "end_s": float(rows.end_s[row]), "caption": rows.captions[row],
        }
        for rank, (score, row) in enumerate(found, start=1)
    ]  # fmt: skip


def _scorer(shards: Path | str | None) -> Callable[[Loaded], dict[str, float]] | None:
    """For the training loop: R@K both ways on `shards`, as flat names."""
    if shards is None:
        return None
    from vtr.data.index import ShardIndex

    ShardIndex.open(Path(shards))  # a wrong path shows before the training, not after it

    def score(loaded: Loaded) -> dict[str, float]:
        result = evaluate(loaded, shards, workers=loaded.config.data.workers, draws=0)
        return {f"{way} {name}": result[way][name] for way in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MdR")}

    return score
