"""Texts to ids and videos to clips, as a run was trained on, under the interface of transformers' processors.

Letters: B batch, T frames, H W pixels, L text tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from vtr import plainjson
from vtr.data.clipping import clip_file
from vtr.data.clips import frame_numbers
from vtr.data.dataset import ClipShape
from vtr.data.tokenizer import CaptionTokenizer, load
from vtr.errors import RunError
from vtr.hub.model import folder_of

SETTINGS = "processor_config.json"
LARGEST = 1 << 16  # no setting of a clip is as large
Video: TypeAlias = "str | Path | np.ndarray[Any, Any] | Tensor"


class VtrProcessor(ProcessorMixin):  # type: ignore[misc]
    """`processor(text=..., videos=...)`: input_ids, attention_mask; pixel_values (B,T,3,H,W) uint8.

    A video is a file, or its frames (n,H,W,3) uint8, of which those are taken that the model looks at.
    """

    def __init__(self, tokenizer: CaptionTokenizer, shape: ClipShape, fixed: bool = False) -> None:
        self.words, self.shape, self.fixed = tokenizer, shape, fixed

    def __repr__(self) -> str:
        return f"VtrProcessor({self.shape}, words={self.words.length})"

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        videos: Video | Sequence[Video] | None = None,
        return_tensors: str | None = None,  # noqa: ARG002  (always torch's; others ask for "pt")
        **_: Any,
    ) -> BatchFeature:
        """One text or several, one video or several, or both. Raises VideoError for a file that cannot be decoded."""
        found: dict[str, Tensor] = {}
        if text is not None:
            tokens = self.words([text] if isinstance(text, str) else list(text))
            found["input_ids"] = torch.from_numpy(tokens.ids)
            found["attention_mask"] = torch.from_numpy(tokens.attention).long()
        if videos is not None:
            several: Sequence[Any] = videos if isinstance(videos, (list, tuple)) else [videos]
            found["pixel_values"] = torch.stack([self.clip(video) for video in several])
        return BatchFeature(found)

    def clip(self, video: Video) -> Tensor:
        """(T,3,H,W) uint8 of one video."""
        if isinstance(video, (str, Path)):
            return torch.from_numpy(clip_file(Path(video), self.shape)[0].copy())
        frames = video.numpy() if isinstance(video, Tensor) else np.asarray(video)
        shape = self.shape
        numbers = frame_numbers(shape.sampler, len(frames), shape.frames, shape.stride)
        return shape.evaluation(np.ascontiguousarray(frames[numbers]))

    def settings(self) -> dict[str, Any]:
        """What `from_pretrained` needs beside the tokenizer's files."""
        shape = self.shape
        names = ("frames", "size", "resize", "sampler", "stride", "still", "decoder", "fit")
        values = {name: getattr(shape, name) for name in names}
        return {"processor_class": type(self).__name__, "words": self.words.length, "fixed": self.fixed, **values}

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> list[str]:
        """Writes the tokenizer's files and `processor_config.json`."""
        folder = Path(save_directory)
        self.words.save(folder)
        (folder / SETTINGS).write_text(json.dumps(self.settings(), indent=1) + "\n")
        return [str(folder / SETTINGS)]

    @classmethod
    def from_pretrained(cls, name: str | Path, **others: Any) -> VtrProcessor:
        """What `save_pretrained` wrote. Raises RunError when it is not there."""
        folder = folder_of(name, others.get("revision"))
        try:
            found = plainjson.load(folder / SETTINGS)
            words, fixed = int(found.pop("words")), bool(found.pop("fixed"))
            found.pop("processor_class")
            shape = ClipShape(**found)
            wholes = (words, shape.frames, shape.size, shape.resize, shape.stride, shape.still)
            if not all(type(whole) is int and 0 < whole < LARGEST for whole in wholes):
                raise ValueError(f"{wholes}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{folder / SETTINGS} is missing or damaged: {error}", "export the run again") from error
        return cls(load(folder, words, fixed=fixed), shape, fixed)
