"""The verbs, as functions: read this first. Each composes the floors below; the command line only parses and prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr import recipe
from vtr.atomic import write_bytes
from vtr.config import Config
from vtr.errors import ConfigError, InputError, RunError

if TYPE_CHECKING:
    from torch import nn

    from vtr.build import Loaded
    from vtr.data.foreign import IndexSummary
    from vtr.data.manifest import ShardSummary
    from vtr.data.tasks import PlanSummary, TaskSummary
    from vtr.data.tokenizer import CaptionTokenizer
    from vtr.embedding import Exported
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
    objective: Callable[[Any, CaptionTokenizer], nn.Module] | None = None,
    fresh: bool = False,
) -> Path:
    """Trains a new model on `shards` and returns its last checkpoint; the same `out` again goes on where it stopped.

    It begins with the weights `init_from` (see `vtr.initial`), where given, which bring settings of their own. Of a
    recipe with stages each begins with the one before; all but the last are runs beside `out`, `OUT.stage-1` and on.
    `objective(model, tokenizer)` makes an objective of your own (`vtr.objectives` says what it must do), in place of
    the one that the config names.
    """
    config = recipe.load(config) if isinstance(config, str) else config
    *before, last = recipe.staged(config)
    for number, stage in enumerate(before, start=1):
        folder = Path(out).with_name(f"{Path(out).name}.stage-{number}")
        _pretrain_stage(stage, shards, folder, init_from, None, objective, fresh=fresh)
        init_from = str(folder)
    return _pretrain_stage(last, shards, out, init_from, eval_shards, objective, fresh=fresh)


def _pretrain_stage(
    config: Config,
    shards: Path | str | Sequence[Path | str],
    out: Path | str,
    init_from: str | None,
    eval_shards: Path | str | None,
    objective: Callable[[Any, CaptionTokenizer], nn.Module] | None,
    *,
    fresh: bool,
) -> Path:
    from vtr.build import make_model, make_tokenizer
    from vtr.data.mixture import open_shards
    from vtr.initial import Initial, initial
    from vtr.retrieval.embed import captions_of
    from vtr.run import Start, run

    index = open_shards(shards)
    if init_from and Path(init_from).exists() and Path(init_from).resolve().is_relative_to(Path(out).resolve()):
        raise RunError(f"{out} holds the weights to begin with", "give another --out")
    begun = initial(config, init_from) if init_from else Initial(config, "")
    config = begun.config

    def start() -> Start:
        if begun.whole is not None:
            return Start(begun.whole.model, begun.whole.tokenizer)
        words = make_tokenizer(config, captions_of(index)[0])
        return Start(make_model(config, words), words)

    scorer = _scorer(eval_shards)
    return run(
        "pretrain", config, index, Path(out), start,
        init=begun.name, evaluate=scorer, objective_of=objective, fresh=fresh,
    )  # fmt: skip


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
    defaults = {"objective.name": "contrastive", "train.unmasked_tail": 0.0, "train.steps": 0, "train.min_steps": 0}
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
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    command: str | None = None,
    together: bool = False,
    **asked: Any,
) -> Result:
    """R@1, R@5, R@10 (percent), MdR and MnR of text-to-video ("t2v") and video-to-text ("v2t"), and how sure they are.

    Of a run or another model (see `vtr.build.load_model`) on all of `shards`, or of `embeddings` alone. `asked` goes
    to `vtr.evaluation.Asked`: the protocol, tricks, the probe. The result is the record of `vtr.retrieval.result`;
    `result.write(FILE)` keeps it with the rank of every query. `together`: called by all processes of a training,
    which share the work.
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
        loaded, several, how, batch=batch_size, workers=workers, progress=progress, command=command, together=together
    )


def reconstruct(
    run: Path | str, out: Path | str, *, shards: Path | str | None = None, clips: int = 3
) -> dict[str, Any]:
    """Draws what `run` restores of a few masked clips (SimVTP), or what its words look at (MAC, MILES), into a PNG."""
    from vtr import inspection

    return inspection.reconstruct(Path(run), Path(out), Path(shards) if shards else None, clips)


def compare(a: Path | str, b: Path | str, *, column: str = "raw", seed: int = 0) -> dict[str, Any]:
    """A paired test of two result files over the same queries; see `vtr.retrieval.compare`."""
    from vtr.retrieval import result
    from vtr.retrieval.compare import compare as compared

    return compared(result.read(Path(a)), result.read(Path(b)), column=column, seed=seed)


def embed(
    run: Path | str,
    shards: Path | str | None,
    out: Path | str,
    *,
    videos: Path | str | None = None,
    text: Path | str | None = None,
    segments: str | None = None,
    format: str = "parquet",
    dtype: str = "float32",
    captions: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 32,
    workers: int = 1,
    num_processes: int = 1,
    max_skipped: float = 0.05,
    time_limit_s: float = 300.0,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Adds to the export `out` the normalised vector of every video of `shards` (a directory, URL or pattern), or of
    the file or folder `videos`, or of every line of the file `text`; with `captions` of every caption too. The same
    again embeds only what is new.

    `segments` ("4s/2s") asks for a row for each span of 4 s, one every 2 s.
    """
    from vtr.embedding import Job, export
    from vtr.retrieval import sources
    from vtr.retrieval.plan import Options

    given = {"shards": shards, "videos": videos, "text": text}
    named = {name: path for name, path in given.items() if path is not None}
    if len(named) != 1:
        raise InputError(
            f"{' and '.join(named) or 'nothing'} to embed", "give one of --shards DIR, --videos PATH and --text FILE"
        )
    ((kind, at),) = named.items()
    of_files = {"videos": sources.of_videos, "text": sources.of_text}
    job = Job(run, Path(out), device, precision, batch_size, workers, time_limit_s)
    options = Options(format, dtype, segments or "", captions)
    return export(
        job, lambda: of_files[kind](Path(at)) if kind in of_files else sources.of_shards(at), options,
        overwrite=overwrite, processes=num_processes, max_skipped=max_skipped, progress=progress,
    )  # fmt: skip


def search(
    embeddings: Path | str,
    query: str | None = None,
    *,
    like: Path | str | None = None,
    queries: Path | str | None = None,
    k: int = 5,
    run: Path | str | None = None,
    index: str = "exact",
    index_at: str | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """The `k` rows of an export nearest to the text `query`, or to the video file `like`.

    Each hit has rank, score (cosine), row, id, source, start_s, end_s, caption. For `queries`, a file of one text a
    line, a list of {"query", "hits"}. The query is embedded by the run that the export names, or by `run`, whose
    weights must be the same.
    """
    if sum(given is not None for given in (query, like, queries)) != 1:
        raise InputError("one query is wanted", "give a text, --like FILE or --queries FILE")
    if query is not None and not query.strip():
        raise InputError("the query is empty", 'describe what to find: vtr search EMBEDDINGS "a red circle moves left"')
    if k < 1:
        raise InputError(f"-k {k} asks for no hits", "give at least 1")
    from vtr.finder import Finder
    from vtr.retrieval.sources import read_lines

    texts = [text for _, text in read_lines(Path(queries))] if queries is not None else [query or ""]
    finder = Finder(Path(embeddings), run=run, index=index, index_at=index_at, device=device)
    if like is not None:
        return finder.video(Path(like), k)
    found = finder.texts(texts, k)
    if queries is None:
        return found[0]
    return [{"query": text, "hits": hits} for text, hits in zip(texts, found, strict=True)]


def write_page(embeddings: Path | str, groups: list[dict[str, Any]], out: Path | str) -> None:
    """Writes what `search` found, [{"query", "hits"}], as one HTML file with pictures in it."""
    from vtr.retrieval.library import Library
    from vtr.retrieval.media import Media
    from vtr.retrieval.page import results_page

    library = Library(Path(embeddings))
    page = results_page(groups, Media(library.path, library.rows))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(Path(out), page.encode())


def serve(
    embeddings: Path | str,
    *,
    text: str | None = None,
    like: Path | str | None = None,
    queries: Path | str | None = None,
    run: Path | str | None = None,
    index: str = "exact",
    index_at: str | None = None,
    device: str = "auto",
    port: int = 8000,
    tell: Callable[[str], None] = print,
) -> None:
    """Serves a page to search an export with, on 127.0.0.1 alone, until Ctrl-C; `tell` hears its address."""
    from vtr.finder import Finder
    from vtr.serve.server import serve as serve_page

    if any(given is not None for given in (text, like, queries)):
        raise InputError("--serve takes no query", "type it on the page, or leave --serve out")
    finder = Finder(Path(embeddings), run=run, index=index, index_at=index_at, device=device)
    serve_page(finder, Path(embeddings).resolve().name, port, tell)


def export(
    run: Path | str,
    out: Path | str,
    *,
    to: str = "hf",
    result: Path | str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes a run as a directory that transformers ("hf") or sentence-transformers loads, or as two ONNX models.

    `result`, a file of `vtr eval --out`, goes into the model card. Returns the files.
    """
    import json
    import shutil
    import tempfile

    from vtr.hub.write import PACKAGES, write_hub

    out = Path(out)
    if to not in PACKAGES:
        raise InputError(f"runs cannot be exported to {to!r}", f"choose one of: {', '.join(PACKAGES)}")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not overwrite):
        raise InputError(f"{out} is there already", "give another --out, or --overwrite")
    if overwrite and out.is_dir() and any(out.iterdir()) and not (out / "processor_config.json").is_file():
        raise InputError(f"{out} is no export of a run, so it is not overwritten", "give another --out")
    try:
        told = None if result is None else json.loads(Path(result).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{result} is no result: {error}", "make one: vtr eval RUN --shards DIR --out FILE") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.tmp-", dir=out.parent))
    try:
        write_hub(to, run, aside, told)
        aside.chmod(0o755)
        if out.is_dir():
            shutil.rmtree(out)
        aside.replace(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _scorer(shards: Path | str | None) -> Callable[[Loaded], dict[str, float]] | None:
    """For the training loop: R@K both ways on `shards`, as flat names."""
    if shards is None:
        return None
    from vtr.data.index import ShardIndex

    ShardIndex.open(Path(shards))  # a wrong path shows before the training, not after it

    def score(loaded: Loaded) -> dict[str, float]:
        result = evaluate(loaded, shards, workers=loaded.config.data.workers, draws=0, together=True)
        return {f"{way} {name}": result[way][name] for way in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MdR")}

    return score
