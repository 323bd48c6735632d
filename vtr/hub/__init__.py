"""Runs as other libraries have them: transformers, sentence-transformers, ONNX.

    from vtr import hub
    hub.register()                      # transformers' Auto classes know vtr models from here on
    AutoModel.from_pretrained("exported")

Nothing is registered by importing; `register` and `sentence_transformer` load what they need.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def register() -> None:
    """Makes AutoConfig, AutoModel and AutoProcessor load directories that `vtr export --to hf` wrote.

    No code is taken from such a directory: `trust_remote_code` stays off.
    """
    from transformers import AutoConfig, AutoModel, AutoProcessor

    from vtr.hub.model import VtrConfig, VtrModel
    from vtr.hub.processor import VtrProcessor

    AutoConfig.register(VtrConfig.model_type, VtrConfig, exist_ok=True)
    AutoModel.register(VtrConfig, VtrModel, exist_ok=True)
    AutoProcessor.register(VtrConfig, VtrProcessor, exist_ok=True)


def sentence_transformer(path: Path | str, **how: Any) -> Any:
    """The SentenceTransformer in a directory that `vtr export --to sentence-transformers` wrote; `how` goes to it."""
    from sentence_transformers import SentenceTransformer

    from vtr.hub.sentence import Encoder

    return SentenceTransformer(modules=[Encoder.load(str(path))], **how)
