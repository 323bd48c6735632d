"""Both towers as ONNX models, compared with torch before they are kept.

    video.onnx   clips (B,T,3,H,W) uint8                                    -> vectors (B,E), rows of length 1
    text.onnx    input_ids (B,L) int64, attention_mask (B,L) int64          -> vectors (B,E), rows of length 1

B and L are free; T, H and W are those that the run was trained with.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.errors import WorkError
from vtr.hub.processor import VtrProcessor
from vtr.models.embedder import Model
from vtr.optional import library

TOLERANCE = 1e-3


class _Video(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        return F.normalize(self.model.encode_video(clips), dim=-1)


class _Text(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return F.normalize(self.model.encode_text(input_ids, attention_mask.bool()), dim=-1)


def write_onnx(out: Path, model: Model, processor: VtrProcessor) -> None:
    """Writes video.onnx and text.onnx. Raises WorkError where onnxruntime's vectors differ from torch's by 1e-3."""
    _, _, runtime = (library(name, "--to onnx needs", "onnx") for name in ("onnx", "onnxscript", "onnxruntime"))
    shape, rng = processor.shape, torch.Generator().manual_seed(0)
    size = (3, shape.frames, 3, shape.size, shape.size)
    clips = torch.randint(0, 256, size, dtype=torch.uint8, generator=rng)
    tokens = processor(text=["a dog runs", "a red circle moves to the left and then up", "words"])
    texts = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    model = model.eval().float().cpu()
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=512)
    for name, tower, given, dynamic in (
        ("video", _Video(model), {"clips": clips}, ({0: batch},)),
        ("text", _Text(model), texts, ({0: batch, 1: length}, {0: batch, 1: length})),
    ):
        path = out / f"{name}.onnx"
        _export(tower, given, dynamic, path)
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        # The batch that it was traced with, and one of another size: a shape that was frozen shows here.
        for rows in (slice(None), slice(1, 2)):
            part = {key: value[rows] for key, value in given.items()}
            with torch.inference_mode():
                wanted = tower(**part).numpy()
            found = session.run(None, {key: value.numpy() for key, value in part.items()})[0]
            worst = float(np.abs(found - wanted).max())
            if not worst < TOLERANCE:
                path.unlink()
                raise WorkError(
                    f"{name}.onnx differs from torch by {worst:.2g}, wanted below {TOLERANCE:g}",
                    "export with --to hf, and report this with the run's recipe",
                )


def _export(tower: nn.Module, given: dict[str, Tensor], dynamic: Any, path: Path) -> None:
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(
                tower.eval(), tuple(given.values()), str(path), input_names=list(given), output_names=["vectors"],
                dynamic_shapes=dynamic, dynamo=True, external_data=False, optimize=True, verbose=False,
            )  # fmt: skip
        except OSError:  # a full disk, say
            raise
        except Exception as error:  # of many kinds, from tracing, conversion and checking
            raise WorkError(
                f"{path.name} could not be made: {str(error).strip().splitlines()[0][:200]}",
                "export with --to hf, and report this with the run's recipe",
            ) from error
        finally:
            logging.disable(logging.NOTSET)
