"""The values of arrow arrays, hashed: lengths, then content, whatever the layout of their buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def feed(state: Any, array: pa.Array) -> None:
    """Adds the values of `array` (N,), which has no nulls, to the hashlib hash `state`.

    Of numbers their bytes; of texts the length of each in bytes, as int64, then their UTF-8; of lists the length of
    each, as int64, then what is in them, as an array of its own. Of an empty array nothing.
    """
    if len(array) == 0:
        return
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        state.update(_lengths(array.offsets.to_numpy()))
        feed(state, array.flatten())
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        wide = array.cast(pa.large_string())
        offsets = np.frombuffer(wide.buffers()[1], np.int64)[wide.offset : wide.offset + len(wide) + 1]
        state.update(_lengths(offsets))
        if wide.buffers()[2] is not None:
            state.update(memoryview(wide.buffers()[2])[offsets[0] : offsets[-1]])
    else:
        state.update(np.ascontiguousarray(array.to_numpy()).view(np.uint8))


def _lengths(offsets: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.diff(offsets.astype("<i8")).view(np.uint8)
