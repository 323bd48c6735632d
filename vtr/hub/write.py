"""A run written as a directory that other libraries load, with a card that says what it is and how good."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtr import recipe
from vtr.build import clip_shape, load_source
from vtr.checkpoint import WEIGHTS, sha256
from vtr.errors import InputError
from vtr.exported import is_exported
from vtr.hub.model import VtrConfig
from vtr.hub.processor import VtrProcessor
from vtr.imagetext import is_image_text
from vtr.models.dual import DualEncoder
from vtr.models.embedder import Model
from vtr.models.tune import merge_lora
from vtr.version import __version__

RESULT = "result.json"
MOST = 1e12  # of any figure: ranks are below it
LOADING = {
    "hf": """from transformers import AutoModel, AutoProcessor
from vtr import hub

hub.register()  # no code comes out of this directory
model, processor = AutoModel.from_pretrained("."), AutoProcessor.from_pretrained(".")
inputs = processor(text=["a dog runs on a beach"], videos=["clip.mp4"])
print(model(**inputs).logits_per_text)""",
    "sentence-transformers": """from vtr import hub

model = hub.sentence_transformer(".")
print(model.similarity(model.encode(["a dog runs on a beach"]), model.encode(["clip.mp4"])))""",
    "onnx": """import numpy as np, onnxruntime
from vtr.hub.processor import VtrProcessor

processor = VtrProcessor.from_pretrained(".")
inputs = processor(text=["a dog runs on a beach"], videos=["clip.mp4"])
video = onnxruntime.InferenceSession("video.onnx").run(None, {"clips": inputs["pixel_values"].numpy()})[0]
text = onnxruntime.InferenceSession("text.onnx").run(
    None, {"input_ids": inputs["input_ids"].numpy(), "attention_mask": inputs["attention_mask"].numpy()}
)[0]
print(text @ video.T)""",
}
# What is exported to, and the extra that loads it.
EXTRAS = {"hf": "", "sentence-transformers": "[sentence-transformers]", "onnx": "[onnx]"}


def write_hub(kind: str, source: Path | str, out: Path, result: Mapping[str, Any] | None) -> None:
    """Writes the run `source` into the folder `out`, as `hf`, `sentence-transformers` or `onnx` has it.

    Raises what `load_source` raises; WorkError when an ONNX model is not equal to torch's.
    """
    if is_image_text(str(source)) and not is_exported(str(source)):
        whose = "sentence-transformers" if str(source).startswith("st:") else "transformers"
        raise InputError(
            f"{source} is a model of {whose} already",
            "load it there: CLIPModel, SiglipModel or SentenceTransformer",
        )
    found = load_source(source)
    model, whole = found.model, found.config
    if whole.model.lora_rank:
        merge_lora(model)
        whole = recipe.override(whole, {"model.lora_rank": 0})
    text = model.text.model.config.to_dict() if isinstance(model, DualEncoder) else None
    config = VtrConfig(recipe=recipe.to_dict(whole), text=text, vocabulary=found.tokenizer.vocabulary)
    processor = VtrProcessor(found.tokenizer, clip_shape(whole), whole.data.fixed_length)
    if kind == "onnx":
        from vtr.hub.onnx import write_onnx

        processor.save_pretrained(out)
        write_onnx(out, model, processor)
    else:
        write_model(out, config, model, processor)
    if kind == "sentence-transformers":
        _write_modules(out)
    if result is not None:
        (out / RESULT).write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (out / "README.md").write_text(card(kind, found.config, sha256(found.weights), result), "utf-8")


def write_model(out: Path, config: VtrConfig, model: Model, processor: VtrProcessor) -> None:
    """Writes config.json, model.safetensors, and the processor with its tokenizer."""
    from safetensors.torch import save

    out.mkdir(parents=True, exist_ok=True)
    config.architectures = ["VtrModel"]
    config.save_pretrained(out)
    state = {f"encoders.{name}": value.detach().contiguous().cpu() for name, value in model.state_dict().items()}
    (out / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))
    processor.save_pretrained(out)


def card(kind: str, config: Any, weights: str, result: Mapping[str, Any] | None) -> str:
    """The README: how to load, what the clips are, how good the run was, its recipe."""
    data = config.data
    parts = [
        f"---\nlibrary_name: {'sentence-transformers' if kind == 'sentence-transformers' else 'vtr'}\n"
        "pipeline_tag: feature-extraction\ntags: [video-text-retrieval, video, text]\n---\n",
        "# A video-text encoder\n",
        f"Captions and clips become vectors of {config.model.embed_dim} numbers and length 1; their product is how "
        f"well they fit. Written by vtr {__version__}; SHA-256 of the run's weights: `{weights}`.\n",
        "## Use\n\nIt needs vtr from its own repository; the public index of packages has another of that name. "
        "In a clone of it:\n\n"
        f"    pip install {shlex.quote(f'.{EXTRAS[kind]}')}\n\n```python\n{LOADING[kind]}\n```\n",
        f"A clip is {data.frames} frames of the whole video, short side {data.resize}, the middle {data.size} x "
        f"{data.size}; a caption has at most {data.words} tokens.\n",
        _results(result),
        f"## Recipe\n\n```toml\n{recipe.to_toml(config)}```\n",
    ]
    return "\n".join(part for part in parts if part)


def _results(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    names = ("R@1", "R@5", "R@10", "MdR", "MnR")
    rows = []
    for way, title in (("t2v", "text to video"), ("v2t", "video to text")):
        numbers = _numbers(result, way)
        if numbers is not None and all(_is_figure(numbers.get(name)) for name in names):
            rows.append(f"| {title} | " + " | ".join(f"{float(numbers[name]):.1f}" for name in names) + " |")
    table = "\n".join([f"| direction | {' | '.join(names)} |", "|---" * 6 + "|", *rows]) if rows else ""
    return f"## Retrieval\n\n{table}\n\nAll of the result stands in `{RESULT}`.\n"


def _is_figure(value: Any) -> bool:
    """Whether it is a number that a result may have: its file may be anybody's."""
    return isinstance(value, (int, float)) and 0 <= value < MOST


def _numbers(result: Mapping[str, Any], way: str) -> Mapping[str, Any] | None:
    """The figures of a direction, wherever this kind of result has them."""
    for place in (result, *(value for value in result.values() if isinstance(value, Mapping))):
        found = place.get(way)
        if isinstance(found, Mapping) and "R@1" in found:
            return found
        if isinstance(found, Mapping) and isinstance(found.get("metrics"), Mapping):
            inner: Mapping[str, Any] = found["metrics"]
            return inner
    return None


def _write_modules(out: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "vtr.hub.sentence.Encoder"}]
    (out / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
    settings = {"__version__": {"vtr": __version__}, "similarity_fn_name": "cosine", "prompts": {}}
    (out / "config_sentence_transformers.json").write_text(json.dumps(settings, indent=1) + "\n")
