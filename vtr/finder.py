"""A search put together: embeddings and the run that made them, by text or by a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vtr import plainjson
from vtr.build import clip_shape, is_here, load_model
from vtr.data.apart import LIMIT_S, Decoder
from vtr.data.clipping import clip_file
from vtr.errors import InputError, RunError
from vtr.retrieval.embed import embed_captions
from vtr.retrieval.library import Hit, Library


class Finder:
    """`finder.texts(["a dog runs"], k)`, `finder.video(path, k)`, `finder.like(row, k)`.

    The query is embedded by the run that the embeddings name, or by `run`, whose weights must be the same. Raises
    RunError when that run is not there or has other weights, or none is named, and what `Library` raises.
    """

    def __init__(
        self,
        embeddings: Path,
        *,
        run: Path | str | None = None,
        index: str = "exact",
        index_at: str | None = None,
        device: str = "auto",
    ) -> None:
        self.library = Library(embeddings, index, index_at)
        model, wanted = self.library.model, self.library.weights_sha256
        if not wanted:
            raise RunError(
                f"{embeddings} does not say which model its vectors are of, so no query can be embedded alike",
                "embed the videos with vtr embed to search them; vtr eval --embeddings scores vectors of any origin",
            )
        if run is None and not is_here(model):
            raise RunError(
                f"{embeddings} was made by the run {model!r}, which is not here", "give that run with --run RUN"
            )
        loaded = load_model(run or model, device)
        if loaded.weights_sha256 != wanted:
            raise RunError(
                f"{embeddings} was made with the weights {wanted[:12]} of {model}, "
                f"{loaded.path} has {loaded.weights_sha256[:12]}",
                "search with the run that made the embeddings, or embed again with this one",
            )
        self.loaded = loaded

    def texts(self, texts: Sequence[str], k: int) -> list[list[Hit]]:
        """The best k for each text. Raises InputError for an empty one, or one that is not UTF-8."""
        if not texts or not all(text.strip() for text in texts):
            raise InputError(
                "the query is empty", 'describe what to find: vtr search EMBEDDINGS "a red circle moves left"'
            )
        for text in texts:
            if not plainjson.is_unicode(text):  # it has a byte of the command line that no text has
                raise InputError(f"the query {text!r} is not UTF-8 text", "give it in a UTF-8 terminal")
        vectors = embed_captions(self.loaded.embedder, self.loaded.tokenizer, list(texts))
        return self.library.search(vectors, k)

    def video(self, path: Path, k: int, time_limit_s: float = LIMIT_S) -> list[Hit]:
        """The best k for a video file, taken as a whole. Raises VideoError when it cannot be decoded in time."""
        with Decoder(time_limit_s) as decode:
            clips = torch.from_numpy(clip_file(path, clip_shape(self.loaded.config), decode=decode))
        return self.library.search(self.loaded.embedder.embed_video(clips).cpu().numpy(), k)[0]

    def like(self, row: int, k: int) -> list[Hit]:
        """The best k for one of the embeddings' own rows, itself left out."""
        hits = self.library.search(self.library.vector(row), k + 1)[0]
        others = [hit for hit in hits if hit["row"] != row][:k]
        return [{**hit, "rank": rank} for rank, hit in enumerate(others, start=1)]
