"""Exports of made-up vectors, by the writers that `vtr embed` uses."""

from __future__ import annotations

from pathlib import Path

from vtr.retrieval import parts
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.plan import FILES, TEXT_LINES, EmbeddingPlan, Options, Part


def write_export(
    out: Path, embeddings: Embeddings, layout: str = "parquet", *, dtype: str = "float32", rows: int = 1_000_000
) -> list[Path]:
    """Writes the embeddings as `vtr embed` does, `rows` of them a part, and returns the files of vectors."""
    kinds = set(embeddings.modality)
    kind, name = (TEXT_LINES, ("a", "b")) if kinds == {TEXT} else (FILES, ("a.mp4", 1, 2, ""))
    starts = range(0, max(1, len(embeddings)), rows)
    options = Options(layout, dtype, captions=kinds == {TEXT, VIDEO})
    plan = EmbeddingPlan(options, embeddings.meta, (Part(kind, "/videos", (name,)),) * len(starts))
    out.mkdir(parents=True, exist_ok=True)
    plan.write(out)
    for number, start in enumerate(starts):
        piece = embeddings.take(range(start, min(start + rows, len(embeddings))))
        parts.write(out, plan, number, piece, [])
    parts.finish(out, plan)
    return [file for number in range(len(starts)) for file in parts.files_of(out, plan, number)]
