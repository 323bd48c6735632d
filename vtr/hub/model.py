"""A run's model as a model of transformers.

Letters: B batch, T frames, H W pixels, L text tokens, E joint embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from vtr import recipe
from vtr.build import make_model, make_unified
from vtr.checkpoint import WEIGHTS
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import InputError, RunError, VtrError
from vtr.models.embedder import Model
from vtr.models.weights import matching


class VtrConfig(PretrainedConfig):  # type: ignore[misc]
    """The recipe as nested values, and of a dual encoder the configuration of its text model, else its `vocabulary`."""

    model_type = "vtr"

    def __init__(
        self,
        recipe: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        vocabulary: int = 0,
        **others: Any,
    ) -> None:
        self.recipe, self.text, self.vocabulary = recipe or {}, text or {"model_type": "distilbert"}, vocabulary
        super().__init__(**others)


@dataclass
class VtrOutput(ModelOutput):  # type: ignore[misc]
    """video_embeds (B,E), text_embeds (B,E), both normalised; logits_per_text (texts, videos): cosine / temperature."""

    video_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    logits_per_text: Tensor | None = None


class VtrModel(PreTrainedModel):  # type: ignore[misc]
    """`get_video_features(pixel_values)`, `get_text_features(input_ids, attention_mask)`, and both at once."""

    config_class = VtrConfig
    base_model_prefix = "encoders"
    main_input_name = "pixel_values"

    def __init__(self, config: VtrConfig) -> None:
        from transformers import AutoConfig

        super().__init__(config)
        whole = recipe.from_dict(config.recipe)
        if whole.model.kind != "dual":
            self.encoders: Model = make_unified(whole, config.vocabulary, fetch=False)
            return
        kind = dict(config.text)
        text = AutoConfig.for_model(kind.pop("model_type"), **kind)
        # The tokenizer tells how large a new text model has to be; this one's size is known.
        self.encoders = make_model(whole, cast(CaptionTokenizer, None), text_config=text)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *_: Any,
        config: VtrConfig | None = None,
        output_loading_info: bool = False,
        **others: Any,
    ) -> Any:
        """The model in a directory, or in a repository of the hub. `dtype` and `device_map` (a device) are heeded.

        Weights are safetensors and have to fit exactly. With `output_loading_info` a pair, as transformers gives it.
        Raises RunError when they do not fit, InputError: a dtype that is none of floats.
        """
        from safetensors.torch import load_file

        dtype = float_type(others.get("dtype") or others.get("torch_dtype"))
        folder = folder_of(name, others.get("revision"))
        try:
            config = config or VtrConfig.from_pretrained(folder)
            model = cls(config)
            state = {key.removeprefix("encoders."): value for key, value in load_file(folder / WEIGHTS).items()}
            matching(model.encoders, state, str(folder))
        except VtrError:
            raise
        except Exception as error:  # what transformers makes of a damaged configuration has many kinds
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(f"{folder} cannot be loaded: {why}", "export the run again") from error
        model = model.eval() if dtype is None else model.eval().to(dtype)
        device = others.get("device_map")
        if isinstance(device, (str, torch.device)) and device != "auto":
            model = model.to(device)
        # Whatever is missing or left over is an error above.
        fit: dict[str, Any] = {
            "missing_keys": set(),
            "unexpected_keys": set(),
            "mismatched_keys": set(),
            "error_msgs": [],
        }
        return (model, fit) if output_loading_info else model

    def get_video_features(self, pixel_values: Tensor, **_: Any) -> Tensor:
        """(B,T,3,H,W) uint8, or normalised floats -> (B,E), rows of length 1."""
        return F.normalize(self.encoders.encode_video(pixel_values).float(), dim=-1)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Tensor:
        """(B,L) int64, (B,L) -> (B,E), rows of length 1."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return F.normalize(self.encoders.encode_text(input_ids, mask.bool()).float(), dim=-1)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> VtrOutput:
        """Embeds what is given: videos, texts, or both, and then compares all with all."""
        video = None if pixel_values is None else self.get_video_features(pixel_values)
        text = None if input_ids is None else self.get_text_features(input_ids, attention_mask)
        logits = None if video is None or text is None else text @ video.T / self.encoders.temperature
        return VtrOutput(video_embeds=video, text_embeds=text, logits_per_text=logits)


def float_type(name: Any) -> torch.dtype | None:
    """torch's type of that name; None, as stored, for None and "auto". Raises InputError for what is no such name."""
    if name is None or name == "auto":
        return None
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"dtype={name!r} is no type of floats", 'give torch.bfloat16 or "bfloat16", or leave it out')
    return dtype


def folder_of(name: str | Path, revision: str | None) -> Path:
    """The directory `name`, or a copy of that repository of the hub. Raises RunError for neither."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), revision=revision))
    except (OSError, ValueError) as error:
        raise RunError(
            f"there is no directory {name}, and the hub has none: {str(error).splitlines()[0]}",
            "give a directory that vtr export --to hf wrote",
        ) from error
