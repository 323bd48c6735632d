"""What a shard directory holds, counted from its index alone: no tar is opened."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vtr.data.index import ShardIndex

SHOWN = 3  # duplicates and sizes that are named


def describe(index: ShardIndex) -> dict[str, Any]:
    """Counts, sizes, durations (seconds), rates, pictures, captions and what is there twice, as plain data."""
    captions = index.all_captions()
    frames, height, width = (index.facts(name) for name in ("frames", "height", "width"))
    return {
        "path": index.where,
        "samples": len(index),
        "captions": len(captions.values),
        "shards": len(index.shards),
        "bytes": sum(shard.bytes for shard in index.shards),
        "shard_mb": _spread(np.array([shard.bytes for shard in index.shards]) / 1e6),
        "stores": _counts(index.facts("store")),
        "decoders": _counts(index.facts("decoder")),
        "splits": {name or "without a label": n for name, n in _counts(index.facts("split")).items()},
        "duration_s": {"total": float(index.facts("duration_s").sum()), **_spread(index.facts("duration_s"))},
        "frames": {"total": int(frames.sum()), **_spread(frames)},
        "fps": _spread(index.facts("fps")),
        "short_side": _spread(np.minimum(height, width)),
        "pictures": _pictures(width, height),
        "captions_per_sample": _spread(np.diff(captions.offsets.to_numpy())),
        "words_per_caption": _spread(_words(captions.values)),
        "duplicates": {
            "captions": _duplicates(captions.values),
            "videos": _duplicate_videos(index),
        },
        "digest": index.digest,
    }


def _spread(values: npt.NDArray[Any]) -> dict[str, float]:
    """Least, median, 95th percentile, most."""
    if not len(values):
        return {}
    least, median, high, most = np.percentile(values, [0, 50, 95, 100])
    return {"min": round(float(least), 3), "median": round(float(median), 3), "p95": round(float(high), 3),
            "max": round(float(most), 3)}  # fmt: skip


def _counts(values: npt.NDArray[Any]) -> dict[str, int]:
    return dict(Counter(values.tolist()).most_common())


def _pictures(width: npt.NDArray[Any], height: npt.NDArray[Any]) -> dict[str, int]:
    """The commonest sizes, `640x360`, and how many videos have another."""
    found = Counter(zip(width.tolist(), height.tolist(), strict=True))
    shown = {f"{w}x{h}": count for (w, h), count in found.most_common(SHOWN)}
    others = sum(found.values()) - sum(shown.values())
    return shown | ({"other": others} if others else {})


def _words(texts: pa.Array) -> npt.NDArray[Any]:
    """Words of each caption: runs of letters with spaces between."""
    return np.asarray(pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))).to_numpy())


def _duplicates(values: pa.Array) -> dict[str, Any]:
    """How many different values occur more than once, how many times together, and the commonest of them."""
    counted = pc.value_counts(values)
    counts = counted.field("counts").to_numpy()
    places = np.flatnonzero(counts > 1)
    top = places[np.argsort(-counts[places], kind="stable")][:SHOWN]
    names = counted.field("values")
    return {
        "distinct": len(places),
        "occurrences": int(counts[places].sum()),
        "most": {str(names[int(place)].as_py()): int(counts[place]) for place in top},
    }


def _duplicate_videos(index: ShardIndex) -> dict[str, Any]:
    """The same for videos with equal bytes; the commonest by the key of the first that has them."""
    hashes = index.facts("sha256")
    found = _duplicates(pa.array(hashes))
    first = {value: index.key(int(np.flatnonzero(hashes == value)[0])) for value in found["most"]}
    return {**found, "most": {first[value]: count for value, count in found["most"].items()}}
