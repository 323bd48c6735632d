"""SimVTP's released files by our names: of pretraining, one encoder; of fine-tuning, two copies of it.

Source: the state dicts of SimVTP's `modeling_pretrain` and `modeling_finetune`.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vtr.models import pth
from vtr.models.released import Released, Shapes, renamed, tensors_of

PLACES = ("model", "module", "state_dict")  # of its own trainer, of DeepSpeed, of others
BERT = r"(word_embeddings|position_embeddings|token_type_embeddings|LayerNorm)\.(weight|bias)"
UNIFIED = (
    (r"encoder\.patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
    (r"encoder\.((?:blocks\.\d+|norm)\..+)", r"\1"),
    (rf"text_embeddings\.{BERT}", r"embeddings.\1.\2"),
)
TWIN = (
    (r"video_encoder\.patch_embed\.proj\.(weight|bias)", r"video.patch_embed.\1"),
    (r"(video|text)_encoder\.(blocks\.\d+\..+)", r"\1.\2"),
    (r"(video|text)_encoder\.fc_norm\.(weight|bias)", r"\1_norm.\2"),
    (rf"text_encoder\.text_embeddings\.{BERT}", r"text.embeddings.\1.\2"),
)
UNUSED = {
    r"(decoder|encoder_to_decoder)\..+|mask_token": "what restores pixels; pretraining alone has it",
    r"text_cls\..+": "what restores words; pretraining alone has it",
    r"vtm_head\..+": "what tells true pairs from wrong ones; `vtr eval --vtm` takes it",
    r"video_encoder\.text_embeddings\..+": "words, of the copy that sees clips alone",
    r"text_encoder\.patch_embed\..+": "patches, of the copy that sees captions alone",
    r"(text_encoder\.)?text_embeddings\.(position_ids|token_type_ids)": "a buffer of older transformers, no weight",
}


def read_simvtp(path: Path) -> Released:
    """SimVTP's file. Raises DataError when it cannot be read, ConfigError when it is of another model."""
    state = tensors_of(pth.read(path), path, PLACES)
    twin = any(name.startswith("video_encoder.") for name in state)
    ours, unused = renamed(state, TWIN if twin else UNIFIED, UNUSED, f"{path} (simvtp)")
    video, text = ("video.", "text.") if twin else ("", "")
    shapes, patches = Shapes(ours, f"{path} is no whole simvtp checkpoint"), f"{video}patch_embed.weight"
    width, _, tubelet, _, patch = shapes.of(patches, None, 3, None, None, None)
    shapes.of(patches, width, 3, tubelet, patch, patch)
    shape = {
        "width": width,
        "depth": shapes.layers(f"{video}blocks", "mlp.fc1.weight", 4 * width, width),
        "patch": patch,
        "tubelet": tubelet,
        # Positions are sines, of which a file holds nothing: those of the published models.
        "frames": 16,
        "size": 224,
    }
    rows = {
        "vocab_size": shapes.of(f"{text}embeddings.word_embeddings.weight", None, width)[0],
        "max_position_embeddings": shapes.of(f"{text}embeddings.position_embeddings.weight", None, width)[0],
    }
    ours[patches] = ours[patches].flatten(1)  # (D,3,t,p,p) -> (D,3*t*p*p)
    return Released(ours, shape, rows, width, "", unused, "twin" if twin else "unified")


def read_match_head(path: Path) -> dict[str, Tensor]:
    """What tells true pairs from wrong ones, by the names that a pretraining of ours keeps it under; {} without one.

    As here, its second output says "together". Raises DataError when the file cannot be read.
    """
    state = tensors_of(pth.read(path), path, PLACES)
    return {f"match_head.{kind}": state[name] for kind in ("weight", "bias") if (name := f"vtm_head.{kind}") in state}
