"""A library of embeddings: filled, searched, shown as a page, served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr.atomic import write_bytes
from vtr.errors import InputError

if TYPE_CHECKING:
    from vtr.embedding import Embedded


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
) -> Embedded:
    """Adds to the embeddings `out` the normalised vector of every video of `shards` (a directory, URL or pattern), or
    of the file or folder `videos`, or of every line of the file `text`; with `captions` of every caption too. The same
    again embeds only what is new.

    `segments` ("4s/2s") asks for a row for each span of 4 s, one every 2 s.
    """
    from vtr import embedding
    from vtr.data.spans import Segments
    from vtr.retrieval import sources
    from vtr.retrieval.plan import Options
    from vtr.sharing import Job

    given = {"shards": shards, "videos": videos, "text": text}
    named = {name: path for name, path in given.items() if path is not None}
    if len(named) != 1:
        raise InputError(
            f"{' and '.join(named) or 'nothing'} to embed", "give one of --shards DIR, --videos PATH and --text FILE"
        )
    ((kind, at),) = named.items()
    of_files = {"videos": sources.of_videos, "text": sources.of_text}
    job = Job(run, Path(out), device, precision, batch_size, workers, time_limit_s)
    spans = str(Segments.parse(segments)) if segments else ""  # 1s, 1 and 1s/1s are the same
    options = Options(format, dtype, spans, captions)
    return embedding.embed(
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
    time_limit_s: float = 60.0,
) -> list[dict[str, Any]]:
    """The `k` rows of embeddings nearest to the text `query`, or to the video file `like`.

    Each hit has rank, score (cosine), row, id, source, start_s, end_s, caption. For `queries`, a file of one text a
    line, a list of {"query", "hits"}. The query is embedded by the run that the embeddings name, or by `run`, whose
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
        return finder.video(Path(like), k, time_limit_s)
    found = finder.texts(texts, k)
    if queries is None:
        return found[0]
    return [{"query": text, "hits": hits} for text, hits in zip(texts, found, strict=True)]


def write_page(
    embeddings: Path | str,
    groups: list[dict[str, Any]],
    out: Path | str,
    progress: Callable[[int], None] | None = None,
    *,
    shards: str | None = None,
    time_limit_s: float = 60.0,
) -> int:
    """Writes what `search` found, [{"query", "hits"}], as one HTML file with pictures in it, 500 at most.

    Videos on the network are read only from the URL `shards`. Returns how many pictures were not tried, since several
    videos before them hung or crashed the decoder.
    """
    from vtr.data.apart import PATIENCE
    from vtr.retrieval import store
    from vtr.retrieval.media import Media
    from vtr.retrieval.page import results_page

    rows = store.read(Path(embeddings), bare=True).only(store.VIDEO)
    media = Media(Path(embeddings), rows, shards, time_limit_s, PATIENCE)
    page = results_page(groups, media, progress)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(Path(out), page.encode())
    return media.left_out


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
    shards: str | None = None,
    time_limit_s: float = 60.0,
    port: int = 8000,
    tell: Callable[[str], None] = print,
) -> None:
    """Serves a page to search embeddings with, on 127.0.0.1 alone, until Ctrl-C; `tell` hears its address.

    Videos on the network are shown only from the URL `shards`.
    """
    from vtr.finder import Finder
    from vtr.retrieval.media import Media
    from vtr.serve.server import serve as serve_page

    if any(given is not None for given in (text, like, queries)):
        raise InputError("--serve takes no query", "type it on the page, or leave --serve out")
    finder = Finder(Path(embeddings), run=run, index=index, index_at=index_at, device=device)
    media = Media(finder.library.path, finder.library.rows, shards, time_limit_s)
    serve_page(finder, Path(embeddings).resolve().name, port, tell, media)
