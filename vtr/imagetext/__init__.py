"""A model of another library where a run could stand, one of images frame by frame: `KIND:NAME[,option=value ...]`.

clip: siglip:        NAME of the model hub, or a directory made by save_pretrained (transformers)    hub.py
open_clip: timm:     NAME,weights=FILE, a model of the hub, or a directory with open_clip_config.json  openclip.py
st:                  DIR or ORG/NAME, a model of sentence-transformers that takes videos              sentence.py

`frames=N` says how many frames a clip has. Frames are resized and cropped as the model's own image processor does.
"""

from __future__ import annotations

from vtr.errors import ConfigError
from vtr.imagetext.named import FRAMES, ImageText, Named
from vtr.kinds import apart, is_of

__all__ = ["KINDS", "ImageText", "is_image_text", "open_image_text"]

HUB = ("clip", "siglip")
OPEN_CLIP = ("open_clip", "timm")
SENTENCE = "st"
KINDS = (*HUB, *OPEN_CLIP, SENTENCE)
OPTIONS = {
    **dict.fromkeys(HUB, ("frames",)), "open_clip": ("frames", "weights"), "timm": ("frames",),
    SENTENCE: ("frames", "size"),
}  # fmt: skip
KNOWN = {"frames": "frames=N", "size": "size=N", "weights": "weights=FILE or a tag of open_clip"}


def is_image_text(name: str) -> bool:
    """Whether `name` is of the form `clip:NAME`."""
    return is_of(KINDS, name)


def open_image_text(name: str) -> ImageText:
    """The model of `clip:NAME[,frames=N]`, on the CPU.

    Raises ConfigError: an unknown option, a model of another kind. WorkError: it cannot be had.
    """
    named = parse(name)
    if named.kind in HUB:
        from vtr.imagetext.hub import open_hub

        return open_hub(named)
    if named.kind == SENTENCE:
        from vtr.imagetext.sentence import open_sentence

        return open_sentence(named)
    from vtr.imagetext.openclip import open_openclip

    return open_openclip(named)


def parse(name: str) -> Named:
    """`open_clip:ViT-B-32,frames=8,weights=FILE` taken apart. Raises ConfigError: no name, a wrong option."""
    kind, source, pairs = apart(name)
    options: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        fits = bool(value) if key == "weights" else value.isdigit() and int(value) > 0
        if key not in OPTIONS[kind] or not fits:
            allowed = ", ".join(KNOWN[one] for one in OPTIONS[kind])
            raise ConfigError(f"{pair!r} in {name!r} is no option", f"{kind}: takes {allowed}")
        options[key] = value
    if not source:
        raise ConfigError(f"{name!r} names no model", f"write {kind}:NAME or {kind}:DIR")
    frames = int(options.get("frames", 0 if kind == SENTENCE else FRAMES))
    return Named(name, kind, source, frames, options.get("weights", ""), int(options.get("size", 0)))
