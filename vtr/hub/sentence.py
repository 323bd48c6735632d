"""A run's model as the one module of a SentenceTransformer: captions and video files to equal vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers.base.modules import InputModule

from vtr.errors import InputError
from vtr.hub.model import VtrModel
from vtr.hub.processor import VtrProcessor


class Encoder(InputModule):  # type: ignore[misc]
    """`encode(["a dog runs"])`, `encode(["dog.mp4"])`, or frames (n,H,W,3) uint8: vectors of length 1."""

    save_in_root = True

    def __init__(self, model: VtrModel, processor: VtrProcessor) -> None:
        super().__init__()
        self.model, self.processor = model, processor

    @property
    def modalities(self) -> list[Any]:
        """What may be encoded; a batch is of one of them."""
        return ["text", "video"]

    @property
    def max_seq_length(self) -> int:
        """Tokens of a caption, with its first and last special one."""
        return self.processor.words.length

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Captions, or videos: a path with a video's ending, frames, or {"video": either of them}."""
        from sentence_transformers.base.modality import infer_modality

        kinds = {infer_modality(one, self.modalities) if isinstance(one, (str, dict)) else "video" for one in inputs}
        if kinds == {"text"}:
            texts = [one["text"] if isinstance(one, dict) else one for one in inputs]
            return dict(self.processor(text=[(prompt or "") + text for text in texts]))
        if kinds == {"video"}:
            return dict(self.processor(videos=[one["video"] if isinstance(one, dict) else one for one in inputs]))
        raise InputError(
            f"a batch of {' and '.join(sorted(map(str, kinds)))} cannot be encoded", "encode texts and videos apart"
        )

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds `sentence_embedding` (B,E)."""
        if "pixel_values" in features:
            vectors = self.model.get_video_features(features["pixel_values"])
        else:
            vectors = self.model.get_text_features(features["input_ids"], features["attention_mask"])
        return {**features, "sentence_embedding": vectors}

    def get_embedding_dimension(self) -> int:
        """E."""
        return int(self.model.encoders.embed_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Writes what `load` reads."""
        from vtr.hub.write import write_model

        write_model(Path(output_path), self.model.config, self.model.encoders, self.processor)

    @classmethod
    def load(cls, model_name_or_path: str, *_: Any, **others: Any) -> Encoder:
        """The encoder in a directory, or in a repository of the hub."""
        revision = others.get("revision")
        model = VtrModel.from_pretrained(model_name_or_path, revision=revision)
        return cls(model, VtrProcessor.from_pretrained(model_name_or_path, revision=revision))
