"""What embeddings say of their model: written with every file, and compared when files are read together."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from vtr.errors import DataError
from vtr.retrieval.embeddings import Embeddings
from vtr.retrieval.exact import NORM_SLACK
from vtr.version import __version__

GIVEN = ("model", "weights_sha256", "preprocessing", "frames")
AGREE = ("weights_sha256", "model", "preprocessing", "frames", "dim", "normalized")
_CHECK_ROWS = 8192


def full_meta(embeddings: Embeddings) -> dict[str, str]:
    """The metadata to store: what the caller gave, and version, dim and normalized ("true" or "false") as they are.

    Raises DataError: one of model, weights_sha256, preprocessing, frames is missing.
    """
    missing = [key for key in GIVEN if key not in embeddings.meta]
    if missing:
        raise DataError(
            f"the embeddings' metadata lack {', '.join(missing)}",
            "without them nobody can tell which model's embeddings these are",
        )
    given = {key: str(value) for key, value in embeddings.meta.items()}
    dim, normalized = str(embeddings.vectors.shape[1]), str(_normalized(embeddings)).lower()
    return {**given, "version": __version__, "dim": dim, "normalized": normalized}


def agreed(where: str, metas: dict[str, dict[str, str]]) -> dict[str, str]:
    """The common metadata of files, {file name: its metadata}; the version is the first file's.

    Raises DataError: the files are of different models, and which is which.
    """
    for key in AGREE:
        files = defaultdict(list)
        for name, meta in metas.items():
            files[meta.get(key, "(none)")].append(name)
        if len(files) > 1:
            each = "; ".join(f"{value}: {_some(names)}" for value, names in files.items())
            raise DataError(
                f"{where} mixes embeddings of different {key}: {each}",
                "their scores cannot be compared: embed all of it with one model, into an empty directory",
            )
    return dict(next(iter(metas.values())))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _normalized(embeddings: Embeddings) -> bool:
    for start in range(0, len(embeddings), _CHECK_ROWS):
        part = embeddings.vectors[start : start + _CHECK_ROWS].astype(np.float64)
        if not np.all(np.abs(np.sqrt(np.einsum("ij,ij->i", part, part)) - 1) <= NORM_SLACK):
            return False
    return True
